// Replays a stage in float64 on the candidate's own inputs.
//
// A stage whose output agrees with its replay is right, whatever went wrong before it. The first one that
// does not agree has the bug.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/evidence/compare.hpp"
#include "harness/model/model.hpp"

namespace plumbline {

// Observed stages.
using Stages = std::map<Stage, at::Tensor>;

struct Replayed {
  at::Tensor expected;  // float64
  Tolerance tolerance;  // each element's own bound
};

// The expected value of a stage, given the candidate's own earlier stages, and a bound of the rounding error
// in `type`. `positions`: (B, T) int64, `mask`: (B, 1, T, S) bool, true where a query attends to a key; keys
// and values are those of the same pass. Tolerances are Higham's (Accuracy and Stability of Numerical
// Algorithms, 2nd ed., section 3.1): a sum of n products errs by at most n u sum|products|, u the unit
// roundoff of the type that accumulates (float32), plus one rounding of the result to `type`. Empty where an
// input was not shown.
std::optional<Replayed> replay(const Stage& stage, const Stages& stages, const Weights& weights,
                               const Specification& specification, const at::Tensor& ids,
                               const at::Tensor& positions, const at::Tensor& mask, at::ScalarType type);

// The sum that replays this product in its place, where a candidate adds it to the residual stream in one
// operation (addmm) and so has no value of the product alone; empty where it has, or shows no such sum.
std::optional<Stage> sum_in_place_of(const Stage& product, const Stages& shown);

// Scores with hidden keys at -infinity, where the candidate may have any large negative number.
at::Tensor hidden_as_infinity(const at::Tensor& scores, const at::Tensor& mask);

// "float32", "bfloat16", "float16" or "float64".
std::string type_name(at::ScalarType type);

// 2^-24 for float32, 2^-8 for bfloat16, 2^-11 for float16, 2^-53 for float64.
double unit_roundoff(at::ScalarType type);

}  // namespace plumbline
