// Replaying one stage in float64 on the inputs that the candidate itself had there.
//
// Whatever went wrong before, a stage whose output is what its inputs call for is right. The first one whose
// output is not is where the bug is.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/evidence/compare.hpp"
#include "harness/model/model.hpp"

namespace plumbline {

// Stages by name, as an observer saw them.
using Stages = std::map<std::string, at::Tensor>;

struct Replayed {
  at::Tensor expected;  // float64
  Tolerance tolerance;  // each element's own bound
};

// What the stage should be, given the candidate's own earlier stages, and how far rounding in `type` may
// carry it. `positions`: (B, T) int64, `allowed`: (B, 1, T, S) bool; keys and values are those of the same
// pass. Tolerances are Higham's (Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1): a sum
// of n products errs by at most n u sum|products|, u the unit roundoff of the type that accumulates
// (float32), plus one rounding of the result to `type`. Empty when an input stage was not shown.
std::optional<Replayed> replay(const std::string& stage, const Stages& stages, const Weights& weights,
                               const Specification& specification, const at::Tensor& ids,
                               const at::Tensor& positions, const at::Tensor& allowed, at::ScalarType type);

// Scores for comparison: whatever hides a key, -infinity or a large negative number, becomes -infinity.
at::Tensor hidden_as_infinity(const at::Tensor& scores, const at::Tensor& allowed);

// "float32", "bfloat16", "float16" or "float64".
std::string type_name(at::ScalarType type);

// 2^-24 for float32, 2^-8 for bfloat16, 2^-11 for float16, 2^-53 for float64.
double unit_roundoff(at::ScalarType type);

}  // namespace plumbline
