#include "harness/result/contradictions.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <regex>
#include <set>

#include "harness/result/moments.hpp"
#include "harness/result/sentences.hpp"
#include "harness/result/words.hpp"
#include "harness/system/visible.hpp"

namespace plumbline::reports {
namespace {

// Why a check is not what its numbers make of it; empty where nothing speaks against it. The numbers of a
// tensor are those of the element that exceeds its tolerance most, so that they decide for all.
std::string contradiction(const Check& check) {
  if (check.identical == true && (!check.within || check.worst_difference.value_or(0) != 0))
    return "is said to be the same bit for bit, and to differ";
  if (!check.worst_difference || !check.tolerance) return {};
  const bool within = std::isfinite(*check.tolerance) && *check.worst_difference <= *check.tolerance;
  // Two settings may be written alike, and two tensors hold the same values, and be of other types.
  const bool exact = *check.worst_difference == 0 && *check.tolerance == 0;
  if (within == check.within || (exact && !check.within)) return {};
  return fmt::format("is off by {:.4g} where {:.4g} is allowed, and is said {}to be within that",
                     *check.worst_difference, *check.tolerance, check.within ? "" : "not ");
}

bool shows_a_failure(const Check& check) {
  return !check.within && check.elements > 0;
}

// What Recorder and conclude() make of checks, the other way round.
std::string contradiction(const Requirement& requirement) {
  if (std::string why = inconsistency(requirement); !why.empty()) return why;
  const bool failure = std::any_of(requirement.checks.begin(), requirement.checks.end(), shows_a_failure);
  if (requirement.verdict == Verdict::fail && !failure) return "no check of it failed";
  if (requirement.verdict != Verdict::fail && failure) return "a check of it failed";
  if (requirement.verdict == Verdict::pass && !requirement.reason.empty())
    return "it gives a reason, which a pass does not have";
  return {};
}

// What is said of the run and cannot be.
std::vector<std::string> contradictions(const Header& header) {
  std::vector<std::string> found;
  if (!is_hexadecimal(header.specification_sha256, 64) ||
      !(header.candidate_sha256.empty() || is_hexadecimal(header.candidate_sha256, 64)))
    found.push_back("header: a SHA-256 has 64 lower-case hexadecimal digits");
  if (!milliseconds_of(header.started))
    found.push_back(
        fmt::format("header.started is {}, which is no time; expected one like 2026-12-31T23:59:59Z",
                    visible(header.started, 40)));
  if (const auto& commit = header.commit)
    if (!is_hexadecimal(commit->id, 40) && !is_hexadecimal(commit->id, 64))
      found.push_back(fmt::format(
          "header.commit.id is {}, which is no commit of git: expected 40 or 64 hexadecimal digits",
          visible(commit->id, 80)));
  const bool runs_code = header.device != nothing_is_run;
  const bool is_type =
      runs_code ? header.dtype == "f32" || header.dtype == "bf16" : header.dtype == "as stored";
  if (!is_type)
    found.push_back(fmt::format("header.dtype is {}, with {} as the device; expected {}",
                                visible(header.dtype, 40), visible(header.device, 60),
                                runs_code ? "f32 or bf16" : "as stored"));
  return found;
}

// The chapters (by number) and requirements (by id) that were asked for; empty for all of them.
std::set<std::string> asked_for(const std::string& scope) {
  static const std::string chapters = "chapter [0-9]{1,4}(, [0-9]{1,4})*",
                           requirements = "requirements? [A-Z]{2,8}-[0-9]{1,4}(, [A-Z]{2,8}-[0-9]{1,4})*";
  static const std::regex form(chapters + "( and " + requirements + ")?|" + requirements);
  static const std::regex one("[A-Z]+-[0-9]+|[0-9]+");
  const auto text = scope.substr(0, 2000);
  if (!std::regex_match(text, form)) return {};
  std::set<std::string> asked;
  for (std::sregex_iterator found(text.begin(), text.end(), one), end; found != end; ++found)
    asked.insert(found->str());
  return asked;
}

// Whether what was left out is what was not asked for.
std::string contradiction_of_scope(const Result& result) {
  const std::string& scope = result.header.scope;
  const auto asked = asked_for(scope);
  if (asked.empty() && scope != "everything")
    return fmt::format("header.scope is {}, which is neither everything nor chapters or requirements",
                       visible(scope, 60));
  for (const Requirement& one : result.requirements) {
    const bool wanted =
        asked.empty() || asked.contains(std::to_string(one.chapter)) || asked.contains(one.id);
    const bool outside =
        one.verdict == Verdict::not_assessed && one.reason.kind == Reason::Kind::outside_only;
    const bool looked = one.verdict != Verdict::not_assessed && one.verdict != Verdict::not_applicable;
    if (wanted ? outside : looked)
      return fmt::format("header.scope is {}, and {} was {}looked at", visible(scope, 60),
                         visible(one.id, 40), wanted ? "not " : "");
  }
  return {};
}

// Its requirements take no longer than a run, to a second.
std::string contradiction_of_times(const Result& result) {
  double all = 0;
  for (const Requirement& one : result.requirements) all += one.seconds;
  return all <= result.footer.seconds + 1
             ? ""
             : fmt::format("footer.seconds is {:.1f}, and the requirements took {:.1f}",
                           result.footer.seconds, all);
}

// What the stages and the passes do not bear out.
std::string contradiction_of_localisation(const Result& result) {
  const bool due = any_failed(result) && result.header.device != nothing_is_run;
  if (due != result.localisation.has_value())
    return due ? "localisation is missing: what fails and can be run is localised"
               : "there is a localisation, and nothing that was run failed";
  return {};
}

std::string contradiction(const Diagnosis& found) {
  if (found.differing > found.observations)
    return fmt::format("diagnosis: {} of {} observations differ", found.differing, found.observations);
  for (const Explanation& one : found.explanations)
    if (one.explained > found.differing || one.contradicted > found.observations - found.differing ||
        one.residual < 0)
      return fmt::format(
          "diagnosis: {} is said to account for {} of {} observations that differ, and to change {} of {} "
          "others",
          visible(fmt::format("{}", fmt::join(one.defects, " and ")), 100), one.explained, found.differing,
          one.contradicted, found.observations - found.differing);
  return {};
}

// What a stage or a pass is called, and what its check looked at.
std::string misnamed(const Localisation& found) {
  for (const StageErrors& one : found.stages)
    for (const std::optional<Check>* check : {&one.inherited, &one.local})
      if (*check && (*check)->what != to_string(one.stage))
        return fmt::format("localisation: the stage {} has a check of {}", visible(to_string(one.stage), 60),
                           visible((*check)->what, 60));
  for (const Situation& one : found.situations)
    if (one.check.what != one.name && one.check.what != fmt::format("logits ({})", one.name))
      return fmt::format("localisation: the pass {} has a check of {}", visible(one.name, 60),
                         visible(one.check.what, 60));
  return {};
}

// Causes account for requirements of the document that did not pass; those of another shard have no verdict
// here.
std::string contradiction_of_causes(const Result& result) {
  const Diagnosis& found = *result.diagnosis;
  const Explanation best = found.explanations.empty() ? Explanation() : found.explanations.front();
  const auto clauses = found.of_shapes + "; and " + best.what;
  for (std::size_t i = 0; i < found.causes.size(); ++i) {
    if (found.causes.size() != best.defects.size() || found.causes[i].defect != best.defects[i])
      return "diagnosis: its causes are not the defects of its first explanation";
    if (found.causes[i].what.empty() || clauses.find(found.causes[i].what) == std::string::npos)
      return fmt::format("diagnosis: its explanation does not say of {} what its cause does",
                         visible(found.causes[i].defect, 60));
  }
  std::vector<const std::vector<std::string>*> lists{&found.fail_together, &found.not_reproduced,
                                                     &found.not_asked};
  for (const Cause& cause : found.causes) lists.push_back(&cause.fails);
  for (const auto* list : lists)
    for (const std::string& id : *list) {
      const auto one = std::find_if(result.requirements.begin(), result.requirements.end(),
                                    [&](const Requirement& other) { return other.id == id; });
      if (one == result.requirements.end() || (one->verdict != Verdict::fail && !one->reason.left_out()))
        return fmt::format("diagnosis: its causes account for {}, which did not fail", visible(id, 40));
    }
  return {};
}

}  // namespace

void each_check(const Result& result, const std::function<void(const std::string&, const Check&)>& use) {
  for (const Requirement& requirement : result.requirements)
    for (const Check& check : requirement.checks) use(visible(requirement.id, 40), check);
  if (!result.localisation) return;
  for (const StageErrors& one : result.localisation->stages)
    for (const std::optional<Check>* check : {&one.inherited, &one.local})
      if (*check) use("localisation", **check);
  for (const Situation& one : result.localisation->situations) use("localisation", one.check);
}

std::vector<std::string> contradictions(const Result& result) {
  std::vector<std::string> found;
  for (const Section& section : sections(result))
    if (section.requirements.empty())
      found.push_back(
          fmt::format("chapter {} has no requirement: its requirements are missing", section.chapter.number));
  for (const Requirement& one : result.requirements)
    if (const std::string why = contradiction(one); !why.empty())
      found.push_back(
          fmt::format("{} has the verdict {}, but {}", visible(one.id, 40), to_string(one.verdict), why));
  each_check(result, [&](const std::string& where, const Check& check) {
    for (const std::string& why : {contradiction(check), disagreement(check)})
      if (!why.empty()) found.push_back(fmt::format("{}: {} {}", where, visible(check.what, 100), why));
  });
  for (const std::string& why : contradictions(result.header)) found.push_back(why);
  for (const std::string& why :
       {contradiction_of_scope(result), contradiction_of_localisation(result),
        result.localisation ? misnamed(*result.localisation) : std::string(),
        result.diagnosis ? contradiction(*result.diagnosis) : std::string(),
        result.diagnosis ? contradiction_of_causes(result) : std::string(), contradiction_of_times(result)})
    if (!why.empty()) found.push_back(why);
  return found;
}

}  // namespace plumbline::reports
