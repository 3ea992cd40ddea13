// Compares tensors element by element.
#pragma once

#include <ATen/ATen.h>

#include <limits>
#include <string>
#include <utility>

#include "harness/result/result.hpp"
#include "harness/result/sentences.hpp"

namespace plumbline {

// The largest allowed difference, and its reason.
struct Tolerance {
  at::Tensor bound;    // float64: a scalar, or one bound for each element
  std::string reason;  // "float32 sum of 64"
  // The bound of the root mean square of all differences, which is tighter where rounding moves single
  // elements far. Infinite: no bound.
  double root_mean_square = std::numeric_limits<double>::infinity();

  static Tolerance exact(std::string reason = "exact");
  static Tolerance absolute(double bound, std::string reason);
  static Tolerance each(at::Tensor bound, std::string reason);
};

// Compares in float64: Check::within is true if the shapes agree, there is at least one element, and |actual
// - expected| <= bound for each, which is false for NaN. Equal infinities agree. `what`: the tensor's name
// for the reader, "layers.3.scores".
reports::Check compare(const std::string& what, const at::Tensor& actual, const at::Tensor& expected,
                       const Tolerance& tolerance);

// Compares two values as text.
reports::Check compare_text(const std::string& what, const std::string& actual, const std::string& expected);

// Checks that every element is finite. `exempt`: elements that need not be, such as masked scores; a bool
// tensor of the same shape, or undefined.
reports::Check all_finite(const std::string& what, const at::Tensor& values, const at::Tensor& exempt = {});

// The largest |x|; 0 for no elements, NaN if any element is.
double largest(const at::Tensor& x);

// The root mean square of x; 0 for no elements, NaN if any element is.
double root_mean_square(const at::Tensor& x);

// x in float64, 0 where it is infinite or no number.
at::Tensor finite(const at::Tensor& x);

using reports::number;
// Two numbers as text, with enough digits to differ where the numbers do.
std::pair<std::string, std::string> distinguishable_digits(double one, double other);

}  // namespace plumbline
