#include "harness/comparison/pair.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "harness/evidence/relation.hpp"
#include "harness/judging/expectations.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

std::optional<reports::Check> CandidatePair::local_difference(const Stage& stage, const at::Tensor& first,
                                                              const std::optional<Replayed>& first_replay,
                                                              const at::Tensor& second,
                                                              const std::optional<Replayed>& second_replay) {
  if (!first_replay || !second_replay || first.sizes() != second.sizes() ||
      first_replay->expected.sizes() != first.sizes() || second_replay->expected.sizes() != second.sizes())
    return std::nullopt;
  const auto neither = first.isnan() & second.isnan();  // a number
  const auto error = [&](const at::Tensor& seen, const at::Tensor& right) {
    const auto wide = seen.to(at::kDouble);
    return at::where(neither | (wide == right), at::zeros_like(wide), wide - right);  // equal infinities
  };
  const auto one_error = error(first, first_replay->expected),
             other_error = error(second, second_replay->expected);
  const auto right = [&](const at::Tensor& seen, const Replayed& by) {
    return compare(to_string(stage), seen, by.expected, by.tolerance).within;
  };
  const auto one_bound = finite(first_replay->tolerance.bound.expand_as(first)),
             other_bound = finite(second_replay->tolerance.bound.expand_as(second));
  const bool one_right = right(first, *first_replay), other_right = right(second, *second_replay);
  auto bound = one_bound + other_bound;
  if (one_right != other_right) bound = one_right ? other_bound : one_bound;
  if (!one_right && !other_right) bound = bound + one.noise(stage.kind, first).bound;
  auto check = compare(to_string(stage), other_error, one_error,
                       Tolerance::each(bound, first_replay->tolerance.reason));
  if (!check.within && check.elements > 0) {
    const auto at_worst = [&](const at::Tensor& x) {
      auto element = x;
      for (const auto index : check.worst_index) element = element.select(0, index);
      return number(element.to(at::kDouble).item<double>());
    };
    const auto told = [&](const at::Tensor& seen, const at::Tensor& called_for) {
      return fmt::format("{} where its own inputs give {}", at_worst(seen), at_worst(called_for));
    };
    check.actual = told(second, second_replay->expected);
    check.expected = told(first, first_replay->expected);
  }
  return check;
}

std::vector<reports::StageErrors> CandidatePair::differences(const StageRun& run, const Stages& first,
                                                             const Stages& second) {
  std::vector<reports::StageErrors> all;
  for (const auto& stage : stages_in_order(one.specification().num_hidden_layers)) {
    const auto a = first.find(stage), b = second.find(stage);
    if (a == first.end() || b == second.end()) continue;
    const bool hides = stage.kind == "scores" && a->second.sizes() == b->second.sizes() &&
                       a->second.size(-1) == run.tokens.ids.size(1);
    const auto seen = [&](const at::Tensor& x) {
      return hides ? hidden_as_infinity(x, causal_mask_of(run.tokens)) : x;
    };
    const auto before = seen(a->second), now = seen(b->second);
    all.push_back({stage, {}, {}});
    if (run.first_position == 0)
      all.back().inherited = compare_two(to_string(stage), now, before, one.noise(stage.kind, before));
    if (first_bits.empty() && !same_bits(before, now)) first_bits = fmt::format("{} ({})", stage, run.name);
    if (one.has_weights_for_rounding()) continue;
    all.back().local =
        local_difference(stage, before, try_replay(one, stage, first, run.tokens, run.first_position), now,
                         try_replay(one, stage, second, run.tokens, run.first_position));
  }
  return all;
}

void CandidatePair::compare_stages() {
  std::vector<Stage> alone;
  for (const auto& run : stage_runs(one)) {
    if (run.first_position > 0 && !can(run.needs)) continue;
    const std::function<Stages(Subject&)> show = [&](Subject& subject) {
      return run.show(subject, run.tokens);
    };
    const std::function<Stages(Subject&)> full = [&](Subject& subject) {
      return observe(subject, run.tokens);
    };
    compare_or_stand_in(run.needs, show, full, [&](const Stages& first, const Stages& second) {
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
          const auto suffix =
              fmt::format(" ({}{})", run.name, check == &entry.local ? ", of its own inputs" : "");
          named.what += suffix;
          record(std::move(named));
        }
      }
      const bool differ = std::any_of(all.begin(), all.end(), [](const auto& entry) {
        return (entry.inherited && !entry.inherited->within) || (entry.local && !entry.local->within);
      });
      if (differ && localisation.mode.empty())
        localisation.mode = run.name, localisation.stages = std::move(all);
    });
  }
  if (other == nullptr) return;
  if (!first_bits.empty()) one.recorder().finding(fmt::format("bits first differ at {}", first_bits));
  std::sort(alone.begin(), alone.end());
  alone.erase(std::unique(alone.begin(), alone.end()), alone.end());
  if (!alone.empty())
    one.recorder().finding(fmt::format("shown by only one of the two, so not compared: {} stages, such as {}",
                                       alone.size(), alone.front()));
}

void CandidatePair::compare_operations() {
  const auto close = [&](const std::string& what, const Tolerance& tolerance) {
    return [this, what, tolerance](const at::Tensor& first, const at::Tensor& second) {
      record(compare_two(what, second.to(at::kCPU), first.to(at::kCPU), tolerance));
    };
  };
  const auto factor = one.specification().repeat_factor();
  if (can("repeat_kv")) {
    const auto tolerance = Tolerance::absolute(1e-12, "a copy in float64");
    compare_answers(
        [&](Subject& subject) { return subject.candidate().repeat_kv(repeat_kv_input(subject), factor); },
        close("repeat_kv", tolerance));
    for (const auto other_factor : {std::int64_t{1}, factor + 1})
      compare_answers(
          [&](Subject& subject) {
            return subject.candidate().repeat_kv(repeat_kv_input(subject), other_factor);
          },
          close(fmt::format("repeat_kv by {}", other_factor), tolerance));
    compare_answers(
        [&](Subject& subject) {
          return subject.candidate().repeat_kv_gradient(repeat_kv_input(subject), factor,
                                                        repeat_kv_upstream(subject, factor));
        },
        close("gradient of repeat_kv", Tolerance::absolute(1e-11, fmt::format("float64 sum of {}", factor))));
  }
  if (can("rotate")) {
    const auto vectors = [](Subject& subject) {
      const auto heads = repeat_kv_input(subject).to(at::kFloat);  // (3, 7, K, Dh)
      const auto& s = subject.specification();
      const auto last = s.max_position_embeddings - 1;
      const auto positions = at::tensor(
          {std::int64_t{0}, std::int64_t{1}, std::int64_t{7}, last / 9, last / 3, last - 1, last}, at::kLong);
      return subject.candidate().rotate(heads, positions.unsqueeze(0).expand({3, 7}).contiguous());
    };
    // The error of an angle is proportional to the position.
    const double last = static_cast<double>(one.specification().max_position_embeddings);
    const double steps = 2 * (4 + std::log(one.specification().rope_theta));
    compare_answers(vectors, close("rotation", Tolerance::absolute(
                                                   2 * steps * last * unit_roundoff(at::kFloat) + 1e-6,
                                                   "angles in float32, whose rounding grows with position")));
  }
}

}  // namespace plumbline
