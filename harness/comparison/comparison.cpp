#include "harness/comparison/comparison.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "harness/candidate/void_parameters.hpp"
#include "harness/diagnosis/observations.hpp"
#include "harness/evidence/relation.hpp"
#include "harness/judging/own_text.hpp"
#include "harness/judging/probes.hpp"
#include "harness/judging/ways.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

constexpr int kRounds = 5;
constexpr auto kStepTooSmall = "in bfloat16 a step is smaller than the rounding of what it changes";
constexpr std::size_t kMostRenamed = 10'000;
constexpr auto kRoundingDecides = "in bfloat16 rounding decides between tokens that are about as likely";

// `other` against `one`. The same bits are the same whatever they are: a NaN, too, is one that both have.
reports::Check compare_two(const std::string& what, const at::Tensor& other, const at::Tensor& one,
                           const Tolerance& tolerance) {
  if (!same_bits(one, other) || one.numel() == 0) {
    // A NaN that both have is none of either's.
    const bool comparable = one.sizes() == other.sizes() && at::isFloatingType(one.scalar_type()) &&
                            at::isFloatingType(other.scalar_type());
    const auto neither = comparable ? one.isnan() & other.isnan() : at::Tensor();
    const auto known = [&](const at::Tensor& x) { return comparable ? x.masked_fill(neither, 0) : x; };
    auto check = compare(what, known(other), known(one), tolerance);
    check.identical = false;
    if (comparable) check.elements -= neither.sum().item<std::int64_t>();
    for (const auto& [ours, words] : {std::pair{": got ", ": now "}, {", expected ", ", before "}})
      if (const auto begin = check.sentence.find(ours); begin != std::string::npos)
        check.sentence.replace(begin, std::strlen(ours), words);
    return check;
  }
  reports::Check check;
  check.what = what;
  check.within = true;
  check.identical = true;
  check.elements = one.numel();
  check.worst_difference = 0;
  check.expected = check.actual = "the same bits";
  check.sentence = reports::same_bits(check);
  check.tolerance = 0;
  check.tolerance_reason = "bit for bit";
  return check;
}

// What is measured and not judged.
reports::Check reported(const std::string& what, const std::string& value, std::int64_t measurements) {
  reports::Check check;
  check.what = what;
  check.within = true;
  check.elements = measurements;
  check.actual = value;
  check.expected = reports::not_judged;
  check.sentence = reports::reported(check);
  check.tolerance_reason = "measured";
  return check;
}

double seconds_of(Candidate& candidate, const std::function<void()>& work) {
  const auto account = [&] {
    const auto usage = candidate.usage();
    return usage ? usage->seconds : std::nullopt;
  };
  const auto before = account();
  const auto begin = std::chrono::steady_clock::now();
  work();
  const double whole = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const auto after = account();
  const double own = before && after ? *after - *before : 0;
  return own > 0 ? own : whole;
}

std::string in_bytes(double bytes) {
  return bytes < 1e6 ? fmt::format("{:.0f} bytes", bytes) : fmt::format("{:.1f} MB", bytes / 1e6);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// "0.310 s after 0.300 s: 1.03 x (0.98 to 1.06)"
std::string ratio_of(const std::vector<double>& one, const std::vector<double>& other) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < one.size(); ++i) ratios.push_back(other[i] / one[i]);
  const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
  return fmt::format("{:.2f} x the time ({:.2f} to {:.2f}): {:.4f} s, {:.4f} s before", median(ratios),
                     *least, *most, median(other), median(one));
}

// Numbers are the same as numbers, 10000 and 1e4.
bool same_value(const Json& a, const Json& b) {
  return a.is_number() && b.is_number() ? a.get<double>() == b.get<double>() : a == b;
}

}  // namespace

struct Comparison::Pair {
  Pair(Subject& first, Subject* second) : one(first), other(second) {}

  Subject& one;
  Subject* other;
  reports::Localisation place;  // where they differ
  std::optional<bool> weights_agree;
  bool shared = false;                                         // the one's weights are the other's already
  std::optional<std::map<std::string, std::string>> renamed_;  // see renamed()
  std::string first_bits;  // the first stage whose bits differ, and in which mode

  // Of the requirement at hand.
  int compared = 0, identical = 0;
  double nearest = -1;
  std::string nearest_what;
  double unseen = 0;  // the largest share of the largest logit that rounding may explain

  bool can(const std::string& capability) const {
    return capability.empty() || (one.can(capability) && (other == nullptr || other->can(capability)));
  }

  // The one of the two that alone can do this; nullptr where both can, or neither.
  Subject* alone(const std::string& capability) const {
    if (other == nullptr || one.can(capability) == other->can(capability)) return nullptr;
    return one.can(capability) ? &one : other;
  }

  // Errors: NotShown where one alone has what nothing else that it shows could stand for.
  void of_both(const std::string& capability, const std::string& words) {
    if (const auto* who = alone(capability))
      not_assessed(fmt::format("{} alone has {}, and nothing of {} can stand for them", name(*who), words,
                               name(who == &one ? *other : one)));
  }

  template <typename Ask>
  auto ask(Subject& whom, const Ask& question) {
    set_subject(&whom);
    try {
      return question();
    } catch (const NotShown& why) {
      const auto& name = whom.description().name;
      const std::string message = why.what();
      throw NotShown(message.find(name) == std::string::npos ? fmt::format("{}: {}", name, message)
                                                             : message);
    }
  }

  // Asks both the same; `judge` takes the answers, of the one and of the other.
  template <typename Ask, typename Judge>
  void both(const Ask& question, const Judge& judge) {
    const auto first = ask(one, question);
    if (other == nullptr) return;
    const auto second = ask(*other, question);
    set_subject(&one);  // whose type and weights the reference's rounding is measured in
    judge(first, second);
  }

  // Asks each of the two what it has: the one that can do it in this way, and the other what stands for it.
  template <typename Ask, typename Judge>
  void both_or_stand_in(const std::string& needs, const Ask& question, const Ask& stand_in,
                        const Judge& judge) {
    if (other == nullptr) {  // a recording is to be compared with those that can, and with those that cannot
      if (can(needs)) ask(one, question);
      ask(one, stand_in);
      return;
    }
    if (!one.can(needs) && !other->can(needs)) return;
    const auto first = ask(one, one.can(needs) ? question : stand_in);
    const auto second = ask(*other, other->can(needs) ? question : stand_in);
    set_subject(&one);
    judge(first, second);
  }

  void record(reports::Check check) {
    if (check.identical) ++compared, identical += *check.identical ? 1 : 0;
    if (check.tolerance && *check.tolerance > 0 && check.worst_difference)
      if (const double share = *check.worst_difference / *check.tolerance; share > nearest)
        nearest = share, nearest_what = check.what;
    one.recorder().add(std::move(check));
  }
  void expect_text(const std::string& what, const std::string& second, const std::string& first) {
    auto check = compare_text(what, second, first);
    check.sentence = reports::now_and_before(check);
    record(std::move(check));
  }

  static const std::string& name(const Subject& whom) { return whom.description().name; }

  // What the requirement's comparisons come to, in a line.
  void conclude() {
    if (compared == 0) return;
    if (unseen > 0)
      one.recorder().finding(fmt::format(
          "what differs by less than {} of the largest logit is taken for rounding", number(unseen)));
    one.recorder().finding(
        compared == identical
            ? fmt::format("bit for bit in all of {}", reports::counted(compared, "comparison"))
            : fmt::format("bit for bit in {} of {}{}", identical, reports::counted(compared, "comparison"),
                          nearest < 0 ? ""
                                      : fmt::format("; nearest to what rounding allows: {}, {} of it",
                                                    nearest_what, number(nearest))));
  }

  bool both_load() const { return one.can("load") && (other == nullptr || other->can("load")); }

  // Both on the same weights. Errors: NotShown where that cannot be had.
  void share_weights() {
    if (other == nullptr || shared) return;
    if (both_load()) {
      auto lacking = one.lacking();
      lacking.insert(other->lacking().begin(), other->lacking().end());
      if (!lacking.empty())
        for (auto* whom : {&one, other}) whom->use_weights(with_void(whom->weights(), lacking));
      shared = true;
      return;
    }
    if (!one.can("load") && !other->can("load")) {
      if (!weights_agree) weights_agree = weights_are_the_same();
      if (!*weights_agree) throw NotShown("their weights differ, and neither of the two can be given others");
      return;
    }
    auto& fixed = one.can("load") ? *other : one;
    (one.can("load") ? one : *other).use_weights(convert(fixed.candidate().weights(), at::kFloat, at::kCPU));
    shared = true;
  }

  // Candidates of another architecture than the specification's can be compared all the same; then rounding
  // is measured on the specification's, and nothing is replayed.
  void measure_rounding() {
    set_subject(&one);
    const auto& weights = one.weights();
    for (const auto& parameter : one.specification().parameters()) {
      const auto found = weights.find(parameter.name);
      if (found != weights.end() && found->second.sizes() == at::IntArrayRef(parameter.shape)) continue;
      one.measure_rounding_on(discriminating_weights(one.specification().parameters(), 1));
      return;
    }
  }

  bool weights_are_the_same() {
    const auto &first = one.candidate().weights(), &second = other->candidate().weights();
    if (first.size() != second.size()) return false;
    return std::all_of(first.begin(), first.end(), [&](const auto& entry) {
      const auto found = second.find(entry.first);
      return found != second.end() && same_bits(entry.second, found->second);
    });
  }

  void configuration() {
    if (other == nullptr) return;
    const auto &first = one.description().configuration, &second = other->description().configuration;
    std::vector<std::string> alone;
    for (const auto& [key, setting] : first) {
      const auto found = second.find(key);
      if (found == second.end()) {
        alone.push_back(key);
        continue;
      }
      auto check = compare_text(key, found->second.value.dump(), setting.value.dump());
      check.within = same_value(found->second.value, setting.value);
      if (!check.within)
        check.sentence = fmt::format("{}: {} ({}), {} before ({})", key, check.actual, found->second.where,
                                     check.expected, setting.where);
      record(std::move(check));
    }
    for (const auto& [key, setting] : second)
      if (!first.contains(key)) alone.push_back(key);
    if (!alone.empty()) {
      one.recorder().finding(fmt::format("stated by one of the two alone: {}", fmt::join(alone, ", ")));
      // Where code is run it shows what it does without being told. A lone weight file states nothing, which
      // is no difference; the verdict says that there was nothing to compare.
      const bool lone_file =
          one.description().kind == "state_dict" || other->description().kind == "state_dict";
      if (!can("code") && !lone_file)
        one.recorder().not_assessed(
            fmt::format("one of the two alone states {}, and what the other's loader would take "
                        "for it is not known",
                        fmt::join(alone, ", ")));
    }
    unknown_settings();
  }

  // What two files of settings say under names that mean nothing to us.
  void unknown_settings() {
    static const std::set<std::string> about_the_file{"_name_or_path", "transformers_version", "torch_dtype",
                                                      "dtype"};
    const auto &first = one.description().stated, &second = other->description().stated;
    if (!first.is_object() || !second.is_object()) return;
    // What became a setting that we know: "config.json: rope_parameters.rope_theta".
    std::set<std::string> used{"model_type",   "architectures", "bos_token_id", "eos_token_id",
                               "pad_token_id", "use_cache",     "rope_scaling", "initializer_range"};
    for (const auto* settings : {&one.description().configuration, &other->description().configuration})
      for (const auto& [key, setting] : *settings) {
        const auto begin = setting.where.rfind(": ");
        const auto name = begin == std::string::npos ? setting.where : setting.where.substr(begin + 2);
        used.insert(name.substr(0, name.find('.')));
      }
    std::set<std::string> keys, alone;
    for (const auto* settings : {&first, &second})
      for (const auto& [key, value] : settings->items())
        if (!about_the_file.contains(key)) keys.insert(key);
    for (const auto& key : keys) {
      if (!first.contains(key) || !second.contains(key)) {
        const auto& value = (first.contains(key) ? first : second)[key];
        if (!value.is_null() && value != false && !used.contains(key)) alone.insert(key);
        continue;
      }
      const auto shown = [&](const Json& value) { return printable(value.dump({.ascii = true}), 200); };
      auto check = compare_text(fmt::format("config.json: {}", printable(key, 60)), shown(second[key]),
                                shown(first[key]));
      check.within = same_value(second[key], first[key]);
      if (!check.within) check.sentence = reports::now_and_before(check);
      record(std::move(check));
    }
    if (alone.empty()) return;
    const auto names = printable(fmt::format("{}", fmt::join(alone, ", ")), 300);
    one.recorder().finding(fmt::format("in one config.json alone: {}", names));
    one.recorder().not_assessed(
        fmt::format("one config.json alone has {}, and what that does to a model is not known", names));
  }

  std::map<std::string, std::vector<std::int64_t>> shapes_of(Subject& whom) const {
    std::map<std::string, std::vector<std::int64_t>> shapes;
    for (const auto& parameter : whom.description().parameters)
      // A stored file may keep a tied head as a second copy of the embedding.
      if (whom.can("code") || !whom.specification().tie_word_embeddings || parameter.name != kHead)
        shapes[parameter.name] = parameter.shape;
    return shapes;
  }

  // Stored weights that have another name in the other, and hold the same: names of the one to the other's.
  const std::map<std::string, std::string>& renamed() {
    if (renamed_) return *renamed_;
    renamed_.emplace();
    if (can("code")) return *renamed_;
    const auto &first = one.candidate().weights(), &second = other->candidate().weights();
    std::set<std::string> free;
    for (const auto& [key, values] : second)
      if (!first.contains(key)) free.insert(key);
    if (free.size() > kMostRenamed) return *renamed_;  // no model has as many
    for (const auto& [key, values] : first) {
      if (second.contains(key)) continue;
      // Norms of many layers may hold the same: that of the same layer comes first.
      const auto number = number_in(key);
      std::string best;
      for (const auto& name : free) {
        const auto& theirs = second.at(name);
        const auto same = same_but_for_type(theirs, values);
        if (same && (best.empty() || (number_in(name) == number && number_in(best) != number))) best = name;
      }
      if (best.empty()) continue;
      free.erase(best);
      renamed_->emplace(key, best);
    }
    return *renamed_;
  }

  // The first number in a name: its layer's.
  static std::string number_in(const std::string& name) {
    const auto begin = name.find_first_of("0123456789");
    return begin == std::string::npos
               ? ""
               : name.substr(begin, name.find_first_not_of("0123456789", begin) - begin);
  }

  void parameters() {
    if (other == nullptr) return;
    const auto first = shapes_of(one), second = shapes_of(*other);
    const auto shape = [](const std::vector<std::int64_t>& sizes) {
      return fmt::format("[{}]", fmt::join(sizes, ", "));
    };
    std::set<std::string> found_elsewhere;
    std::int64_t missing = 0;
    for (const auto& [key, sizes] : first) {
      const auto found = second.find(key);
      if (const auto elsewhere = renamed().find(key); elsewhere != renamed().end()) {
        found_elsewhere.insert(elsewhere->second);
        expect_text(key, fmt::format("called {}", elsewhere->second), key);
        continue;
      }
      missing += found == second.end() ? 1 : 0;
      expect_text(key, found == second.end() ? "missing" : shape(found->second), shape(sizes));
    }
    for (const auto& [key, sizes] : second) {
      if (first.contains(key) || found_elsewhere.contains(key)) continue;
      ++missing;
      expect_text(key, shape(sizes), "missing");
    }
    if (!found_elsewhere.empty())
      one.recorder().finding(
          fmt::format("{} the same weights under other names, as {} is {}{}",
                      reports::counted(static_cast<std::int64_t>(found_elsewhere.size()), "parameter") +
                          (found_elsewhere.size() == 1 ? " is" : " are"),
                      renamed().begin()->first, renamed().begin()->second,
                      missing == 0 ? "" : fmt::format("; {} have no counterpart", missing)));
  }

  // In words, how a weight that is not bit for bit the other's is stored.
  std::string stored_as(const std::string& key, const at::Tensor& second, const at::Tensor& first) {
    const auto words = relation(second, first);
    const bool queries = key.ends_with("self_attn.q_proj.weight");
    if (words.empty() || first.dim() != 2 || (!queries && !key.ends_with("self_attn.k_proj.weight")))
      return words;
    const auto& s = one.specification();
    const auto heads = queries ? s.num_attention_heads : s.num_key_value_heads;
    if (first.size(0) % (2 * heads) != 0 || first.scalar_type() != second.scalar_type()) return words;
    if (same_bits(rows_for_pairs(first, heads), second))
      return words + ": for neighbouring pairs, where those before are for halves";
    if (same_bits(rows_for_pairs(second, heads), first))
      return words + ": for halves, where those before are for neighbouring pairs";
    return words;
  }

  void stored_weights() {
    if (other == nullptr) return;
    auto first = one.candidate().weights(), second = other->candidate().weights();
    // A tied head that one of them stores is the other's embedding.
    if (one.specification().tie_word_embeddings)
      for (auto* weights : {&first, &second})
        if (const auto embedding = weights->find(kEmbedding); embedding != weights->end())
          weights->emplace(kHead, embedding->second);
    std::map<std::string, std::vector<std::string>> related;  // how to which
    std::int64_t seen = 0;
    for (const auto& [key, values] : first) {
      const auto elsewhere = renamed().find(key);
      const auto found = second.find(elsewhere == renamed().end() ? key : elsewhere->second);
      if (found == second.end()) continue;  // SAME-2 says so
      ++seen;
      auto check = compare_two(key, found->second, values, Tolerance::exact("weights are not computed"));
      if (check.within && !*check.identical) {
        check.within = false;
        check.sentence =
            fmt::format("{}: the same values, but of type {}, {} before", key,
                        at::toString(found->second.scalar_type()), at::toString(values.scalar_type()));
      }
      if (!*check.identical) {
        const auto words = stored_as(key, found->second, values);
        if (!words.empty()) check.sentence += fmt::format(" ({})", words);
        related[words].push_back(key);
      }
      record(std::move(check));
    }
    for (const auto& [words, keys] : related)
      if (!words.empty())
        one.recorder().finding(fmt::format(
            "{}: {}", keys.size() == static_cast<std::size_t>(seen) ? "each weight" : some_of(keys, seen),
            words));
    if (const auto unlike = related.find(""); unlike != related.end() && related.size() > 1)
      one.recorder().finding(fmt::format("{}: of another content", some_of(unlike->second, seen)));
  }

  static std::string some_of(const std::vector<std::string>& keys, std::int64_t all) {
    return fmt::format("{} of {}, the first {}", keys.size(), reports::counted(all, "weight"), keys.front());
  }

  void initialisation() {
    both([] { return subject().candidate().initialise(1); },
         [&](const Weights& first, const Weights& second) {
           for (const auto& [key, values] : first) {
             const auto found = second.find(key);
             if (found == second.end() || found->second.sizes() != values.sizes()) continue;
             if (same_bits(values, found->second)) {
               record(compare_two(key, found->second, values, Tolerance::exact("")));
               continue;
             }
             const auto a = values.to(at::kDouble).flatten(), b = found->second.to(at::kDouble).flatten();
             const auto n = static_cast<double>(a.numel());
             const auto spread = n > 1 ? a.std(/*unbiased=*/true) : at::zeros({}, at::kDouble);
             const double width = spread.item<double>();
             const auto expect = [&](const std::string& what, const at::Tensor& second_value,
                                     const at::Tensor& first_value, double error) {
               auto check = compare(
                   fmt::format("{} of {}", what, key), second_value, first_value,
                   Tolerance::absolute(error, fmt::format("six standard errors of two samples of {}", n)));
               check.identical = false;
               record(std::move(check));
             };
             const double six = 6 * std::sqrt(2.0);
             expect("mean", b.mean(), a.mean(), six * width / std::sqrt(n));
             if (n > 1) expect("standard deviation", b.std(true), spread, six * width / std::sqrt(2 * n));
             expect_text(fmt::format("zeros in {}", key), std::to_string((b == 0).sum().item<std::int64_t>()),
                         std::to_string((a == 0).sum().item<std::int64_t>()));
           }
         });
  }

  void same_logits(const std::string& what, const at::Tensor& first, const at::Tensor& second,
                   const Tolerance& tolerance, bool far = false) {
    auto check = compare_two(fmt::format("logits ({})", what), second, first, tolerance);
    place.situations.push_back({what, check});
    if (!*check.identical && !far && tolerance.bound.numel() == 1 && largest(finite(first)) > 0)
      unseen = std::max(unseen, tolerance.bound.item<double>() / largest(finite(first)));
    record(std::move(check));
  }

  void logits_of(const std::string& what, const std::string& needs,
                 const std::function<at::Tensor()>& question) {
    if (!can(needs)) return;
    both(question, [&](const at::Tensor& first, const at::Tensor& second) {
      same_logits(what, first, second, subject().noise("logits", first));
    });
  }

  // Where one of the two alone can be run in this way, it is held to the other's full pass of the same
  // tokens.
  void logits_or_full_pass(const std::string& what, const std::string& needs,
                           const std::function<at::Tensor()>& question,
                           const std::function<at::Tensor()>& full) {
    const auto* who = alone(needs);
    const auto name_of_way =
        who == nullptr ? what : fmt::format("{} of {}, a full pass of the other", what, name(*who));
    both_or_stand_in(needs, question, full, [&](const at::Tensor& first, const at::Tensor& second) {
      same_logits(name_of_way, first, second, subject().noise("logits", first));
    });
  }

  // Where rounding of angles goes further than the noise that is measured near the start, it is measured
  // there.
  Tolerance far_tolerance(const Tokens& tokens, const PassOptions& options, const at::Tensor& given) {
    const at::NoGradGuard no_gradients;
    const auto exact = subject().exact().forward(tokens, options).to(at::kCPU, at::kDouble);
    const auto error =
        largest(subject().rounded().forward(tokens, options).to(at::kCPU, at::kDouble) - exact) /
        largest(exact);
    return Tolerance::absolute(
        kNoiseFactor * error * largest(finite(given)),
        fmt::format("{} x the rounding error measured on the reference there, {} of the largest",
                    kNoiseFactor, number(error)));
  }

  void far_logits() {
    set_subject(&one);
    const auto tokens = standard_probe();
    for (const auto first_position : {std::int64_t{300}, one.specification().max_position_embeddings - 24}) {
      if (first_position < 0) continue;
      PassOptions options;
      options.first_position = first_position;
      if (const auto* who = alone("first_position")) {
        held_to_the_start(*who, tokens, options);
        continue;
      }
      if (!can("first_position")) continue;
      both([&] { return logits(tokens, options); },
           [&](const at::Tensor& first, const at::Tensor& second) {
             same_logits(fmt::format("24 tokens from position {}", first_position), first, second,
                         far_tolerance(tokens, options, first), /*far=*/true);
           });
    }
  }

  // Rotary positions are relative: what begins elsewhere gives what the same tokens give at the start. Of a
  // model that does otherwise, nothing that the other does tells whether it is right.
  void held_to_the_start(const Subject& who, const Tokens& tokens, const PassOptions& options) {
    const auto elsewhere = [&] { return logits(tokens, options); };
    const auto at_the_start = [&] { return logits(tokens); };
    const auto first = &who == &one ? ask(one, elsewhere) : ask(one, at_the_start);
    const auto second = &who == &one ? ask(*other, at_the_start) : ask(*other, elsewhere);
    set_subject(&one);
    const auto tolerance = far_tolerance(tokens, options, first);
    const auto what = fmt::format("24 tokens from position {} of {}, from the start of the other",
                                  options.first_position, name(who));
    if (compare_two(what, second, first, tolerance).within)
      same_logits(what, first, second, tolerance, /*far=*/true);
    else
      one.recorder().not_assessed(fmt::format(
          "{} alone can begin elsewhere than at position 0, and nothing tells whether it does that rightly",
          name(who)));
  }

  // The ways to run it that serve a requirement, by what they need.
  void logits_where(const std::function<bool(const std::string& needs)>& belongs) {
    set_subject(&one);
    for (const auto& run : logits_runs())
      if (belongs(run.needs))
        logits_or_full_pass(
            run.name, run.needs, [&] { return run.logits(run.tokens); }, [&] { return logits(run.tokens); });
  }

  void evaluation() {
    logits_where([](const std::string& needs) { return needs == "evaluation"; });
    logits_of("a batch of 17", "evaluation", [] { return logits(probe("batch", 17, 5)); });
    logits_of("ids 0, 1, 2, 3 and the last", "evaluation", [] { return logits(special_tokens()); });
    logits_of("dropout 0.1 configured", "dropout", [] {
      PassOptions configured;
      configured.dropout = 0.1;
      return logits(standard_probe(), configured);
    });
    far_logits();
  }

  void training() {
    logits_where([](const std::string& needs) { return needs == "training"; });
    logits_or_full_pass(
        "training mode, a batch", "training", [] { return logits(probe("modes", 2, 24), in_training()); },
        [] { return logits(probe("modes", 2, 24)); });
    logits_or_full_pass(
        "training mode, 100 tokens", "training",
        [] { return logits(probe("length", 1, 100), in_training()); },
        [] { return logits(probe("length", 1, 100)); });
  }

  void padding() {
    for (const auto side : {Padding::right, Padding::left}) {
      const std::string name = side == Padding::right ? "right" : "left";
      const auto needs = "padding." + name;
      for (const std::int64_t length : {24, 9, 1}) {
        const auto what = fmt::format("{} padded {} to 31", reports::counted(length, "token"), name);
        const auto full = [length] { return logits(probe("padded", 1, length)); };
        logits_or_full_pass(
            what, needs, [&] { return padded_logits(probe("padded", 1, length), 31, side); }, full);
        logits_or_full_pass(
            what + ", alone in its batch", needs, [&] { return padded_alone(length, side); }, full);
        if (can(needs))
          logits_of(what + ", training", "training",
                    [&] { return padded_logits(probe("padded", 1, length), 31, side, in_training()); });
      }
    }
    if (compared == 0 && other != nullptr) not_assessed("no side of padding could be looked at");
  }

  // A sequence that is padded and alone in its batch.
  static at::Tensor padded_alone(std::int64_t length, Padding side) {
    const auto ids = probe("padded", 1, length).ids, fill = at::zeros({1, 31 - length}, at::kLong);
    const bool right = side == Padding::right;
    return logits({at::cat({right ? ids : fill, right ? fill : ids}, 1), {length}, side})
        .narrow(1, right ? 0 : 31 - length, length);
  }

  void decoding() {
    logits_where([](const std::string& needs) { return needs.starts_with("cache"); });
    logits_or_full_pass(
        "decoding of 5 sequences", "cache",
        [] { return cached_logits(probe("five", 5, 21), one_by_one(13, 21)); },
        [] { return logits(probe("five", 5, 21)); });
    for (const double value : {3e4, -3e4})
      logits_or_full_pass(
          fmt::format("{} in every unwritten slot", number(value)), "cache.fill",
          [value] { return logits_beside(standard_probe(), value); },
          [] { return logits(standard_probe()); });
    for (const auto side : {Padding::right, Padding::left}) {
      const std::string name = side == Padding::right ? "right" : "left";
      const std::function<std::vector<at::Tensor>()> decoded = [side] { return padded_and_decoded(side); };
      const std::function<std::vector<at::Tensor>()> rows_alone = [] {
        std::vector<at::Tensor> all;
        for (const auto& row : padded_and_decoded_alone()) all.push_back(logits(row));
        return all;
      };
      both_or_stand_in("cache.padding." + name, decoded, rows_alone,
                       [&](const std::vector<at::Tensor>& first, const std::vector<at::Tensor>& second) {
                         for (std::size_t row = 0; row < first.size(); ++row)
                           same_logits(fmt::format("row {} of prompts padded {} and decoded", row, name),
                                       first[row], second[row], subject().noise("logits", first[row]));
                       });
    }
  }

  // What each of the two makes of its own inputs, apart from what the inputs call for: told by a float64
  // replay. `slack` is granted where neither is what they call for: their inputs then differ by rounding.
  std::optional<reports::Check> local_difference(const std::string& stage, const at::Tensor& first,
                                                 const std::optional<Replayed>& first_right,
                                                 const at::Tensor& second,
                                                 const std::optional<Replayed>& second_right) {
    if (!first_right || !second_right || first.sizes() != second.sizes() ||
        first_right->expected.sizes() != first.sizes() || second_right->expected.sizes() != second.sizes())
      return std::nullopt;
    const auto neither = first.isnan() & second.isnan();  // a number
    const auto error = [&](const at::Tensor& seen, const at::Tensor& right) {
      const auto wide = seen.to(at::kDouble);
      return at::where(neither | (wide == right), at::zeros_like(wide), wide - right);  // equal infinities
    };
    const auto one_error = error(first, first_right->expected),
               other_error = error(second, second_right->expected);
    const auto right = [&](const at::Tensor& seen, const Replayed& by) {
      return compare(stage, seen, by.expected, by.tolerance).within;
    };
    const auto one_bound = finite(first_right->tolerance.bound.expand_as(first)),
               other_bound = finite(second_right->tolerance.bound.expand_as(second));
    const bool one_right = right(first, *first_right), other_right = right(second, *second_right);
    auto bound = one_bound + other_bound;
    if (one_right != other_right) bound = one_right ? other_bound : one_bound;
    if (!one_right && !other_right) bound = bound + subject().noise(stage, first).bound;
    auto check =
        compare(stage, other_error, one_error, Tolerance::each(bound, first_right->tolerance.reason));
    if (!check.within && check.elements > 0) {
      const auto at_worst = [&](const at::Tensor& x) {
        auto element = x;
        for (const auto index : check.worst_index) element = element.select(0, index);
        return number(element.to(at::kDouble).item<double>());
      };
      check.sentence = fmt::format(
          "{}[{}]: of its own inputs {} makes {} where a replay makes {}; {} makes {} where it makes {} "
          "(allowed between them: {}, {})",
          stage, fmt::join(check.worst_index, ","), name(*other), at_worst(second),
          at_worst(second_right->expected), name(one), at_worst(first), at_worst(first_right->expected),
          number(check.tolerance.value_or(0)), check.tolerance_reason);
    }
    return check;
  }

  std::vector<reports::StageErrors> differences(const StageRun& run, const Stages& first,
                                                const Stages& second) {
    std::vector<reports::StageErrors> all;
    for (const auto& stage : stage_names(one.specification().num_hidden_layers)) {
      const auto a = first.find(stage), b = second.find(stage);
      if (a == first.end() || b == second.end()) continue;
      const bool hides = stage.ends_with(".scores") && a->second.sizes() == b->second.sizes() &&
                         a->second.size(-1) == run.tokens.ids.size(1);
      const auto seen = [&](const at::Tensor& x) {
        return hides ? hidden_as_infinity(x, allowed_in(run.tokens)) : x;
      };
      const auto before = seen(a->second), now = seen(b->second);
      all.push_back({stage, {}, {}});
      if (run.first_position == 0)
        all.back().inherited = compare_two(stage, now, before, subject().noise(stage, before));
      if (first_bits.empty() && !same_bits(before, now)) first_bits = fmt::format("{} ({})", stage, run.name);
      if (one.measures_elsewhere()) continue;
      all.back().local =
          local_difference(stage, before, try_replay(stage, first, run.tokens, run.first_position), now,
                           try_replay(stage, second, run.tokens, run.first_position));
    }
    return all;
  }

  void stages() {
    set_subject(&one);
    std::vector<std::string> alone;
    for (const auto& run : stage_runs()) {
      if (run.first_position > 0 && !can(run.needs)) continue;
      const std::function<Stages()> show = [&] { return run.show(run.tokens); };
      const std::function<Stages()> full = [&] { return observe(run.tokens); };
      both_or_stand_in(run.needs, show, full, [&](const Stages& first, const Stages& second) {
        const at::NoGradGuard no_gradients;
        auto all = differences(run, first, second);
        for (const auto& [stage, value] : first)
          if (!second.contains(stage)) alone.push_back(stage);
        for (const auto& [stage, value] : second)
          if (!first.contains(stage)) alone.push_back(stage);
        for (const auto& entry : all) {
          for (const auto* check : {&entry.inherited, &entry.local}) {
            if (!*check) continue;
            auto named = **check;
            const auto way =
                fmt::format(" ({}{})", run.name, check == &entry.local ? ", of its own inputs" : "");
            named.sentence.insert(named.what.size(), way);
            named.what += way;
            record(std::move(named));
          }
        }
        const bool differ = std::any_of(all.begin(), all.end(), [](const auto& entry) {
          return (entry.inherited && !entry.inherited->within) || (entry.local && !entry.local->within);
        });
        if (differ && place.mode.empty()) place.mode = run.name, place.stages = std::move(all);
      });
    }
    if (other == nullptr) return;
    if (!first_bits.empty()) one.recorder().finding(fmt::format("bits first differ at {}", first_bits));
    std::sort(alone.begin(), alone.end());
    alone.erase(std::unique(alone.begin(), alone.end()), alone.end());
    if (!alone.empty())
      one.recorder().finding(
          fmt::format("shown by one of the two alone, and not compared: {} stages, such as {}", alone.size(),
                      alone.front()));
  }

  void operations() {
    const auto close = [&](const std::string& what, const Tolerance& tolerance) {
      return [this, what, tolerance](const at::Tensor& first, const at::Tensor& second) {
        record(compare_two(what, second.to(at::kCPU), first.to(at::kCPU), tolerance));
      };
    };
    const auto factor = one.specification().repeat_factor();
    if (can("repeat_kv")) {
      const auto tolerance = Tolerance::absolute(1e-12, "a copy in float64");
      both([&] { return subject().candidate().repeat_kv(some_heads(), factor); },
           close("repeat_kv", tolerance));
      for (const auto other_factor : {std::int64_t{1}, factor + 1})
        both([&] { return subject().candidate().repeat_kv(some_heads(), other_factor); },
             close(fmt::format("repeat_kv by {}", other_factor), tolerance));
      both(
          [&] {
            return subject().candidate().repeat_kv_gradient(some_heads(), factor, some_upstream(factor));
          },
          close("gradient of repeat_kv",
                Tolerance::absolute(1e-11, fmt::format("float64 sum of {}", factor))));
    }
    if (can("rotate")) {
      const auto vectors = [] {
        const auto heads = some_heads().to(at::kFloat);  // (3, 7, K, Dh)
        const auto& s = subject().specification();
        const auto last = s.max_position_embeddings - 1;
        const auto positions = at::tensor(
            {std::int64_t{0}, std::int64_t{1}, std::int64_t{7}, last / 9, last / 3, last - 1, last},
            at::kLong);
        return subject().candidate().rotate(heads, positions.unsqueeze(0).expand({3, 7}).contiguous());
      };
      // An angle errs in proportion to the position, in either of the two.
      const double last = static_cast<double>(one.specification().max_position_embeddings);
      const double steps = 2 * (4 + std::log(one.specification().rope_theta));
      both(vectors,
           close("rotation", Tolerance::absolute(2 * steps * last * unit_roundoff(at::kFloat) + 1e-6,
                                                 "angles in float32, whose rounding grows with position")));
    }
  }

  void cache() {
    both([] { return fill_cache(); },
         [&](const Filled& first, const Filled& second) {
           expect_text("layers in the cache", std::to_string(second.view.layers.size()),
                       std::to_string(first.view.layers.size()));
           expect_text("positions in the cache", std::to_string(second.view.length),
                       std::to_string(first.view.length));
           for (std::size_t layer = 0; layer < std::min(first.view.layers.size(), second.view.layers.size());
                ++layer) {
             const auto &a = first.view.layers[layer], &b = second.view.layers[layer];
             const auto prefix = fmt::format("layers.{} cached ", layer);
             record(compare_two(prefix + "keys", b.keys.to(at::kCPU), a.keys.to(at::kCPU),
                                subject().noise("k_rotated", a.keys.to(at::kCPU))));
             record(compare_two(prefix + "values", b.values.to(at::kCPU), a.values.to(at::kCPU),
                                subject().noise("v", a.values.to(at::kCPU))));
           }
         });
  }

  void overrunning() {
    both([] { return overrun(); },
         [&](const Overrun& first, const Overrun& second) {
           const auto said = [](const Overrun& found) {
             return found.answer.starts_with(std::to_string(found.capacity + 1))
                        ? "one token too many was accepted"
                        : found.answer;
           };
           expect_text("writing one token too many into a cache", said(second), said(first));
           if (first.logits.defined() && second.logits.defined() && first.capacity == second.capacity)
             same_logits("the last two tokens that fit", first.logits, second.logits,
                         subject().noise("logits", first.logits));
         });
  }

  void gradients() {
    set_subject(&one);
    of_both("gradients", "gradients");
    for_each_gradient_probe(
        [&](const std::string& need) { return can(need); },
        [&](const GradientProbe& probe) {
          both(
              [&] {
                subject().running();
                return subject().candidate().gradients(probe.tokens, probe.labels, probe.options);
              },
              [&](const Gradients& first, const Gradients& second) {
                record(compare_two(fmt::format("loss ({})", probe.name), second.loss.to(at::kCPU),
                                   first.loss.to(at::kCPU), probe.allowed(first.loss)));
                for (const auto& [key, values] : first.parameters) {
                  const auto gradient = second.parameters.find(key);
                  if (gradient == second.parameters.end())
                    one.recorder().not_assessed(fmt::format("{} shows no gradient of {}", name(*other), key));
                  else
                    record(compare_two(fmt::format("gradient of {} ({})", key, probe.name),
                                       gradient->second.to(at::kCPU), values.to(at::kCPU),
                                       probe.allowed(values)));
                }
              });
          set_subject(&one);
        });
  }

  void training_steps() {
    if (one.candidate().type() == at::kBFloat16) not_assessed(kStepTooSmall);  // nor recorded
    of_both("train", "steps of training");
    set_subject(&one);
    // The third step tells what the second kept of the first.
    const auto run = some_steps_with_ignored_labels(3);
    const auto exact = train(one.exact(), run), rounded = train(one.rounded(), run);
    const auto& initial = one.exact().weights();
    // Of what a step changes, the share that rounding makes.
    std::map<std::string, double> noise;
    double most = 0;
    for (const auto& [key, values] : exact.parameters) {
      const auto right = values.to(at::kCPU, at::kDouble);
      const auto error = largest(rounded.parameters.at(key).to(at::kCPU, at::kDouble) - right);
      noise[key] = error / largest(right - initial.at(key).to(at::kCPU, at::kDouble));
      most = std::max(most, noise[key]);
    }
    const double loss_noise =
        largest(rounded.losses.to(at::kCPU, at::kDouble) - exact.losses.to(at::kCPU, at::kDouble)) /
        largest(exact.losses);
    const double roundoff = unit_roundoff(one.candidate().type());
    both([&] { return subject().running().train(run, true); },
         [&](const Trained& first, const Trained& second) {
           for (std::int64_t step = 0; step < run.tokens.size(0); ++step)
             record(compare_two(
                 fmt::format("loss before step {}", step + 1), second.losses[step].to(at::kCPU),
                 first.losses[step].to(at::kCPU),
                 Tolerance::absolute(
                     kNoiseFactor * std::max(loss_noise, roundoff) * largest(finite(first.losses)),
                     fmt::format("{} x the rounding error of the same steps on the reference",
                                 kNoiseFactor))));
           for (const auto& [key, values] : first.parameters) {
             const auto what = fmt::format("{} after three steps", key);
             const auto found = second.parameters.find(key);
             const auto before = one.weights().find(key);
             if (found == second.parameters.end() || before == one.weights().end()) {
               one.recorder().not_assessed(fmt::format("{} is not shown by both", what));
               continue;
             }
             const auto now = values.to(at::kCPU);
             const auto share = noise.contains(key) ? noise.at(key) : most;
             const double change =
                 before->second.sizes() == now.sizes()
                     ? largest(finite(now.to(at::kDouble) - before->second.to(at::kCPU, at::kDouble)))
                     : 0;
             record(compare_two(
                 what, found->second.to(at::kCPU), now,
                 Tolerance::absolute(
                     kNoiseFactor * std::max(share * change, roundoff * largest(finite(now))),
                     fmt::format("{} x the rounding error of the same steps on the reference, {} of what "
                                 "they change",
                                 kNoiseFactor, number(share)))));
           }
         });
  }

  // Its text is held to the other's logits.
  void text_of_one(Subject& writer, Subject& judge) {
    if (!writer.can("generate.greedy"))
      not_assessed(fmt::format("{} alone writes text, and only greedy text can be held to the other's logits",
                               name(writer)));
    if (judge.candidate().usage()) {
      const auto text = ask(writer, [] { return own_text(own_prompts(3), greedy(), 12).tokens; });
      const bool follows = ask(judge, [&] { return follows_its_logits(own_prompts(3), text, 1); });
      expect_text(
          fmt::format("greedy text of {} is the likeliest by the logits of {}", name(writer), name(judge)),
          follows ? "yes" : "no", "yes");
    } else if (!writer.can("generate.probabilities")) {
      not_assessed(
          fmt::format("{} alone writes text, and {} is a recording: it cannot be asked about that text",
                      name(writer), name(judge)));
    }
    if (!writer.can("generate.temperature")) return;
    if (!writer.can("generate.probabilities")) {
      one.recorder().finding(fmt::format(
          "{} does not show what it draws from: its greedy text alone was compared", name(writer)));
      return;
    }
    const auto [logits, off] = ask(judge, [] { return own_expected(own_prompts(1)); });
    const auto after = logits[0][-1];
    for (const auto& way : ways_of_sampling(after)) {
      if (!writer.can(way.needs)) continue;
      const auto right = next_probabilities(after, own_prompts(1).ids[0], way.sampling);
      const auto drawn = ask(writer, [&] { return own_probabilities(way.sampling); });
      record(compare_two(
          fmt::format("probabilities of {} at {}, by the logits of {}", name(writer), way.name, name(judge)),
          &writer == &one ? right : drawn, &writer == &one ? drawn : right,
          drawn_within(right, way.sampling, off)));
    }
    set_subject(&one);
  }

  void own_texts() {
    if (one.candidate().type() == at::kBFloat16) not_assessed(kRoundingDecides);  // nor recorded
    if (auto* who = alone("generate")) return text_of_one(*who, who == &one ? *other : one);
    if (other == nullptr) ask(one, [] { return own_expected(own_prompts(1)); });
    set_subject(&one);
    const double off = one.noise("logits", one.exact().forward(own_prompts(1))).bound.max().item<double>();
    for (const auto& observation : observations_of_own_text()) {
      if (!can(observation.needs)) continue;
      both(observation.ask, [&](const Weights& first, const Weights& second) {
        for (const auto& [key, values] : first) {
          const auto found = second.find(key);
          const auto what = fmt::format("{}: {}", observation.name, key);
          if (found == second.end())
            one.recorder().not_assessed(fmt::format("{} is not shown by both", what));
          else if (!at::isFloatingType(values.scalar_type()))
            expect_text(what, found->second.item<std::int64_t>() == 1 ? "yes" : "no",
                        values.item<std::int64_t>() == 1 ? "yes" : "no");
          else
            record(compare_two(what, found->second, values, drawn_within(values, observation.sampling, off)));
        }
      });
      set_subject(&one);
    }
  }

  void speed() {
    if (other == nullptr) return;
    const at::NoGradGuard no_gradients;
    const auto length = std::min<std::int64_t>(512, one.specification().max_position_embeddings);
    set_subject(&one);
    const auto long_tokens = probe("speed", 1, length),
               prompt = probe("speed", 1, std::min<std::int64_t>(64, length / 2));
    const auto steps = prompt.ids.size(1);
    const auto pass = [&](Subject& whom) {
      set_subject(&whom);
      auto& candidate = whom.running();
      return seconds_of(candidate, [&] { candidate.forward(long_tokens, {}).to(at::kCPU); });
    };
    const auto decode = [&](Subject& whom) {
      set_subject(&whom);
      auto& candidate = whom.running();
      const auto decoding = candidate.decode(1, 2 * steps);
      decoding->extend(prompt, {});
      return seconds_of(candidate, [&] {
        for (std::int64_t step = 0; step < steps; ++step)
          decoding->extend({prompt.ids.narrow(1, step, 1), {}, Padding::none}, {}).to(at::kCPU);
      });
    };
    const auto measure = [&](const std::string& what, const auto& work) {
      std::vector<double> first, second;
      for (int round = -1; round < kRounds; ++round) {
        const double a = work(one), b = work(*other);
        if (round < 0) continue;
        first.push_back(a);
        second.push_back(b);
      }
      const auto said = ratio_of(first, second);
      one.recorder().add(reported(what, said, kRounds));
      one.recorder().finding(fmt::format("{}: {}", what, said));
    };
    measure(fmt::format("a pass of {} tokens", length), pass);
    if (can("cache")) measure(fmt::format("decoding {0} tokens after {0}", steps), decode);
  }

  void memory() {
    if (other == nullptr) return;
    const auto say = [&](const std::string& what, double second, double first) {
      const auto said = fmt::format("{}, {} before", in_bytes(second), in_bytes(first));
      one.recorder().add(reported(what, said, 1));
      one.recorder().finding(fmt::format("{}: {}", what, said));
    };
    const auto total = [](Subject& whom) {
      double bytes = 0;
      for (const auto& parameter : whom.description().parameters)
        bytes += static_cast<double>(c10::multiply_integers(parameter.shape)) *
                 static_cast<double>(at::elementSize(parameter.type));
      return bytes;
    };
    say("parameters", total(*other), total(one));
    if (can("cache.show"))
      both([] { return fill_cache().view; },
           [&](const CacheView& first, const CacheView& second) {
             const auto each = [](const CacheView& view) {
               return static_cast<double>(view.bytes) /
                      static_cast<double>(3 * std::max<std::int64_t>(1, view.capacity));
             };
             say("cache, for each position of a sequence", each(second), each(first));
           });
    const auto first = one.candidate().usage(), second = other->candidate().usage();
    if (first && second && first->most_bytes && second->most_bytes)
      say("the most that its program held", static_cast<double>(*second->most_bytes),
          static_cast<double>(*first->most_bytes));
  }

  // With other weights loaded into both.
  reports::Check with_weights(const std::string& what, const Weights& weights) {
    reports::Check check;
    check.within = other == nullptr;  // then all are to be asked
    const auto logits_with = [&] {
      at::Tensor seen;
      subject().with_weights(weights, [&](Candidate& candidate) {
        seen = candidate.forward(standard_probe(), {}).to(at::kCPU);
      });
      return seen;
    };
    both(logits_with, [&](const at::Tensor& first, const at::Tensor& second) {
      check = compare_two(what, second, first, subject().noise("logits", first));
    });
    return check;
  }
};

Comparison::Comparison(Subject& one, Subject* other) : pair_(new Pair(one, other)) {}
Comparison::~Comparison() {
  set_subject(nullptr);
}

std::vector<std::string> Comparison::prepare() {
  auto& p = *pair_;
  auto& recorder = p.one.recorder();
  if (p.other == nullptr) return {};
  const auto &first = p.one.description().configuration, &second = p.other->description().configuration;
  if (std::none_of(first.begin(), first.end(),
                   [&](const auto& entry) { return second.contains(entry.first); }))
    recorder.exclude("SAME-1", "there is no setting that both state");
  const bool run = p.can("code");
  // What one alone can do is held to what the other does have. Nothing stands for gradients and training.
  static const std::vector<std::pair<std::string, std::string>>
      ways = {{"cache", "a KV cache"},
              {"padding.right", "padding on the right"},
              {"padding.left", "padding on the left"},
              {"training", "a training mode"},
              {"first_position", "positions"},
              {"generate", "a loop that writes text"}},
      others = {{"gradients", "gradients"}, {"train", "steps of training"}};
  std::vector<std::string> alone;
  for (auto* subject : {&p.one, p.other}) {
    auto capabilities = subject->candidate().capabilities();
    const auto own = [&](const auto& list) {
      std::vector<std::string> words;
      for (const auto& [way, said] : list)
        if (run && p.alone(way) == subject) words.push_back(said);
      return words;
    };
    for (const auto* list : {&ways, &others})
      for (const auto& [way, words] : *list)
        if (run && p.alone(way) != nullptr) capabilities.insert(way);
    recorder.declare(capabilities, p.name(*subject));
    const auto& name = p.name(*subject);
    if (const auto held = own(ways); !held.empty())
      alone.push_back(fmt::format("{} alone has {}, compared with what the other has instead", name,
                                  fmt::join(held, ", ")));
    if (const auto left = own(others); !left.empty())
      alone.push_back(fmt::format("{} alone has {}, which were not compared", name, fmt::join(left, ", ")));
  }
  if (const auto* who = run ? p.alone("cache") : nullptr)
    for (const auto* id : {"SAME-11", "SAME-12"})
      recorder.exclude(
          id, fmt::format("{} alone has a KV cache; what it gives is held to full passes", p.name(*who)));
  if (run && (p.one.can("load") || p.other->can("load")))
    recorder.exclude(
        "SAME-3", p.both_load() ? "both were given the same weights" : "one was given the other's weights");
  for (auto* subject : {&p.one, p.other})
    if (!run && subject->can("load"))
      recorder.exclude("SAME-3", fmt::format("{} holds whatever weights it is given", p.name(*subject)));
  const auto either = [&](const char* capability) {
    return p.one.can(capability) || p.other->can(capability);
  };
  if (!either("padding.right") && !either("padding.left"))
    recorder.exclude("SAME-7", "neither of the two takes padding");
  if (!p.can("repeat_kv") && !p.can("rotate"))
    recorder.exclude("SAME-10", "there is no operation that both show");
  for (auto* subject : {&p.one, p.other})
    if (run && !subject->candidate().usage())
      for (const auto* id : {"SAME-14", "SAME-15"})
        recorder.exclude(id, fmt::format("{} is a recording, of which nothing is run", p.name(*subject)));
  if (!run) return alone;
  if (p.one.candidate().type() == at::kBFloat16) {
    recorder.exclude("SAME-16", kStepTooSmall);
    recorder.exclude("SAME-17", kRoundingDecides);
  }
  bool in_common = false;  // a stage that both show, apart from the logits
  try {
    p.share_weights();
    p.both([] { return observe(standard_probe()); },
           [&](const Stages& one, const Stages& other) {
             std::int64_t common = 0;
             for (const auto& [stage, value] : one) common += other.contains(stage) ? 1 : 0;
             in_common = common > 1;
           });
  } catch (const std::exception&) {
    return alone;  // whoever looks will say it
  }
  if (!in_common) recorder.exclude("SAME-9", "the two have no stage in common that both show but the logits");
  return alone;
}

struct Comparison::Entry {
  const char* id;
  void (Pair::*look)();
  bool runs;  // the code of the two
};

const std::vector<Comparison::Entry>& Comparison::entries() {
  static const std::vector<Entry> all = {
      {"SAME-1", &Pair::configuration, false},  {"SAME-2", &Pair::parameters, false},
      {"SAME-3", &Pair::stored_weights, false}, {"SAME-4", &Pair::initialisation, true},
      {"SAME-5", &Pair::evaluation, true},      {"SAME-6", &Pair::training, true},
      {"SAME-7", &Pair::padding, true},         {"SAME-8", &Pair::decoding, true},
      {"SAME-9", &Pair::stages, true},          {"SAME-10", &Pair::operations, true},
      {"SAME-11", &Pair::cache, true},          {"SAME-12", &Pair::overrunning, true},
      {"SAME-13", &Pair::gradients, true},      {"SAME-14", &Pair::speed, true},
      {"SAME-15", &Pair::memory, true},         {"SAME-16", &Pair::training_steps, true},
      {"SAME-17", &Pair::own_texts, true},
  };
  return all;
}

void Comparison::look(const std::string& requirement) {
  auto& p = *pair_;
  p.compared = p.identical = 0;
  p.nearest = -1;
  p.unseen = 0;
  for (const auto& [id, look, runs] : entries()) {
    if (id != requirement) continue;
    if (runs) p.share_weights();
    if (runs && !p.one.measures_elsewhere()) p.measure_rounding();
    (p.*look)();
    p.conclude();
    return;
  }
  throw std::logic_error("nothing looks at " + requirement);
}

void Comparison::ask_everything() {
  auto& p = *pair_;
  const auto ask = [](const auto& question) {
    try {
      question();
    } catch (const std::exception&) {
      return;  // the recording has it
    }
  };
  for (const auto& entry : entries()) ask([&] { (p.*entry.look)(); });
  set_subject(&p.one);
  ask([&] {
    if (p.one.can("load") && observe(standard_probe()).size() < 2)
      block_by_block(
          [&](const std::string& what, const Weights& weights) { return p.with_weights(what, weights); });
  });
}

reports::Localisation Comparison::localise(const std::string& first_failed) {
  auto& p = *pair_;
  auto& place = p.place;
  const bool told = first_locally_wrong(place) != nullptr || first_divergent(place) != nullptr;
  set_subject(&p.one);
  if (!told && !right_in(place.situations, "24 tokens") && p.both_load()) {
    const auto blocks = block_by_block(
        [&](const std::string& what, const Weights& weights) { return p.with_weights(what, weights); });
    set_subject(&p.one);
    place.situations.insert(place.situations.end(), blocks.begin(), blocks.end());
  }
  place.conclusion = reports::conclusion_of_two(place, first_failed);
  return place;
}

}  // namespace plumbline
