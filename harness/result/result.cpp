#include "harness/result/result.hpp"

#include <fmt/format.h>

#include <cmath>
#include <set>

#include "harness/result/words.hpp"
#include "harness/system/visible.hpp"

namespace plumbline::reports {
namespace {

std::string unsupported(const Check& check) {
  const std::string name = check.what.empty() ? "a check" : visible(check.what);
  if (!check.within) return name + " is not within its tolerance";
  if (check.elements <= 0) return name + " compared no elements";
  if (check.worst_difference && !(std::isfinite(*check.worst_difference) && *check.worst_difference >= 0)) {
    return fmt::format("{} is within its tolerance with a worst difference of {}", name,
                       *check.worst_difference);
  }
  if (check.tolerance && !(std::isfinite(*check.tolerance) && *check.tolerance >= 0)) {
    return fmt::format("{} has a tolerance of {}", name, *check.tolerance);
  }
  return {};
}

// A pass that its own evidence does not bear out says nothing about the model. A failure is never softened.
void withdraw_unsupported(Result& result) {
  std::set<std::string> seen;
  for (Requirement& requirement : result.requirements) {
    const bool repeated = !seen.insert(requirement.id).second;
    const bool looked = requirement.verdict == Verdict::pass || requirement.verdict == Verdict::fail;
    if (!looked && requirement.reason.empty()) requirement.reason = "no reason was recorded";
    if (requirement.verdict != Verdict::pass) continue;
    const std::string why = repeated ? "it was recorded twice" : inconsistency(requirement);
    if (why.empty()) continue;
    requirement.verdict = Verdict::error;
    requirement.reason = "recorded as passed, but " + why;
  }
}

}  // namespace

Reason Reason::not_asked_for() {
  Reason reason;
  reason.kind = Kind::outside_only;
  return reason;
}

Reason Reason::of_other_shards(const Shard& own) {
  Reason reason;
  reason.kind = Kind::outside_shard;
  reason.shard = own;
  return reason;
}

std::string to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::not_applicable:
      return "not applicable";
    case Verdict::pass:
      return "pass";
    case Verdict::not_assessed:
      return "not assessed";
    case Verdict::error:
      return "error";
    case Verdict::fail:
      return "fail";
  }
  return "error";
}

namespace {

const std::vector<std::pair<Form, const char*>> kForms = {
    {Form::values, "values"},       {Form::difference, "difference"}, {Form::whole, "whole"},
    {Form::change, "change"},       {Form::finite, "finite"},         {Form::unbounded, "unbounded"},
    {Form::same_bits, "same bits"}, {Form::measured, "measured"},     {Form::nothing, "nothing"},
    {Form::recorded, "recorded"}};

const std::vector<std::pair<Outcome, const char*>> kOutcomes = {
    {Outcome::not_assessed, "not assessed"}, {Outcome::errors_alone, "errors alone"},
    {Outcome::as_specified, "as specified"}, {Outcome::explained, "explained"},
    {Outcome::nearest, "nearest"},           {Outcome::unexplained, "unexplained"},
    {Outcome::recorded, "recorded"}};

const std::vector<std::pair<Basis, const char*>> kBases = {{Basis::everything, "everything"},
                                                           {Basis::declaration, "declaration"},
                                                           {Basis::no_pass, "no pass"},
                                                           {Basis::unsteady, "unsteady"}};

template <typename Enum>
std::string name_in(const std::vector<std::pair<Enum, const char*>>& names, Enum value) {
  return std::find_if(names.begin(), names.end(), [&](const auto& one) { return one.first == value; })
      ->second;
}

template <typename Enum>
std::optional<Enum> value_in(const std::vector<std::pair<Enum, const char*>>& names,
                             const std::string& text) {
  const auto found =
      std::find_if(names.begin(), names.end(), [&](const auto& one) { return one.second == text; });
  return found == names.end() ? std::nullopt : std::optional(found->first);
}

}  // namespace

std::string to_string(Form form) {
  return name_in(kForms, form);
}

std::string to_string(Outcome outcome) {
  return name_in(kOutcomes, outcome);
}

std::string to_string(Basis basis) {
  return name_in(kBases, basis);
}

std::optional<Form> form_of(const std::string& text) {
  return value_in(kForms, text);
}

std::optional<Outcome> outcome_of(const std::string& text) {
  return value_in(kOutcomes, text);
}

std::optional<Basis> basis_of(const std::string& text) {
  return value_in(kBases, text);
}

std::string to_string(Level level) {
  return level == Level::must ? "must" : "should";
}

std::string inconsistency(const Requirement& requirement) {
  const bool looked = requirement.verdict == Verdict::pass || requirement.verdict == Verdict::fail;
  if (!looked && requirement.reason.empty()) return "it has no reason for " + to_string(requirement.verdict);
  if (requirement.reason.left_out() && requirement.verdict != Verdict::not_assessed) return "it was left out";
  if (requirement.verdict != Verdict::pass) return {};
  if (requirement.checks.empty()) return "nothing was compared";
  for (const Check& check : requirement.checks) {
    if (std::string why = unsupported(check); !why.empty()) return why;
  }
  return {};
}

namespace {

template <typename Error>
const StageErrors* first_wrong(const Localisation& localisation, Error error) {
  for (const StageErrors& one : localisation.stages)
    if (const std::optional<Check>& check = one.*error; check && !check->within) return &one;
  return nullptr;
}

}  // namespace

const StageErrors* first_divergent(const Localisation& localisation) {
  return first_wrong(localisation, &StageErrors::inherited);
}

const StageErrors* first_locally_wrong(const Localisation& localisation) {
  return first_wrong(localisation, &StageErrors::local);
}

namespace {

// Of two that are compared, every check says "now" and "before".
void mark_checks_of_two(Result& result) {
  const bool of_two = result.header.baseline.has_value();
  for (Requirement& requirement : result.requirements)
    for (Check& check : requirement.checks) check.of_two = of_two;
  if (!result.localisation) return;
  for (StageErrors& stage : result.localisation->stages)
    for (auto* check : {&stage.inherited, &stage.local})
      if (*check) (*check)->of_two = of_two;
  for (Situation& one : result.localisation->situations) one.check.of_two = of_two;
}

}  // namespace

void conclude(Result& result) {
  withdraw_unsupported(result);
  const double seconds = result.footer.seconds;
  const std::int64_t longest_pass = result.footer.longest_pass;
  result.footer = footer_of(result);
  result.footer.seconds = seconds;
  result.footer.longest_pass = longest_pass;
  mark_checks_of_two(result);
}

}  // namespace plumbline::reports
