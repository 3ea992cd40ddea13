// What the runs say: effects, an answer in plain words, and verdicts on the document's claims.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "harness/experiment/repeater.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

// What is measured of a run, and from which difference on it matters to a reader.
struct Response {
  const char* id;
  const char* title;
  double matters;
  double (*of)(const Json& run);
};

double written(const Json& run, const char* strategy, const char* metric) {
  return run.at("writes").at(strategy).at(metric).at("value").get<double>();
}

const std::vector<Response>& responses() {
  static const std::vector<Response> all = {
      {"greedy-looping", "looping of greedy text", 0.1,
       [](const Json& run) { return written(run, "greedy", "looping"); }},
      {"greedy-seq-rep-4", "seq-rep-4 of greedy text", 0.05,
       [](const Json& run) { return written(run, "greedy", "seq-rep-4"); }},
      {"sampled-seq-rep-4", "seq-rep-4 of sampled text", 0.05,
       [](const Json& run) { return written(run, "sampled", "seq-rep-4"); }},
      {"held-out-loss", "held-out loss", 0.1,
       [](const Json& run) { return run.at("held_out_loss").get<double>(); }},
      {"training-loss", "training loss at the end", 0.1,
       [](const Json& run) { return run.at("training_loss").get<double>(); }},
      {"unsteadiness", "unsteadiness of the gradient norm", 0.05,
       [](const Json& run) { return run.at("gradient_norm").at("unsteadiness").get<double>(); }}};
  return all;
}

const Response& response(const std::string& id) {
  return *std::find_if(responses().begin(), responses().end(), [&](const auto& one) { return one.id == id; });
}

const char* among(std::optional<bool> mask) {
  return !mask ? "all" : *mask ? "inverted mask" : "right mask";
}

// A family of effects is read at one error rate together (Bonferroni).
bool shows(const Json& effect, std::size_t family) {
  return effect["chance"].get<double>() * static_cast<double>(family) < 0.05;
}

std::vector<Json> effects_among(const Json& document, const std::string& response, const std::string& runs) {
  std::vector<Json> all;
  for (const auto& effect : document["effects"])
    if (effect["response"] == response && effect["among"] == runs) all.push_back(effect);
  return all;
}

Json effect_of(const Json& document, const std::string& response, const std::string& runs,
               const char* factor) {
  for (const auto& effect : effects_among(document, response, runs))
    if (effect["factors"] == Json::array({factor})) return effect;
  return {};
}

std::string signed_number(double value) {
  return fmt::format("{:+.{}f}", value == 0 ? 0.0 : value, std::abs(value) < 0.1 ? 3 : 2);
}

std::string with_interval(const Json& effect) {
  return fmt::format("{} ({} to {})", signed_number(effect["value"].get<double>()),
                     signed_number(effect["low"].get<double>()), signed_number(effect["high"].get<double>()));
}

// The values of a response in the runs with these levels. `levels`: by factor.
std::vector<double> values_where(const Json& document, const std::string& id,
                                 const std::map<std::string, std::string>& levels) {
  std::vector<double> values;
  for (const auto& run : document["runs"])
    if (std::all_of(levels.begin(), levels.end(),
                    [&](const auto& one) { return run.at("levels").at(one.first) == one.second; }))
      values.push_back(response(id).of(run));
  if (values.empty()) throw InputError("the experiment has no runs of the levels that are asked for");
  return values;
}

std::string scale_sentence(const Json& document) {
  const auto& settings = document["settings"];
  const double tokens =
      settings["steps"].get<double>() * settings["batch"].get<double>() * settings["length"].get<double>();
  return fmt::format(
      "measured at the scale '{}': models of {:.2f}M to {:.2f}M parameters, {:.2f}M tokens each, {} runs",
      settings["scale"].get<std::string>(), document["models"]["after"]["parameters"].get<double>() / 1e6,
      document["models"]["before"]["parameters"].get<double>() / 1e6, tokens / 1e6, document["runs"].size());
}

std::string name_of(const Json& factors_of_effect) {
  std::vector<std::string> names;
  for (const auto& id : factors_of_effect)
    for (const auto& factor : factors())
      if (factor.id == id) names.push_back(factor.name);
  return fmt::format("{}", fmt::join(names, " and "));
}

// Whether an effect is above the threshold, below it, or undecided.
enum class Size { more, less, undecided };
Size size_of(const Json& effect, double matters) {
  return effect["low"].get<double>() > matters    ? Size::more
         : effect["high"].get<double>() < matters ? Size::less
                                                  : Size::undecided;
}

// The difference between the means of two groups of runs, with its 95 % interval.
Json difference(const Json& document, const std::string& id, const std::map<std::string, std::string>& more,
                const std::map<std::string, std::string>& less) {
  std::vector<Variance> variances;
  const auto mean_of = [&](const std::map<std::string, std::string>& levels) {
    const auto values = values_where(document, id, levels);
    const auto spread = spread_of(values);
    const auto count = static_cast<double>(values.size());
    variances.push_back({spread.variance / count, count - 1});
    return spread.mean;
  };
  const double of_more = mean_of(more), value = of_more - mean_of(less);
  const double reach = students_t(value, variances, 0.95).reach;
  return {{"value", value}, {"low", value - reach}, {"high", value + reach}};
}

// (g) dropout 0.1 may be kept, where the mask is right: neither more repetition nor more loss.
Json claim_of_dropout(const Json& document) {
  const auto greedy = effect_of(document, "greedy-seq-rep-4", "right mask", "dropout"),
             sampled = effect_of(document, "sampled-seq-rep-4", "right mask", "dropout"),
             loss = effect_of(document, "held-out-loss", "right mask", "dropout");
  const std::vector<Size> sizes = {size_of(greedy, response("greedy-seq-rep-4").matters),
                                   size_of(sampled, response("sampled-seq-rep-4").matters),
                                   size_of(loss, response("held-out-loss").matters)};
  const auto any = [&](Size size) { return std::find(sizes.begin(), sizes.end(), size) != sizes.end(); };
  return {{"id", "CLAIM-g"},
          {"claim", "dropout 0.1 may be kept"},
          {"verdict", any(Size::more)        ? "refuted"
                      : any(Size::undecided) ? "open"
                                             : "confirmed"},
          {"figure",
           fmt::format("with a right mask, dropout 0.1 changes seq-rep-4 of greedy text by {}, of sampled "
                       "text by {}, and the held-out loss by {} nats (what matters: {}, {} and {})",
                       with_interval(greedy), with_interval(sampled), with_interval(loss),
                       response("greedy-seq-rep-4").matters, response("sampled-seq-rep-4").matters,
                       response("held-out-loss").matters)}};
}

// (h) fewer layers and grouped queries end the repeating. Of sampled text, in which models of a right mask
// hardly repeat themselves: refuted where models that are so aligned still repeat under the other mask.
Json claim_of_layers_and_heads(const Json& document) {
  const auto* id = "sampled-seq-rep-4";
  const double matters = response(id).matters;
  const auto aligned = difference(document, id, {{"layers", "after"}, {"heads", "after"}, {"mask", "before"}},
                                  {{"layers", "after"}, {"heads", "after"}, {"mask", "after"}}),
             changed =
                 difference(document, id, {{"layers", "before"}, {"heads", "before"}, {"mask", "before"}},
                            {{"layers", "after"}, {"heads", "after"}, {"mask", "before"}});
  const char* verdict = size_of(aligned, matters) == Size::more ? "refuted"
                        : size_of(aligned, matters) == Size::less && size_of(changed, matters) == Size::more
                            ? "confirmed"
                            : "open";
  return {{"id", "CLAIM-h"},
          {"claim", "fewer layers and grouped queries end the repeating"},
          {"verdict", verdict},
          {"figure",
           fmt::format(
               "in models that have few layers and grouped queries, the inverted mask still makes sampled "
               "text repeat itself: seq-rep-4 {} against those with the right mask; many layers and a "
               "key/value head for each query head, with their other activation and wider feed-forwards, "
               "change it by {} where the mask is inverted",
               with_interval(aligned), with_interval(changed))}};
}

// (i) training gets steadier with fewer layers, where the mask is right.
Json claim_of_steadiness(const Json& document) {
  const auto right = effect_of(document, "unsteadiness", "right mask", "layers");
  const double matters = response("unsteadiness").matters;
  const auto size = size_of(right, matters);
  return {{"id", "CLAIM-i"},
          {"claim", "training gets steadier with fewer layers"},
          {"verdict", size == Size::more   ? "confirmed"
                      : size == Size::less ? "refuted"
                                           : "open"},
          {"figure",
           fmt::format("with a right mask, many layers with their other activation and wider feed-forwards "
                       "change the standard deviation of the gradient norm's logarithm from step to step by "
                       "{} (what matters: {})",
                       with_interval(right), matters)}};
}

std::vector<Json> strongest_first(std::vector<Json> effects) {
  std::stable_sort(effects.begin(), effects.end(), [](const Json& one, const Json& other) {
    return std::abs(one["value"].get<double>()) > std::abs(other["value"].get<double>());
  });
  return effects;
}

// Which differences make text more repetitive by more than what matters, and which do not.
std::string verdict_on(const Json& document, const std::string& strategy) {
  const auto& measure = response(strategy + "-seq-rep-4");
  std::vector<std::string> above, below, undecided;
  for (const auto& effect : strongest_first(effects_among(document, measure.id, "all"))) {
    if (effect["factors"].size() != 1) continue;
    const auto size = size_of(effect, measure.matters);
    auto& kind = size == Size::more ? above : size == Size::less ? below : undecided;
    kind.push_back(fmt::format("{} {}", name_of(effect["factors"]), with_interval(effect)));
  }
  return fmt::format(
      "What makes {} text repeat itself, by its seq-rep-4: {}. Effects too small to matter (below {}): {}.{}",
      strategy, above.empty() ? "nothing that was varied" : fmt::format("{}", fmt::join(above, "; ")),
      measure.matters, below.empty() ? "none" : fmt::format("{}", fmt::join(below, "; ")),
      undecided.empty() ? "" : fmt::format(" Undecided: {}.", fmt::join(undecided, "; ")));
}

// The answer, beginning with the most important effects.
Json answers(const Json& document) {
  Json all = Json::array({verdict_on(document, "sampled"), verdict_on(document, "greedy")});
  const auto level_of = [&](const char* level, const char* id) {
    std::map<std::string, std::string> levels;
    for (const auto& factor : factors()) levels[factor.id] = level;
    return spread_of(values_where(document, id, levels)).mean;
  };
  const auto& own_text = document["own_text"];
  const auto own_value = [&](const char* strategy) {
    return own_text.contains(strategy)
               ? fmt::format("{:.2f}", own_text[strategy]["seq-rep-4"]["value"].get<double>())
               : std::string("not known");
  };
  for (const auto* strategy : {"sampled", "greedy"}) {
    const auto id = fmt::format("{}-seq-rep-4", strategy);
    all.push_back(fmt::format(
        "seq-rep-4 of {} text: {:.2f} of the model before, {:.2f} of the one after, {} of the text "
        "itself{}.",
        strategy, level_of("before", id.c_str()), level_of("after", id.c_str()), own_value(strategy),
        strategy == std::string("greedy") ? ", always its likeliest token" : ""));
  }
  for (const auto& measure : responses()) {
    const auto effects = strongest_first(effects_among(document, measure.id, "all"));
    std::vector<std::string> shown;
    for (const auto& effect : effects)
      if (shows(effect, effects.size()) && std::abs(effect["value"].get<double>()) >= measure.matters)
        shown.push_back(fmt::format("{}{} {}", name_of(effect["factors"]),
                                    effect["factors"].size() == 2 ? " together" : "", with_interval(effect)));
    all.push_back(fmt::format(
        "What changes the {} by {} or more, each as before instead of as after: {}.", measure.title,
        measure.matters, shown.empty() ? "nothing that shows" : fmt::format("{}", fmt::join(shown, "; "))));
  }
  return all;
}

}  // namespace

void conclude_repeater(Json& document) {
  const auto seeds = document["settings"]["seeds"].get<std::uint32_t>();
  const auto runs = designed_runs(seeds);
  const auto& recorded = document["runs"];
  for (std::size_t i = 0; i < std::max(runs.size(), recorded.size()); ++i)
    if (i >= runs.size() || i >= recorded.size() || recorded[i].at("name") != runs[i].name())
      throw InputError(fmt::format(
          "the experiment's run {} is not the design's; expected {} runs in its order", i + 1, runs.size()));
  document["factors"] = Json::array();
  for (const auto& factor : factors())
    document["factors"].push_back(
        {{"id", factor.id}, {"name", factor.name}, {"before", factor.before}, {"after", factor.after}});
  document["effects"] = Json::array();
  for (const auto& one : responses()) {
    std::vector<double> values;
    for (const auto& run : document["runs"]) values.push_back(one.of(run));
    for (const auto mask : {std::optional<bool>{}, std::optional(false), std::optional(true)})
      for (const auto& effect : effects_of(runs, values, mask)) {
        Json ids = Json::array();
        for (const auto factor : effect.factors) ids.push_back(factors()[factor].id);
        document["effects"].push_back({{"response", one.id},
                                       {"among", among(mask)},
                                       {"factors", ids},
                                       {"value", effect.value},
                                       {"low", effect.interval.low},
                                       {"high", effect.interval.high},
                                       {"chance", effect.chance}});
      }
  }
  document["responses"] = Json::array();
  for (const auto& one : responses())
    document["responses"].push_back({{"id", one.id}, {"title", one.title}, {"matters", one.matters}});
  document["scale"] = scale_sentence(document);
  document["answers"] = answers(document);
  document["claims"] = {claim_of_dropout(document), claim_of_layers_and_heads(document),
                        claim_of_steadiness(document)};
}

}  // namespace plumbline
