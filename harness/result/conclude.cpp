// What follows from what was found: counts, status, and the verdict as one sentence.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "harness/result/conclusion_of_diagnosis.hpp"
#include "harness/result/musts.hpp"
#include "harness/result/result.hpp"
#include "harness/result/sentences.hpp"
#include "harness/result/words.hpp"
#include "harness/system/visible.hpp"

namespace plumbline::reports {
namespace {

// " GQA-2 (waived by NAME until DATE: reason), ...": the first few, as `say` puts each.
template <typename Say>
std::string listed(const std::vector<const Waiver*>& waivers, Say say) {
  constexpr std::size_t most = 3;
  std::string words;
  for (std::size_t i = 0; i < std::min(most, waivers.size()); ++i)
    words +=
        fmt::format("{} {} ({})", i == 0 ? "" : ",", visible(waivers[i]->requirement, 40), say(*waivers[i]));
  return waivers.size() > most ? fmt::format("{} and {} more", words, waivers.size() - most) : words;
}

std::string waived(const Musts& musts) {
  const auto count = static_cast<std::int64_t>(musts.waived.size());
  return fmt::format("{}:{}", counted(count, "waived requirement"),
                     listed(musts.waived, [](const Waiver& waiver) { return in_words(waiver); }));
}

std::string expired(const Musts& musts) {
  if (musts.expired.empty()) return {};
  const auto count = static_cast<std::int64_t>(musts.expired.size());
  return fmt::format(
      "; {} expired:{}", counted(count, "waiver"), listed(musts.expired, [](const Waiver& waiver) {
        return fmt::format("by {} until {}", visible(waiver.who, 80), visible(waiver.expires, 20));
      }));
}

// Beside whatever else the sentence says.
std::string about_waivers(const Musts& musts) {
  return (musts.waived.empty() ? std::string() : "; beside " + waived(musts)) + expired(musts);
}

std::string wrong_waivers(const Musts& musts) {
  return fmt::format(
      "the waivers are wrong: {} is waived but did not fail; remove this waiver and run verify again",
      visible(musts.idle.front()->requirement, 40));
}

std::string subject(const Header& header) {
  if (header.candidate_kind == "checkpoint") return "the checkpoint";
  if (header.candidate_kind == "state_dict") return "the state dict";
  return "the model";
}

std::string named(const Requirement& requirement) {
  return visible(requirement.id, 40) + ": " + visible(requirement.statement, 200);
}

// As the clause of what failed: a statement by itself would read as what was found.
std::string required(const Requirement& requirement) {
  return visible(requirement.id, 40) + ", which requires that " + visible(requirement.statement, 200);
}

std::string because(const Requirement& requirement) {
  return fmt::format("{} ({})", named(requirement), visible(sentence_of(requirement.reason), 200));
}

std::string conforms(const Header& header, const std::string& name, const Counts& all, const Musts& musts) {
  const int recommendations = all.failed - static_cast<int>(musts.waived.size());
  const std::string unmet =
      recommendations > 0 ? fmt::format(" ({} not met)", counted(recommendations, "recommendation")) : "";
  const bool any_waived = !musts.waived.empty();
  const std::string target = any_waived ? fmt::format("{} but for {}", name, waived(musts)) : name;
  if (header.candidate_kind == "checkpoint") {
    return fmt::format(
        "the weights and configuration conform to {}; the code that runs them was not judged{}", target,
        unmet);
  }
  if (header.candidate_kind == "state_dict") {
    return fmt::format(
        "the weights conform to {}; neither a configuration nor the code that runs them was judged{}", target,
        unmet);
  }
  return fmt::format("the model conforms to {}{} {} passed{}", target, any_waived ? ";" : ":",
                     counted(all.passed, "requirement"), unmet);
}

std::string incomplete(const Header& header, const Musts& musts) {
  const std::string scope = visible(scope_in_words(header.scope), 100);
  const std::string shard = header.shard ? " in " + in_words(*header.shard) : std::string();
  if (musts.counts.not_assessed > 0) {
    const std::string rest =
        musts.left_out && !is_whole(header) ? fmt::format("; only {} was asked for", scope) : std::string();
    return fmt::format("incomplete: nothing failed{}, but {} applicable {} not assessed, first {}{}", shard,
                       musts.counts.not_assessed, musts.counts.not_assessed == 1 ? "must was" : "musts were",
                       because(*musts.not_assessed), rest);
  }
  if (header.shard)
    return fmt::format("incomplete: {} {}; `plumbline report merge` joins it with the other shards",
                       in_words(*header.shard), musts.counts.passed == 0 ? "looked at nothing" : "holds");
  if (musts.counts.passed == 0) return "incomplete: nothing failed, but nothing was looked at";
  const bool several = scope.find(',') != std::string::npos || scope.find(" and ") != std::string::npos;
  return fmt::format("{} {}; the rest was not looked at", scope, several ? "hold" : "holds");
}

// What was found out of stored weights that are not the same: how they are related.
std::string findings_of_failed(const Result& result) {
  std::string words;
  for (const Requirement& requirement : result.requirements)
    if (requirement.verdict == Verdict::fail && !requirement.finding.empty())
      words += (words.empty() ? "" : "; ") + requirement.finding;
  return words;
}

// Of two candidates that were compared.
std::string compared(const Result& result, const Musts& musts) {
  const auto& header = result.header;
  const std::string one = visible(header.baseline->name, 80), other = visible(header.candidate, 80);
  std::int64_t compared = 0, identical = 0;
  for (const Requirement& requirement : result.requirements)
    for (const Check& check : requirement.checks)
      if (check.identical) ++compared, identical += *check.identical ? 1 : 0;
  const auto of = [&](int count) {
    return fmt::format("{} of {}", count, counted(musts.asked(), "comparison"));
  };
  const bool ran =
      std::any_of(result.requirements.begin(), result.requirements.end(), [](const auto& requirement) {
        return requirement.chapter > 1 && requirement.verdict != Verdict::not_applicable;
      });
  switch (status_of(header, musts)) {
    case 0:
      if (!ran && compared == 0)
        return fmt::format(
            "no difference in what {} and {} declare; weights were not compared, and no code was run", other,
            one);
      if (!ran && (header.candidate_kind == "state_dict") != (header.baseline->kind == "state_dict"))
        return fmt::format(
            "no difference in the weights: {} holds what {} holds; a lone weight file has no configuration "
            "to "
            "compare, and no code was run",
            other, one);
      if (!ran) return fmt::format("no difference: {} holds what {} holds; no code was run", other, one);
      return compared == identical
                 ? fmt::format(
                       "no difference: {} does what {} does, bit for bit in everything that was compared",
                       other, one)
                 : fmt::format(
                       "no difference beyond rounding: {} does what {} does; {} of {} tensors are the same "
                       "bit "
                       "for bit",
                       other, one, identical, compared);
    case 1: {
      const std::string found = ran ? "" : visible(findings_of_failed(result), 300);
      return fmt::format("a difference: {} does not {} what {} {}: {} failed, first {}{}", other,
                         ran ? "do" : "hold", one, ran ? "does" : "holds", of(musts.counts.failed),
                         required(*musts.failed), found.empty() ? found : "; " + found);
    }
    case 2:
      if (musts.error == nullptr) return wrong_waivers(musts);
      return fmt::format("not compared: {} and {}: {} had no usable evidence, first {}", other, one,
                         of(musts.counts.errors), because(*musts.error));
    default:
      return musts.not_assessed == nullptr
                 ? "incomplete: no difference was found, but nothing was compared"
                 : fmt::format("incomplete: no difference was found, but {} could not be made, first {}",
                               of(musts.counts.not_assessed), because(*musts.not_assessed));
  }
}

std::string comparison(const Result& result, const Musts& musts) {
  std::string verdict = compared(result, musts);
  for (const std::string& sentence : result.header.baseline->alone) verdict += "; " + visible(sentence, 300);
  return verdict;
}

// What failed, in a clause: the causes where they are known, else the first requirement.
std::string of_failed(const std::optional<Diagnosis>& diagnosis, const Musts& musts) {
  const std::string names = diagnosis ? named_causes(*diagnosis) : std::string();
  if (names.empty()) return "first " + required(*musts.failed);
  return fmt::format("explained {}by {}", diagnosis->outcome == Outcome::explained ? "" : "in part ", names);
}

std::string sentence(const Result& result, const Musts& musts, const Counts& all) {
  const Header& header = result.header;
  const std::string target =
      header.specification.empty() ? "the specification" : visible(header.specification, 100);
  const auto of = [&](int count) {
    return fmt::format("{} of {}", count, counted(musts.asked(), "mandatory requirement"));
  };
  switch (status_of(header, musts)) {
    case 0:
      return conforms(header, target, all, musts);
    case 1:
      return fmt::format("{} does not conform to {}: {} failed, {}", subject(header), target,
                         of(musts.counts.failed), of_failed(result.diagnosis, musts)) +
             about_waivers(musts);
    case 2:
      if (musts.error == nullptr) return wrong_waivers(musts);
      return fmt::format("{} could not be judged: {} had no usable evidence, first {}", subject(header),
                         of(musts.counts.errors), because(*musts.error));
    default:
      return incomplete(header, musts) + about_waivers(musts);
  }
}

std::int64_t elements_of(const Result& result) {
  std::int64_t total = 0;
  for (const Requirement& requirement : result.requirements) {
    for (const Check& check : requirement.checks) {
      if (check.elements > 0 && __builtin_add_overflow(total, check.elements, &total)) {
        return std::numeric_limits<std::int64_t>::max();
      }
    }
  }
  return total;
}

}  // namespace

Footer footer_of(const Result& result) {
  Counts all;
  for (const Requirement& requirement : result.requirements) all.add(requirement.verdict);
  const Musts musts = musts_of(result);
  Footer footer;
  footer.passed = all.passed;
  footer.failed = all.failed;
  footer.errors = all.errors;
  footer.not_assessed = all.not_assessed;
  footer.not_applicable = all.not_applicable;
  footer.elements_compared = elements_of(result);
  footer.waived = static_cast<int>(musts.waived.size());
  footer.status = status_of(result.header, musts);
  footer.verdict = result.header.baseline ? comparison(result, musts) : sentence(result, musts, all);
  return footer;
}

}  // namespace plumbline::reports
