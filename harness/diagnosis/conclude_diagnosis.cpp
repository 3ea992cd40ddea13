#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "harness/diagnosis/diagnostician.hpp"
#include "harness/model/figures.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostShown = 5;

}  // namespace

void Diagnostician::diagnose_on_its_own_shapes(reports::Diagnosis& found) {
  const auto shapes = found.explanations.front().defects;
  const auto departed = depart(subject_.specification(), fmt::format("{}", fmt::join(shapes, "+")));
  Subject shaped(subject_.candidate(), departed.specification, std::nullopt, subject_.fixtures(),
                 subject_.recorder());
  std::optional<reports::Diagnosis> rest;
  try {
    shaped.running();
    std::vector<std::string> without(left_out_.begin(), left_out_.end());
    for (const auto& name : shapes) without.push_back(read_departure(name).name);
    Diagnostician further(shaped, std::chrono::duration<double>(2 * half_).count(), {}, without);
    further.shaped_ = true;
    rest = further.diagnose();
  } catch (const std::exception&) {  // it takes none of those either, and what was said stands
  }
  if (!rest) return;
  found.observations += rest->observations;
  found.differing += rest->differing;
  const auto& first = found.explanations.front();
  const auto before = first.explained;
  const auto it_is = fmt::format("{}: {}", fmt::join(shapes, " and "), clauses_of(shapes));
  if (rest->differing == 0) {
    found.conclusion = fmt::format(
        "explained to rounding by {}; on weights of its own shapes everything else is right", it_is);
    return;
  }
  auto explanations = rest->explanations;
  for (auto& one : explanations) {
    one.defects.insert(one.defects.begin(), shapes.begin(), shapes.end());
    one.explained += before;
  }
  found.conclusion = fmt::format("it has the shapes and settings of {}; on weights of its own shapes: {}",
                                 it_is, rest->conclusion);
  if (explanations.empty()) {
    explanations = {first};
    explanations.front().complete = false;
  }
  found.explanations = explanations;
  if (!explanations.front().complete) found.advice.clear();
  // Of the specification, not of the shapes that it turned out to have.
  for (const auto& one : rest->advice) found.advice.push_back(advice_on(one.defect));
}

void Diagnostician::conclude(reports::Diagnosis& found) {
  std::vector<std::string> certain;
  for (const auto& one : explanations_) {
    if (found.explanations.size() == kMostShown) break;
    // Those that explain all, and of them those that do inside as well.
    const auto& best = explanations_.front();
    if (complete(best) && (!complete(one) || one.inside != best.inside)) break;
    found.explanations.push_back(
        {one.names, one.explained, one.broken, one.residual, complete(one) && inquiry_.uncompared() == 0});
    if (complete(one)) certain.push_back(fmt::format("{}", fmt::join(one.names, " and ")));
  }
  const auto searched = late() || cut_short_
                            ? fmt::format("; time was up after {} were tried", inquiry_.hypotheses())
                            : std::string();
  if (explanations_.empty()) {
    found.conclusion = "not explained by any known defect, alone or with others" + searched;
    return;
  }
  const auto& best = explanations_.front();
  const auto names = fmt::format("{}", fmt::join(best.names, " and "));
  const auto what = clauses_of(best.names);
  if (certain.empty()) {
    const bool mostly = best.broken == 0 && 2 * best.explained > inquiry_.differing();
    found.conclusion = fmt::format(
        "not explained by any known defect, alone or with others{}; {} {}: {}; it accounts for {} of {} "
        "observations that differ{}, and not for {}",
        searched, mostly ? "something like it is" : "nearest is", names, what, best.explained,
        inquiry_.differing(),
        best.broken > 0 ? fmt::format(", would change {} that do not", best.broken) : "",
        fmt::join(best.left, ", "));
    return;
  }
  const std::string how = !subject_.can("code") ? "it has no code; its shapes and settings are those of"
                          : !inquiry_.runs()
                              ? "no weights fit it, so that nothing of it was run; its shapes and "
                                "settings are those of"
                          : !inquiry_.steady() ? "it answers the same question in two ways, so that what it "
                                                 "answers was not compared; that is what it would do by"
                                               : "explained to rounding by";
  found.conclusion = certain.size() == 1 ? fmt::format("{} {}: {}", how, names, what)
                                         : fmt::format("{} {}, which nothing that was seen tells apart", how,
                                                       fmt::join(certain, " or by "));
  for (const auto& name : best.names) found.advice.push_back(advice_on(name));
}

std::string Diagnostician::clauses_of(const Names& names) const {
  std::vector<std::string> clauses;
  for (const auto& name : names) clauses.push_back(clause_of(name));
  return fmt::format("{}", fmt::join(clauses, "; and "));
}

std::string Diagnostician::clause_of(const std::string& written) const {
  const auto read = read_departure(written);
  return (read.number ? describe(*number_of(read.name), fmt::format("{}", *read.number))
                      : defect_of(read.name).departure) +
         describe(read.place);
}

reports::Advice Diagnostician::advice_on(const std::string& written) const {
  const auto name = read_departure(written).name;
  const auto told = told_of(defect_of(name), subject_.specification());
  const auto& [english, chinese] = std::tie(told.advice, told.advice_in_chinese);
  if (written == name) return {written, english, chinese};
  return {written, fmt::format("Here: {}. What follows is of {}: {}", clause_of(written), name, english),
          fmt::format("此处是 {}；以下说的是 {}：{}", written, name, chinese)};
}

}  // namespace plumbline
