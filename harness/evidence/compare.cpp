#include "harness/evidence/compare.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <tuple>

namespace plumbline {
namespace {

std::vector<std::int64_t> unravel(std::int64_t flat, at::IntArrayRef shape) {
  std::vector<std::int64_t> index(shape.size());
  for (auto axis = static_cast<std::int64_t>(shape.size()) - 1; axis >= 0; --axis) {
    index[static_cast<std::size_t>(axis)] = flat % shape[static_cast<std::size_t>(axis)];
    flat /= shape[static_cast<std::size_t>(axis)];
  }
  return index;
}

at::Tensor as_float64(const at::Tensor& x) {
  return x.detach().to(at::kCPU, at::kDouble).contiguous();
}

std::string shape_of(const at::Tensor& x) {
  return fmt::format("[{}]", fmt::join(x.sizes(), ", "));
}

double value_at(const at::Tensor& x, std::int64_t flat) {
  auto element = x.detach();
  for (const auto place : unravel(flat, x.sizes())) element = element.select(0, place);
  return element.to(at::kDouble).item<double>();
}

constexpr const char* kNothing = "there was nothing to compare";

// The worst element of a comparison so far.
struct Worst {
  double excess = -1;  // the largest factor by which a bound is exceeded; infinite for NaN
  double difference = -1;
  std::int64_t index = 0;
  std::int64_t beyond = 0;  // number of elements beyond their bounds
  bool bounded = true;      // whether every bound is finite
};

// Elements of a chunk, small enough that it and its temporaries stay in a core's cache.
constexpr std::int64_t kChunk = 1 << 14;

// Whether holds_for(i, |a[i] - e[i]|) is true for a whole chunk; a simple loop, which is enough for most
// chunks.
template <typename Element, typename Fine>
bool all_hold(const Element* a, const Element* e, std::int64_t count, Fine holds_for) {
  bool holds = true;
  for (std::int64_t i = 0; i < count; ++i)
    holds &= holds_for(i, std::abs(static_cast<double>(a[i]) - static_cast<double>(e[i])));
  return holds;
}

// Updates `worst`. a, e: (n), bound: (n) or a scalar, all float64; `first`: the chunk's index in the tensor.
void compare_chunk(const at::Tensor& a, const at::Tensor& e, const at::Tensor& bound, std::int64_t first,
                   Worst& worst) {
  worst.bounded = worst.bounded && bound.isfinite().all().item<bool>();
  auto difference = (a - e).abs_();
  difference.masked_fill_(a == e, 0);  // equal infinities
  // The worst element exceeds its bound by the largest factor; NaN counts as infinite.
  const auto factors = difference / bound.clamp_min(1e-300);
  const auto excess =
      at::nan_to_num(factors, std::numeric_limits<double>::infinity()).masked_fill_(difference == 0, 0);
  const auto flat = excess.argmax().item<std::int64_t>();
  if (const auto largest_excess = value_at(excess, flat); largest_excess > worst.excess) {
    worst.excess = largest_excess;
    worst.difference = value_at(difference, flat);
    worst.index = first + flat;
  }
  worst.beyond += difference.numel() - (difference <= bound).sum().item<std::int64_t>();
}

// Whether a chunk is within finite bounds and nowhere worse than `worst`; false for NaN.
// a, e: (n), float32 or float64, bound: (n) or a scalar, float64.
bool is_within_worst(const at::Tensor& a, const at::Tensor& e, const at::Tensor& bound, const Worst& worst) {
  const auto* bounds = bound.data_ptr<double>();
  const auto look = [&]<typename Element>(const Element* one, const Element* other) {
    if (bound.dim() > 0)
      return all_hold(one, other, a.numel(), [=, most = worst.excess](std::int64_t i, double difference) {
        return (difference <= bounds[i]) & (bounds[i] <= std::numeric_limits<double>::max()) &
               (difference / std::max(1e-300, bounds[i]) <= most);
      });
    // With a single bound, comparing differences is enough, and avoids the division.
    const double most = std::isinf(worst.excess) ? *bounds : std::min(*bounds, worst.difference);
    return all_hold(one, other, a.numel(),
                    [=](std::int64_t, double difference) { return difference <= most; });
  };
  if (a.scalar_type() == at::kFloat) return look(a.data_ptr<float>(), e.data_ptr<float>());
  return look(a.data_ptr<double>(), e.data_ptr<double>());
}

Worst find_worst(const at::Tensor& actual, const at::Tensor& expected, const at::Tensor& bounds) {
  const bool plain = actual.scalar_type() == at::kFloat && expected.scalar_type() == at::kFloat;
  const auto flat = [&](const at::Tensor& x) { return x.detach().to(at::kCPU).contiguous().view({-1}); };
  const auto a = flat(actual), e = flat(expected);
  const auto bound = bounds.numel() == 1 ? as_float64(bounds).reshape({}) : flat(bounds.expand_as(actual));
  std::mutex mutex;
  Worst total;
  at::parallel_for(0, (a.numel() + kChunk - 1) / kChunk, 4, [&](std::int64_t begin, std::int64_t end) {
    Worst local;
    for (auto first = begin * kChunk; first < std::min(end * kChunk, a.numel()); first += kChunk) {
      const auto part = [&](const at::Tensor& x, at::ScalarType type) {
        return x.dim() == 0 ? x : x.narrow(0, first, std::min(kChunk, a.numel() - first)).to(type);
      };
      const auto type = plain ? at::kFloat : at::kDouble;
      const auto actual_chunk = part(a, type), expected_chunk = part(e, type),
                 bound_chunk = part(bound, at::kDouble);
      if (!is_within_worst(actual_chunk, expected_chunk, bound_chunk, local))
        compare_chunk(actual_chunk.to(at::kDouble), expected_chunk.to(at::kDouble), bound_chunk, first,
                      local);
    }
    const std::lock_guard lock(mutex);
    if (local.excess > total.excess || (local.excess == total.excess && local.index < total.index)) {
      total.excess = local.excess;
      total.index = local.index;
    }
    total.beyond += local.beyond;
    total.bounded = total.bounded && local.bounded;
  });
  return total;
}

reports::Check failed_comparison(const std::string& what, std::string expected, std::string actual) {
  reports::Check check;
  check.what = what;
  check.expected = std::move(expected);
  check.actual = std::move(actual);
  check.elements = 1;
  return check;
}

}  // namespace

Tolerance Tolerance::exact(std::string reason) {
  return absolute(0, std::move(reason));
}
Tolerance Tolerance::absolute(double bound, std::string reason) {
  return {at::scalar_tensor(bound, at::kDouble), std::move(reason), std::numeric_limits<double>::infinity()};
}
Tolerance Tolerance::each(at::Tensor bound, std::string reason) {
  return {as_float64(bound), std::move(reason), std::numeric_limits<double>::infinity()};
}

std::pair<std::string, std::string> distinguishable_digits(double one, double other) {
  std::pair text{number(one), number(other)};
  for (int digits = 5; text.first == text.second && one != other && digits <= 17; ++digits)
    text = {fmt::format("{:.{}g}", one, digits), fmt::format("{:.{}g}", other, digits)};
  return text;
}

double largest(const at::Tensor& x) {
  return x.numel() == 0 ? 0 : x.detach().abs().max().to(at::kDouble).item<double>();
}

at::Tensor finite(const at::Tensor& x) {
  return at::nan_to_num(x.to(at::kDouble), 0, 0, 0);
}

double root_mean_square(const at::Tensor& x) {
  return x.numel() == 0 ? 0 : std::sqrt(x.detach().to(at::kDouble).square().mean().item<double>());
}

reports::Check compare(const std::string& what, const at::Tensor& actual, const at::Tensor& expected,
                       const Tolerance& tolerance) {
  if (!actual.defined()) return failed_comparison(what, "a tensor of shape " + shape_of(expected), "nothing");
  if (actual.sizes() != expected.sizes())
    return failed_comparison(what, "shape " + shape_of(expected), "shape " + shape_of(actual));
  reports::Check check;
  check.what = what;
  check.elements = actual.numel();
  check.tolerance_reason = tolerance.reason;
  if (check.elements == 0) return reports::nothing_compared(what, kNothing);
  check.form = reports::Form::difference;
  const auto worst = find_worst(actual, expected, tolerance.bound);
  // An infinite bound, from infinite inputs, would allow anything.
  if (!worst.bounded) {
    check.form = reports::Form::unbounded;
    return check;
  }
  const auto a = value_at(actual, worst.index), e = value_at(expected, worst.index);
  check.worst_index = unravel(worst.index, actual.sizes());
  check.worst_difference = a == e ? 0 : std::abs(a - e);
  check.tolerance = value_at(tolerance.bound.expand_as(actual), worst.index);
  check.within = worst.beyond == 0;
  std::tie(check.actual, check.expected) = distinguishable_digits(a, e);
  check.beyond = worst.beyond;
  if (!check.within || std::isinf(tolerance.root_mean_square)) return check;
  const auto wide_actual = as_float64(actual), wide_expected = as_float64(expected);
  const double difference = root_mean_square(
      at::where(wide_actual == wide_expected, at::zeros_like(wide_actual), wide_actual - wide_expected));
  if (difference <= tolerance.root_mean_square) return check;
  check.within = false;
  check.worst_difference = difference;
  check.tolerance = tolerance.root_mean_square;
  check.form = reports::Form::whole;
  return check;
}

reports::Check compare_text(const std::string& what, const std::string& actual, const std::string& expected) {
  auto check = failed_comparison(what, expected, actual);
  check.within = actual == expected;
  check.tolerance = 0;
  check.tolerance_reason = "exact";
  check.worst_difference = check.within ? std::optional<double>(0) : std::nullopt;
  return check;
}

reports::Check all_finite(const std::string& what, const at::Tensor& values, const at::Tensor& exempt) {
  reports::Check check;
  check.what = what;
  check.elements = values.numel() - (exempt.defined() ? exempt.sum().item<std::int64_t>() : 0);
  check.expected = "a finite number";
  check.tolerance_reason = "NaN and infinity are never right";
  if (check.elements == 0) return reports::nothing_compared(what, kNothing);
  check.form = reports::Form::finite;
  auto finite = values.isfinite();
  if (exempt.defined()) finite = finite | exempt;
  check.within = finite.all().item<bool>();
  check.actual = "finite";
  if (!check.within) {
    const auto bad = (~finite).contiguous().reshape(-1);
    const auto flat = bad.to(at::kByte).argmax().item<std::int64_t>();
    check.worst_index = unravel(flat, values.sizes());
    check.actual = number(values.reshape(-1)[flat].to(at::kDouble).item<double>());
    check.beyond = bad.sum().item<std::int64_t>();
  }
  return check;
}

}  // namespace plumbline
