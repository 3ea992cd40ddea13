#include "harness/result/conclusion_of_stages.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <vector>

#include "harness/result/sentences.hpp"

namespace plumbline::reports {
namespace {

using Kind = StageConclusion::Kind;

std::vector<std::string> names(const std::vector<Situation>& situations, bool right) {
  std::vector<std::string> found;
  for (const auto& [name, check] : situations)
    if (check.within == right) found.push_back(name);
  return found;
}

// What logits alone tell. `runs`: passes of the whole model; `blocks`: of the silenced and the single blocks,
// empty where weights cannot be set.
StageConclusion narrowed(const std::vector<Situation>& runs, const std::vector<Situation>& blocks) {
  StageConclusion found;
  found.names = names(runs, false);
  const auto is = [&](Kind kind) {
    found.kind = kind;
    return found;
  };
  if (found.names.empty()) return is(Kind::no_pass);
  if (right_in(runs, "24 tokens")) return is(Kind::other_passes);
  if (blocks.empty()) return is(Kind::fixed_weights);
  for (const auto& block : blocks)
    if (block.check.elements == 0) {
      found.words = sentence_of(block.check);
      return is(Kind::unusable_block);
    }
  if (!blocks.front().check.within) return is(Kind::outside_blocks);
  found.names = names(blocks, false);
  found.token_right = right_in(runs, "1 token");
  return is(found.names.empty() ? Kind::between_blocks : Kind::within_blocks);
}

// The same of all situations, which are in this order.
StageConclusion narrowed(const std::vector<Situation>& situations) {
  const auto first = std::find_if(situations.begin(), situations.end(),
                                  [](const Situation& one) { return one.name == every_block_silenced; });
  return narrowed({situations.begin(), first}, {first, situations.end()});
}

// What was shown last before the first stage that diverges.
std::string shown_before(const Localisation& found, const StageErrors* divergent) {
  std::string before = "the tokens";
  for (const auto& one : found.stages) {
    if (&one == divergent) break;
    if (one.inherited) before = to_string(one.stage);
  }
  return before;
}

// What the first check that did not hold looked at, in the requirements' order; empty for none.
std::string first_failed(const std::vector<Requirement>& requirements) {
  for (const Requirement& requirement : requirements)
    for (const Check& check : requirement.checks)
      if (!check.within) return check.what;
  return {};
}

StageConclusion of_stages(const Localisation& found, bool of_two) {
  StageConclusion conclusion;
  const auto* wrong = first_locally_wrong(found);
  const auto* divergent = first_divergent(found);
  if (wrong != nullptr) {
    conclusion.kind = Kind::wrong_stage;
    conclusion.stage = to_string(wrong->stage);
  } else if (of_two ? divergent != nullptr : told_by_stages(found)) {
    conclusion.kind = Kind::after_shown_stage;
    conclusion.stage = to_string(divergent->stage);
    conclusion.words = shown_before(found, divergent);
  } else {
    conclusion = narrowed(found.situations);
  }
  return conclusion;
}

std::string of_wrong_stage(const StageConclusion& one) {
  return one.of_two ? fmt::format("in {}, {} is the first stage that the two compute in different ways",
                                  one.mode, one.stage)
                    : fmt::format("in {}, {} is the first stage that does not follow from its own inputs",
                                  one.mode, one.stage);
}

std::string of_gap(const StageConclusion& one) {
  return one.of_two ? fmt::format(
                          "in {}, {} is the first stage that differs, and both compute each shown stage in "
                          "the same way: the difference is in a step before it that is not shown",
                          one.mode, one.stage)
                    : fmt::format(
                          "in {}, every shown stage follows from its inputs, but {} is wrong: the fault is "
                          "in a step after {} that is not shown",
                          one.mode, one.stage, one.words);
}

}  // namespace

bool right_in(const std::vector<Situation>& situations, const std::string& name) {
  for (const auto& situation : situations)
    if (situation.name == name) return situation.check.within;
  return true;
}

bool told_by_stages(const Localisation& found) {
  const auto shown = std::count_if(found.stages.begin(), found.stages.end(),
                                   [](const auto& one) { return one.inherited.has_value(); });
  return first_locally_wrong(found) != nullptr || (first_divergent(found) != nullptr && shown > 1);
}

StageConclusion stage_conclusion(const Result& result) {
  StageConclusion conclusion;
  if (!result.localisation) return conclusion;
  const Localisation& found = *result.localisation;
  const bool of_two = result.header.baseline.has_value();
  if (!found.not_assessed.empty()) {
    conclusion.kind = Kind::not_assessed;
    conclusion.words = found.not_assessed;
  } else {
    conclusion = of_stages(found, of_two);
    if (of_two && conclusion.kind == Kind::no_pass) conclusion.words = first_failed(result.requirements);
  }
  conclusion.mode = found.mode;
  conclusion.of_two = of_two;
  return conclusion;
}

std::string sentence_of(const StageConclusion& one) {
  const auto right = one.of_two ? "the same" : "right", wrong = one.of_two ? "different" : "wrong";
  switch (one.kind) {
    case Kind::none:
      return "";
    case Kind::not_assessed:
      return "not assessed: " + one.words;
    case Kind::wrong_stage:
      return of_wrong_stage(one);
    case Kind::after_shown_stage:
      return of_gap(one);
    case Kind::no_pass:
      return one.of_two ? fmt::format("every pass that was tried is the same; the first difference is in {}",
                                      one.words)
                        : "every pass that was tried is right: what failed is in none of them";
    case Kind::other_passes:
      return fmt::format("a plain pass of 24 tokens is {}; {} are: {}", right, wrong,
                         fmt::join(one.names, ", "));
    case Kind::fixed_weights:
      return fmt::format("a plain pass is {}; its weights cannot be set, so blocks cannot be silenced",
                         wrong);
    case Kind::unusable_block:
      return fmt::format("a plain pass is {}; then {}", wrong, one.words);
    case Kind::outside_blocks:
      return fmt::format(
          "with every block silenced the logits are still {}: look at the embedding, the final norm and the "
          "head",
          wrong);
    case Kind::between_blocks:
      return fmt::format(
          "each block on its own is {}: look at how blocks are joined, the residuals and the order of layers",
          right);
    case Kind::within_blocks:
      return fmt::format(
          "{} on their own: {}; {}", wrong, fmt::join(one.names, ", "),
          one.token_right
              ? fmt::format("a single token is {}, so look at scores, positions, mask and softmax", right)
              : fmt::format(
                    "a single token is {} too, and for one token scores, positions and mask have no effect",
                    wrong));
  }
  return "";
}

std::string conclusion_of(const Result& result) {
  return sentence_of(stage_conclusion(result));
}

}  // namespace plumbline::reports
