#include "harness/text/text_report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

constexpr double kShownConfidence = 0.95;
constexpr std::size_t kMostLoopsListed = 100;

std::string name_of(Kind kind) {
  switch (kind) {
    case Kind::mean:
      return "mean over samples";
    case Kind::ratio:
      return "ratio of sums over samples";
    case Kind::rate:
      return "rate of samples";
    case Kind::whole:
      return "of all samples together";
  }
  return "";
}

// Prompts in the order in which they first come, each with its samples. A sample whose prompt is unknown is
// one of its own.
struct Prompts {
  explicit Prompts(const Samples& samples) {
    std::map<std::string, std::size_t> known;
    for (std::size_t i = 0; i < samples.all.size(); ++i) {
      const auto& prompt = samples.all[i].prompt;
      const auto [found, fresh] = known.try_emplace(prompt, groups.size());
      if (prompt.empty() || fresh) {
        names.push_back(prompt);
        groups.push_back({i});
      } else {
        groups[found->second].push_back(i);
      }
    }
  }
  std::vector<std::string> names;
  std::vector<std::vector<std::size_t>> groups;
  bool single() const {
    return std::all_of(groups.begin(), groups.end(), [](const auto& g) { return g.size() == 1; });
  }
};

// What each prompt contributes; nothing below: its samples were not measurable.
std::vector<Share> by_prompt(const Metric& metric, const Prompts& prompts) {
  std::vector<Share> all;
  for (const auto& group : prompts.groups) {
    Share sum;
    for (const auto i : group) sum.over += metric.shares[i].over, sum.under += metric.shares[i].under;
    // A mean is over prompts, however many samples each has.
    if (metric.kind != Kind::ratio && sum.under > 0) sum = {sum.over / sum.under, 1};
    all.push_back(sum);
  }
  return all;
}

Json to_json(const std::optional<Interval>& interval, double confidence, const std::string& method) {
  if (!interval) return nullptr;
  return {{"low", interval->low}, {"high", interval->high}, {"confidence", confidence}, {"method", method}};
}

constexpr const char* kBca = "BCa bootstrap over prompts, 2000 to 10000 resamples";
constexpr const char* kBinomial = "exact binomial (Clopper and Pearson)";

Json measured(const Metric& metric, const Prompts& prompts, std::uint32_t seed) {
  Json out = {{"value", metric.value ? Json(*metric.value) : Json(nullptr)},
              {"reason", metric.value ? "" : metric.reason},
              {"samples", metric.measured},
              {"interval", nullptr}};
  if (!metric.value || metric.kind == Kind::whole) return out;
  const auto shares = measurable(by_prompt(metric, prompts));
  out["value"] = estimate(shares);  // over prompts, as its interval
  const bool rate = metric.kind == Kind::rate && prompts.single();
  out["interval"] =
      to_json(interval_of(shares, rate, kShownConfidence, seed), kShownConfidence, rate ? kBinomial : kBca);
  return out;
}

// The two side by side: prompts that both have, paired, or all of each.
struct Sides {
  std::vector<Share> one, other;
  bool paired = false, exact = false;  // exact: one sample a prompt, so that hits can be counted
};

class Pairing {
 public:
  Pairing(const Samples& one, const Samples& other) : one_(one), other_(other) {
    if (one_.names.size() != other_.names.size()) return;
    std::map<std::string, std::size_t> where;
    for (std::size_t i = 0; i < other_.names.size(); ++i) where[other_.names[i]] = i;
    for (const auto& name : one_.names) {
      const auto found = where.find(name);
      if (name.empty() || found == where.end()) {
        order_.clear();
        return;
      }
      order_.push_back(found->second);
    }
  }

  bool paired() const { return !order_.empty(); }

  Sides sides(const Metric& one, const Metric& other) const {
    Sides sides{by_prompt(one, one_), by_prompt(other, other_), paired(), one_.single() && other_.single()};
    if (!paired()) return {measurable(sides.one), measurable(sides.other), false, sides.exact};
    Sides both{{}, {}, true, sides.exact};
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const auto &first = sides.one[i], &second = sides.other[order_[i]];
      if (!(first.under > 0) || !(second.under > 0)) continue;
      both.one.push_back(first);
      both.other.push_back(second);
    }
    return both;
  }

 private:
  Prompts one_, other_;
  std::vector<std::size_t> order_;  // prompt i of the one is prompt order_[i] of the other
};

Rates rates_of(const Sides& sides) {
  Rates rates{0,
              static_cast<std::int64_t>(sides.one.size()),
              0,
              static_cast<std::int64_t>(sides.other.size()),
              sides.paired,
              0,
              0};
  for (const auto& share : sides.one) rates.hits_one += is_hit(share) ? 1 : 0;
  for (const auto& share : sides.other) rates.hits_other += is_hit(share) ? 1 : 0;
  if (sides.paired)
    for (std::size_t i = 0; i < sides.one.size(); ++i) {
      rates.only_one += is_hit(sides.one[i]) && !is_hit(sides.other[i]) ? 1 : 0;
      rates.only_other += !is_hit(sides.one[i]) && is_hit(sides.other[i]) ? 1 : 0;
    }
  return rates;
}

Json difference(const Metric& one, const Metric& other, const Pairing& pairing, double confidence,
                std::uint32_t seed) {
  // Of other definitions on the two sides: choices against text, ids of other widths.
  if (!one.value || !other.value || one.variant != other.variant) return nullptr;
  if (one.kind == Kind::whole)
    return {{"value", *other.value - *one.value}, {"interval", nullptr}, {"prompts", nullptr}};
  const auto sides = pairing.sides(one, other);
  if (sides.one.empty() || sides.other.empty()) return nullptr;
  Json out = {{"value", estimate(sides.other) - estimate(sides.one)},
              {"of", {estimate(sides.other), estimate(sides.one)}},
              {"prompts", {sides.one.size(), sides.other.size()}},
              {"paired", sides.paired}};
  if (one.kind == Kind::rate && sides.exact) {
    const auto rates = rates_of(sides);
    out["interval"] =
        to_json(exact_interval_of_difference(rates, confidence), confidence,
                sides.paired ? "exact binomial, of the pairs that differ" : "exact binomial of each side");
    out["p"] = exact_test(rates);
    out["test"] = sides.paired ? "McNemar, exact" : "Fisher, exact";
    const auto least =
        least_rate_difference(estimate(sides.one), rates.prompts_one, rates.prompts_other, confidence);
    out["shows_from"] = least ? Json(*least) : Json(nullptr);
    return out;
  }
  if (one.kind != Kind::ratio) {
    out["p"] = permutation_test(sides.one, sides.other, sides.paired, seed);
    out["test"] = sides.paired ? "permutation of pairs, 10000 drawn" : "permutation of prompts, 10000 drawn";
  }
  const auto interval = bca_interval_of_difference(sides.one, sides.other, sides.paired, confidence, seed);
  out["interval"] = to_json(interval, confidence, sides.paired ? "BCa bootstrap over pairs" : kBca);
  out["shows_from"] = interval ? Json(least_difference(*interval, confidence)) : Json(nullptr);
  return out;
}

Json about(const MeasuredText& text) {
  const auto& samples = text.samples;
  return {{"file", printable(samples.file)},
          {"sha256", samples.sha256},
          {"samples", samples.all.size()},
          {"prompts", Prompts(samples).groups.size()},
          {"tokens", samples.tokens()},
          {"unit", samples.unit},
          {"strategy", samples.strategy.empty() ? "unknown" : samples.strategy},
          {"notes", samples.notes}};
}

Json loops_of(const MeasuredText& text) {
  std::vector<std::size_t> looping;
  for (std::size_t i = 0; i < text.repetition.loops.size(); ++i)
    if (text.repetition.loops[i].longest) looping.push_back(i);
  std::stable_sort(looping.begin(), looping.end(), [&](std::size_t a, std::size_t b) {
    return text.repetition.loops[a].longest->tokens() > text.repetition.loops[b].longest->tokens();
  });
  Json listed = Json::array();
  for (const auto i : looping) {
    if (listed.size() == kMostLoopsListed) break;
    const auto& sample = text.samples.all[i];
    const auto& loop = *text.repetition.loops[i].longest;
    const std::vector<Token> block(
        sample.tokens.begin() + static_cast<std::ptrdiff_t>(loop.begin),
        sample.tokens.begin() +
            static_cast<std::ptrdiff_t>(loop.begin + std::min<std::size_t>(loop.period, 16)));
    listed.push_back({{"sample", i + 1},
                      {"line", sample.line},
                      {"period", loop.period},
                      {"begin", loop.begin},
                      {"end", loop.end},
                      {"of", sample.tokens.size()},
                      {"to_the_end", loop.end == sample.tokens.size()},
                      {"block", block}});
  }
  return {{"samples", looping.size()}, {"listed", listed}};
}

void require_comparable(const Samples& one, const Samples& other) {
  for (const auto* each : {&one, &other})
    if (each->strategy == "mixed")
      throw InputError(fmt::format(
          "{}: holds greedy and sampled text: the two differ by an order of magnitude in how they "
          "repeat; give each on its own",
          printable(each->file)));
  if (one.unit != other.unit)
    throw InputError(
        fmt::format("{} has {}, {} has {}: expected the same unit in both; choose one with --unit",
                    printable(one.file), one.unit, printable(other.file), other.unit));
  if (one.strategy != other.strategy && !one.strategy.empty() && !other.strategy.empty())
    throw InputError(fmt::format(
        "{} is {} text, {} is {}: the two differ by an order of magnitude in how they repeat; compare "
        "like with like",
        printable(one.file), one.strategy, printable(other.file), other.strategy));
}

const Json& metric_of(const Json& document, const std::string& id) {
  for (const auto& metric : document["metrics"])
    if (metric["id"] == id && metric["kind"] != name_of(Kind::ratio) &&
        metric["kind"] != name_of(Kind::whole))
      return metric;
  throw InputError(
      fmt::format("text.json: there is no mean or rate '{}' over samples to decide by", printable(id)));
}

// What one deciding metric says: more, less, no more, or why nothing.
Json decided(const Json& metric, double margin, double alpha) {
  const auto& seen = metric["difference"];
  const auto say = [&](const char* finding, const std::string& sentence) {
    return Json{{"metric", metric["id"]}, {"margin", margin}, {"finding", finding}, {"sentence", sentence}};
  };
  const std::string title = metric["title"].text();
  if (seen.is_null()) {
    const auto& which = metric["value"].is_null() ? metric : metric["baseline"];
    return say(
        "not assessed",
        fmt::format("{}: {}", title,
                    which["value"].is_null()
                        ? fmt::format("not measurable: {}", which["reason"].get<std::string>())
                        : "the two share no prompt that is measurable in both, or are measured in two ways"));
  }
  const auto prompts = seen["prompts"][0] == seen["prompts"][1]
                           ? seen["prompts"][0].dump()
                           : fmt::format("{} and {}", seen["prompts"][0].dump(), seen["prompts"][1].dump());
  const auto& interval = seen["interval"];
  if (interval.is_null())
    return say("not assessed", fmt::format("{}: too few prompts ({}), at least {} are needed", title, prompts,
                                           kLeastPrompts));
  const double low = interval["low"].get<double>(), high = interval["high"].get<double>(),
               value = seen["value"].get<double>();
  const auto sides = fmt::format("{}: {} against {}", title, shown_number(seen["of"][0].get<double>()),
                                 shown_number(seen["of"][1].get<double>()));
  const auto figures =
      fmt::format("{}, a difference of {} ({} to {}; p {})", sides, shown_number(value), shown_number(low),
                  shown_number(high), shown_number(seen["p"].get<double>()));
  const bool significant = seen["p"].get<double>() < alpha;
  // A difference that does not matter is none, however sure it is.
  if (high < margin) return say(significant && value < 0 ? "less" : "no more", figures);
  if (significant && value > 0) return say("more", figures);
  const auto from = seen["shows_from"];
  return say(
      "not assessed",
      fmt::format(
          "{}; {} prompts leave a difference of up to {} open, and {} would matter{}", sides, prompts,
          shown_number(high), shown_number(margin),
          from.is_null() ? "" : fmt::format("; they show one from {} on", shown_number(from.get<double>()))));
}

Json verdict(const Json& document, const TextThresholds& thresholds) {
  const auto& metrics = document["metrics"];
  if (std::all_of(metrics.begin(), metrics.end(),
                  [](const Json& metric) { return metric["value"].is_null() || metric["id"] == "ended"; }))
    return {{"finding", "not assessed"},
            {"sentence", "not assessed: there is nothing in it that could be measured"},
            {"deciding", Json::array()}};
  if (document["baseline"].is_null())
    return {{"finding", "measured"},
            {"sentence", "measured, and not judged: there is no baseline to hold it against"},
            {"deciding", Json::array()}};
  const double alpha = (1 - thresholds.confidence) / static_cast<double>(thresholds.deciding.size());
  Json deciding = Json::array();
  int more = 0, open = 0, less = 0;
  for (const auto& [metric, margin] : thresholds.deciding) {
    deciding.push_back(decided(metric_of(document, metric), margin, alpha));
    const auto& finding = deciding.back()["finding"];
    more += finding == "more" ? 1 : 0;
    open += finding == "not assessed" ? 1 : 0;
    less += finding == "less" ? 1 : 0;
  }
  const auto with = [&](const char* finding, const std::string& sentence) {
    return Json{{"finding", finding}, {"sentence", sentence}, {"deciding", deciding}};
  };
  const auto sure = fmt::format("at {:.0f} % confidence", 100 * thresholds.confidence);
  if (more > 0) return with("more repetitive", fmt::format("more repetitive than the baseline, {}", sure));
  if (open > 0) return with("not assessed", "not assessed: too few prompts to tell, or nothing to tell by");
  if (less > 0) return with("less repetitive", fmt::format("less repetitive than the baseline, {}", sure));
  return with("not more repetitive",
              fmt::format("not more repetitive than the baseline by what would matter, {}", sure));
}

std::string interval_of(const Json& interval) {
  return interval.is_null() ? ""
                            : fmt::format("{} to {}", shown_number(interval["low"].get<double>()),
                                          shown_number(interval["high"].get<double>()));
}

std::string side_line(const char* what, const Json& side) {
  return fmt::format("{}: {}, {} samples of {} prompts, {} {}, {} text\n", what,
                     side["file"].get<std::string>(), side["samples"].dump(), side["prompts"].dump(),
                     side["tokens"].dump(), side["unit"].get<std::string>(),
                     side["strategy"].get<std::string>());
}

}  // namespace

std::string shown_number(double value) {
  const double size = std::abs(value);
  return size != 0 && (size < 1e-3 || size >= 1e5) ? fmt::format("{:.3g}", value)
                                                   : fmt::format("{:.4g}", value);
}

TextThresholds read_text_thresholds(const std::filesystem::path& file) {
  const auto where = file.string();
  const auto given = parse_json(read_text(file, 1 << 16), where);
  TextThresholds thresholds;
  try {
    thresholds.confidence = given.at("confidence").get<double>();
    for (const auto& one : given.at("deciding"))
      thresholds.deciding.push_back({one.at("metric").get<std::string>(), one.at("margin").get<double>()});
  } catch (const JsonError&) {
    throw InputError(
        fmt::format("{}: expected a confidence and deciding metrics, each with its margin", where));
  }
  if (!(thresholds.confidence > 0.5 && thresholds.confidence < 1) || thresholds.deciding.empty())
    throw InputError(
        fmt::format("{}: expected a confidence between 0.5 and 1, and a metric that decides", where));
  return thresholds;
}

Json text_document(const MeasuredText& text, const MeasuredText* baseline, const TextThresholds& thresholds,
                   std::uint32_t seed) {
  if (baseline != nullptr) require_comparable(baseline->samples, text.samples);
  Json document = {{"document", "plumbline text"},
                   {"version", 1},
                   {"seed", seed},
                   {"text", about(text)},
                   {"baseline", baseline == nullptr ? Json(nullptr) : about(*baseline)},
                   {"metrics", Json::array()},
                   {"loops", loops_of(text)}};
  const Prompts prompts(text.samples);
  std::optional<Pairing> pairing;
  std::optional<Prompts> before;
  if (baseline != nullptr)
    pairing.emplace(baseline->samples, text.samples), before.emplace(baseline->samples);
  if (baseline != nullptr) {
    auto& notes = document["text"]["notes"];
    if (!pairing->paired())
      notes.push_back(
          "its prompts are not those of the baseline: the two are compared as independent, not in pairs");
    if (!text.samples.settings.empty() && text.samples.settings != baseline->samples.settings)
      notes.push_back(fmt::format("it was sampled with other settings than the baseline: {} against {}",
                                  printable(text.samples.settings, 300),
                                  printable(baseline->samples.settings, 300)));
  }
  const double confidence = 1 - (1 - thresholds.confidence) /
                                    static_cast<double>(std::max<std::size_t>(thresholds.deciding.size(), 1));
  for (const auto& metric : text.repetition.metrics) {
    Json out = {{"id", metric.id},
                {"title", metric.title},
                {"source", metric.source},
                {"variant", metric.variant},
                {"kind", name_of(metric.kind)},
                {"more_repetitive_when", metric.direction > 0   ? "higher"
                                         : metric.direction < 0 ? "lower"
                                                                : "neither"}};
    out.update(measured(metric, prompts, seed));
    if (baseline != nullptr) {
      const auto& same = find_metric(baseline->repetition, metric.id);
      out["baseline"] = measured(same, *before, seed);
      out["difference"] = difference(same, metric, *pairing, confidence, seed);
    }
    document["metrics"].push_back(std::move(out));
  }
  document["verdict"] = verdict(document, thresholds);
  return document;
}

std::string text_of_each_sample(const MeasuredText& text) {
  const auto whole = [](const std::optional<Loop>& loop) {
    return loop ? Json{{"period", loop->period}, {"begin", loop->begin}, {"end", loop->end}} : Json(nullptr);
  };
  std::string lines;
  for (std::size_t i = 0; i < text.samples.all.size(); ++i) {
    const auto& sample = text.samples.all[i];
    Json out = {{"sample", i + 1},
                {"line", sample.line},
                {"tokens", sample.tokens.size()},
                {"longest_loop", whole(text.repetition.loops[i].longest)},
                {"last_loop", whole(text.repetition.loops[i].last)},
                {"values", Json::object()}};
    for (const auto& metric : text.repetition.metrics) {
      if (metric.shares.empty()) continue;
      const auto& share = metric.shares[i];
      out["values"][metric.id] = share.under > 0 ? Json(share.over / share.under) : Json(nullptr);
    }
    lines += out.dump() + "\n";
  }
  return lines;
}

int text_status(const Json& document) {
  const auto& finding = document.at("verdict").at("finding");
  return finding == "more repetitive" ? kMoreRepetitive
         : finding == "not assessed"  ? kTextNotAssessed
                                      : kNotMoreRepetitive;
}

std::string text_summary(const Json& document) {
  std::string out = side_line("text", document["text"]);
  const bool compared = !document["baseline"].is_null();
  if (compared) out += side_line("baseline", document["baseline"]);
  for (const auto& note : document["text"]["notes"])
    out += fmt::format("note: {}\n", note.get<std::string>());
  out += fmt::format("\n{:<22}{:>10}  {:<20}", "", "value", "95 % interval");
  if (compared) out += fmt::format("{:>10}{:>12}  {:<20}", "baseline", "difference", "interval");
  out += '\n';
  for (const auto& metric : document["metrics"]) {
    const auto value = [](const Json& side) {
      return side["value"].is_null() ? std::string("-") : shown_number(side["value"].get<double>());
    };
    std::string line =
        fmt::format("{:<22}{:>10}  {:<20}", metric["id"].get<std::string>(), value(metric),
                    metric["value"].is_null() && !compared
                        ? fmt::format("not measurable: {}", metric["reason"].get<std::string>())
                        : interval_of(metric["interval"]));
    if (compared) {
      const auto& seen = metric["difference"];
      line += fmt::format("{:>10}{:>12}  {:<20}", value(metric["baseline"]),
                          seen.is_null() ? "-" : shown_number(seen["value"].get<double>()),
                          seen.is_null() ? "" : interval_of(seen["interval"]));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  const auto& loops = document["loops"];
  if (loops["samples"] != 0)
    out += fmt::format("\n{} of {} samples have a loop:\n", loops["samples"].dump(),
                       document["text"]["samples"].dump());
  for (std::size_t i = 0; i < std::min<std::size_t>(loops["listed"].size(), 5); ++i) {
    const auto& loop = loops["listed"][i];
    const auto tokens = loop["end"].get<std::size_t>() - loop["begin"].get<std::size_t>();
    out +=
        fmt::format("  sample {} (line {}): a block of {} said {:.1f} times, from token {} of {}{}\n",
                    loop["sample"].dump(), loop["line"].dump(), loop["period"].dump(),
                    static_cast<double>(tokens) / loop["period"].get<double>(),
                    loop["begin"].get<std::size_t>() + 1, loop["of"].dump(),
                    loop["to_the_end"] == true ? " to the end" : fmt::format(" to {}", loop["end"].dump()));
  }
  out += '\n';
  for (const auto& one : document["verdict"]["deciding"])
    out += fmt::format("{}: {}\n", one["finding"].get<std::string>(), one["sentence"].get<std::string>());
  return out + fmt::format("{}\n", document["verdict"]["sentence"].get<std::string>());
}

}  // namespace plumbline
