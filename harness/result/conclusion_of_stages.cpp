#include "harness/result/conclusion_of_stages.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <vector>

#include "harness/result/sentences.hpp"

namespace plumbline::reports {
namespace {

struct Words {
  std::string right, wrong;
};

std::vector<std::string> names(const std::vector<Situation>& situations, bool right) {
  std::vector<std::string> found;
  for (const auto& [name, check] : situations)
    if (check.within == right) found.push_back(name);
  return found;
}

// What logits alone tell. `runs`: passes of the whole model; `blocks`: of the silenced and the single blocks,
// empty where weights cannot be set.
std::string narrowed(const std::vector<Situation>& runs, const std::vector<Situation>& blocks,
                     const Words& words) {
  const auto wrong = names(runs, false);
  if (wrong.empty())
    return fmt::format("every pass that was tried is {}: what failed is in none of them", words.right);
  if (right_in(runs, "24 tokens"))
    return fmt::format("a plain pass of 24 tokens is {}; {} are: {}", words.right, words.wrong,
                       fmt::join(wrong, ", "));
  const auto plain = fmt::format("a plain pass is {}", words.wrong);
  if (blocks.empty()) return plain + "; its weights cannot be set, so blocks cannot be silenced";
  for (const auto& block : blocks)
    if (block.check.elements == 0) return fmt::format("{}; then {}", plain, sentence_of(block.check));
  if (!blocks.front().check.within)
    return fmt::format(
        "with every block silenced the logits are still {}: look at the embedding, the final norm and the "
        "head",
        words.wrong);
  const auto alone = names(blocks, false);
  if (alone.empty())
    return fmt::format(
        "each block on its own is {}: look at how blocks are joined, the residuals and the order of layers",
        words.right);
  return fmt::format(
      "{} on their own: {}; {}", words.wrong, fmt::join(alone, ", "),
      right_in(runs, "1 token")
          ? fmt::format("a single token is {}, so look at scores, positions, mask and softmax", words.right)
          : fmt::format("a single token is {} too, for which scores, positions and mask mean nothing",
                        words.wrong));
}

// The same of all situations, which are in this order.
std::string narrowed(const std::vector<Situation>& situations, const Words& words) {
  const auto first = std::find_if(situations.begin(), situations.end(),
                                  [](const Situation& one) { return one.name == every_block_silenced; });
  return narrowed({situations.begin(), first}, {first, situations.end()}, words);
}

// What stands between the last stage that was right and the first that was not.
std::string gap(const Localisation& found) {
  std::string before = "the tokens";
  for (const auto& one : found.stages) {
    if (&one == first_divergent(found))
      return fmt::format(
          "in {}, every shown stage is what its inputs call for, and {} is not what it should be: "
          "the fault is in what is not shown after {}",
          found.mode, one.stage, before);
    if (one.inherited) before = one.stage;
  }
  return "";
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

std::string conclusion_of(const Localisation& found) {
  if (const auto* wrong = first_locally_wrong(found))
    return fmt::format("in {}, {} is the first stage that is not what its own inputs call for", found.mode,
                       wrong->stage);
  return told_by_stages(found) ? gap(found) : narrowed(found.situations, {"right", "wrong"});
}

std::string conclusion_of_two(const Localisation& found, const std::string& first_failed) {
  if (const auto* wrong = first_locally_wrong(found))
    return fmt::format("in {}, {} is the first stage that the two make otherwise of what goes into it",
                       found.mode, wrong->stage);
  if (const auto* divergent = first_divergent(found))
    return fmt::format(
        "in {}, {} is the first stage that differs, and each shown stage is made alike of what goes into it: "
        "the difference is in what is not shown before it",
        found.mode, divergent->stage);
  if (std::all_of(found.situations.begin(), found.situations.end(),
                  [](const auto& one) { return one.check.within; }))
    return fmt::format("every pass that was tried is the same; the first difference is in {}", first_failed);
  return narrowed(found.situations, {"the same", "different"});
}

std::string first_failed(const std::vector<Requirement>& requirements) {
  for (const Requirement& requirement : requirements)
    for (const Check& check : requirement.checks)
      if (!check.within) return check.what;
  return {};
}

}  // namespace plumbline::reports
