// What the numbers of a stage that is wrong by itself tell of the mistake, whether it is catalogued or not.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline {

// A stage and what its own inputs call for, in float64 on the CPU, in the shapes of stages_of(). `bound`: how
// far each element may be off. `head_size`: of a context, which holds one head after another.
struct WrongStage {
  Stage stage;
  at::Tensor actual, expected, bound;
  std::int64_t head_size = 0;
  at::ScalarType type = at::kFloat;  // of the model
  // Of what is rotated: what it would be so many positions later, and not rotated. Empty where that is not
  // known.
  std::function<std::optional<at::Tensor>(std::int64_t later)> turned = {};
  std::optional<at::Tensor> not_turned = {};
  std::optional<at::Tensor> branch = {};         // what is added to the residual stream
  std::optional<at::Tensor> gate = {}, up = {};  // of what is gated
};

// Which parts are wrong, then one simple account of them that leaves less than a hundredth of the error.
// Empty where nothing simple is seen.
std::vector<reports::Trait> traits_of(const WrongStage& wrong);

}  // namespace plumbline
