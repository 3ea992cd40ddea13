#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "harness/diagnosis/advice.hpp"
#include "harness/diagnosis/diagnostician.hpp"
#include "harness/result/conclusion_of_diagnosis.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostShown = 5;
constexpr std::int64_t kFew = 3;

}  // namespace

void Diagnostician::diagnose_on_its_own_shapes(reports::Diagnosis& found) {
  const auto shapes = found.explanations.front().defects;
  const auto departed = apply_departures(subject_.specification(), fmt::format("{}", fmt::join(shapes, "+")));
  Subject shaped(subject_.candidate(), departed.specification, std::nullopt, subject_.fixtures(),
                 subject_.recorder(), subject_.probes());
  std::optional<reports::Diagnosis> rest;
  try {
    shaped.running();
    std::vector<std::string> without(left_out_.begin(), left_out_.end());
    for (const auto& name : shapes) without.push_back(parse_departure(name).name);
    Diagnostician further(shaped, std::chrono::duration<double>(2 * half_).count(), {}, without);
    further.shaped_ = true;
    rest = further.diagnose();
  } catch (const std::exception&) {  // it takes none of those either, and what was said stands
  }
  if (!rest) return;
  found.observations += rest->observations;
  found.differing += rest->differing;
  const auto first = found.explanations.front();
  found.shapes = shapes;
  found.of_shapes = first.what;
  if (rest->differing == 0) {
    found.explanations = {first};
    return;
  }
  found.outcome = rest->outcome;
  found.basis = rest->basis;
  found.words = rest->words;
  found.raised = rest->raised;
  found.tried = rest->tried;
  found.explanations = rest->explanations;
  for (auto& one : found.explanations) {
    one.defects.insert(one.defects.begin(), shapes.begin(), shapes.end());
    one.explained += first.explained;
  }
  if (found.explanations.empty()) {
    found.explanations = {first};
    found.explanations.front().complete = false;
  }
  if (!found.explanations.front().complete) found.advice.clear();
  if (rest->causes.empty()) found.causes.clear();
  // Of the specification, not of the shapes that it turned out to have.
  for (const auto& one : rest->advice)
    found.advice.push_back(advice_on(one.defect, catalogue_, subject_.specification()));
  found.causes.insert(found.causes.end(), rest->causes.begin(), rest->causes.end());
}

reports::Basis Diagnostician::basis() {
  return !subject_.can("code") ? reports::Basis::declaration
         : !inquiry_.runs()    ? reports::Basis::no_pass
         : !inquiry_.steady()  ? reports::Basis::unsteady
                               : reports::Basis::everything;
}

// Single observations by name; where many of a group are left, how many of it.
std::vector<std::string> Diagnostician::grouped(const std::vector<std::string>& left) const {
  const auto group_of = [&](const std::string& name) -> std::optional<Group> {
    for (const auto& one : inquiry_.seen())
      if (one.observation.name == name) return one.observation.group;
    return std::nullopt;
  };
  std::map<Group, std::int64_t> count;
  for (const auto& name : left)
    if (const auto group = group_of(name)) ++count[*group];
  std::vector<std::string> said;
  for (const auto& name : left) {
    const auto group = group_of(name);
    if (!group || count[*group] < kFew) {
      said.push_back(name);
    } else if (const auto words = fmt::format("{} {}", count[*group], to_string(*group));
               std::find(said.begin(), said.end(), words) == said.end()) {
      said.push_back(words);
    }
  }
  return said;
}

void Diagnostician::conclude(reports::Diagnosis& found) {
  found.basis = basis();
  if (late() || cut_short_) found.tried = static_cast<std::int64_t>(inquiry_.hypotheses());
  for (const auto& one : explanations_) {
    if (found.explanations.size() == kMostShown) break;
    // Those that explain all, and of them those that do inside as well.
    const auto& best = explanations_.front();
    if (complete(best) && (!complete(one) || one.inside != best.inside)) break;
    found.explanations.push_back({one.names, one.explained, one.broken, one.residual,
                                  complete(one) && inquiry_.uncompared() == 0, clauses_of(one.names),
                                  grouped(one.left)});
  }
  // What would break as much as it explains is near to nothing.
  if (found.explanations.empty() ||
      found.explanations.front().contradicted >= found.explanations.front().explained) {
    found.explanations.clear();
    found.outcome = reports::Outcome::unexplained;
    return;
  }
  const auto& best = explanations_.front();
  found.outcome = complete(best) ? reports::Outcome::explained : reports::Outcome::nearest;
  // Of several that explain a part, each is advised on: what is left does not take it away.
  if (complete(best) || reports::explains_a_part(found))
    tell_causes(best.names, catalogue_, subject_.specification(), found);
}

std::string Diagnostician::clauses_of(const Names& names) const {
  std::vector<std::string> clauses;
  for (const auto& name : names) clauses.push_back(clause_of(name, catalogue_));
  return fmt::format("{}", fmt::join(clauses, "; and "));
}

}  // namespace plumbline
