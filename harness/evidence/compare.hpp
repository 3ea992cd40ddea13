// Comparing what a candidate shows with what is expected, element by element.
#pragma once

#include <ATen/ATen.h>

#include <limits>
#include <string>
#include <utility>

#include "harness/result/result.hpp"
#include "harness/result/sentences.hpp"

namespace plumbline {

// How far an element may be from what is expected, and why that far.
struct Tolerance {
  at::Tensor bound;    // float64: a scalar, or the shape of what is compared
  std::string reason;  // "float32 sum of 64"
  // What the root mean square of all differences may be: where single elements may be far off by rounding,
  // the whole may not. Infinite: anything that the elements may.
  double whole = std::numeric_limits<double>::infinity();

  static Tolerance exact(std::string reason = "exact");
  static Tolerance absolute(double bound, std::string reason);
  static Tolerance each(at::Tensor bound, std::string reason);
};

// Judges every element in float64: within holds when shapes agree, there is at least one element, and for
// each
// !(|actual - expected| > bound) in the sense that NaN never holds. Equal infinities agree.
// `what` is the tensor's name as a person knows it: "layers.3.scores".
reports::Check compare(const std::string& what, const at::Tensor& actual, const at::Tensor& expected,
                       const Tolerance& tolerance);

// A single value, compared as it is written.
reports::Check compare_text(const std::string& what, const std::string& actual, const std::string& expected);

// Every element of `values` is finite. `exempt` (a bool tensor of the same shape, or undefined) marks
// elements that need not be: masked scores.
reports::Check all_finite(const std::string& what, const at::Tensor& values, const at::Tensor& exempt = {});

// The largest |x|, 0 for no elements; NaN if there is one.
double largest(const at::Tensor& x);

// The root mean square of x, 0 for no elements; NaN if there is one.
double root_mean_square(const at::Tensor& x);

// x in float64, 0 where it is infinite or no number.
at::Tensor finite(const at::Tensor& x);

using reports::number;
// Two numbers, in as many digits as tell them apart where they are unlike.
std::pair<std::string, std::string> told_apart(double one, double other);

}  // namespace plumbline
