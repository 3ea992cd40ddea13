#include "harness/evidence/compare.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

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

std::string at_index(const std::string& what, const std::vector<std::int64_t>& index) {
  return index.empty() ? what : fmt::format("{}[{}]", what, fmt::join(index, ","));
}

at::Tensor wide(const at::Tensor& x) { return x.detach().to(at::kCPU, at::kDouble).contiguous(); }

std::string shape_of(const at::Tensor& x) { return fmt::format("[{}]", fmt::join(x.sizes(), ", ")); }

reports::Check refused(const std::string& what, std::string expected, std::string actual) {
  reports::Check check;
  check.what = what;
  check.expected = std::move(expected);
  check.actual = std::move(actual);
  check.sentence = fmt::format("{}: got {}, expected {}", what, check.actual, check.expected);
  check.elements = 1;
  return check;
}

}  // namespace

Tolerance Tolerance::exact(std::string reason) { return absolute(0, std::move(reason)); }
Tolerance Tolerance::absolute(double bound, std::string reason) {
  return {at::scalar_tensor(bound, at::kDouble), std::move(reason)};
}
Tolerance Tolerance::each(at::Tensor bound, std::string reason) { return {wide(bound), std::move(reason)}; }

std::string number(double value) {
  if (std::isfinite(value) && value == std::round(value) && std::abs(value) < 1e15) return fmt::format("{:.0f}", value);
  const auto magnitude = std::abs(value);
  if (std::isfinite(value) && (magnitude < 1e-3 || magnitude >= 1e6)) return fmt::format("{:.3e}", value);
  return fmt::format("{:.4g}", value);
}

double largest(const at::Tensor& x) { return x.numel() == 0 ? 0 : x.detach().abs().max().to(at::kDouble).item<double>(); }

reports::Check compare(const std::string& what, const at::Tensor& actual, const at::Tensor& expected,
                       const Tolerance& tolerance) {
  if (!actual.defined()) return refused(what, "a tensor of shape " + shape_of(expected), "nothing");
  if (actual.sizes() != expected.sizes()) return refused(what, "shape " + shape_of(expected), "shape " + shape_of(actual));
  reports::Check check;
  check.what = what;
  check.elements = actual.numel();
  check.tolerance_reason = tolerance.reason;
  if (check.elements == 0) {
    check.sentence = what + ": there was nothing to compare";
    return check;
  }
  const auto a = wide(actual), e = wide(expected);
  auto difference = (a - e).abs();
  difference.masked_fill_(a == e, 0);  // equal infinities
  const auto bound = tolerance.bound.expand_as(difference);
  // The worst is where the bound is exceeded by the largest factor; NaN is worse than anything.
  const auto excess = at::nan_to_num(difference / bound.clamp_min(1e-300), std::numeric_limits<double>::infinity())
                          .masked_fill(difference == 0, 0);
  const auto flat = excess.argmax().item<std::int64_t>();
  const auto pick = [&](const at::Tensor& x) { return x.reshape(-1)[flat].item<double>(); };
  check.worst_index = unravel(flat, a.sizes());
  check.worst_difference = pick(difference);
  check.tolerance = pick(bound);
  check.within = (difference <= bound).all().item<bool>();
  check.actual = number(pick(a));
  check.expected = number(pick(e));
  check.sentence =
      fmt::format("{}: got {}, expected {} (off by {}, allowed {}: {})", at_index(what, check.worst_index), check.actual,
                  check.expected, number(*check.worst_difference), number(*check.tolerance), tolerance.reason);
  if (!check.within) {
    const auto beyond = check.elements - (difference <= bound).sum().item<std::int64_t>();
    check.sentence += fmt::format("; {} of {} elements are off", beyond, check.elements);
  }
  return check;
}

reports::Check compare_text(const std::string& what, const std::string& actual, const std::string& expected) {
  auto check = refused(what, expected, actual);
  check.within = actual == expected;
  check.tolerance = 0;
  check.tolerance_reason = "exact";
  check.worst_difference = check.within ? std::optional<double>(0) : std::nullopt;
  return check;
}

reports::Check all_finite(const std::string& what, const at::Tensor& values, const at::Tensor& exempt) {
  reports::Check check;
  check.what = what;
  check.elements = values.numel();
  check.expected = "finite";
  check.tolerance_reason = "NaN and infinity are never right";
  if (check.elements == 0) {
    check.sentence = what + ": there was nothing to compare";
    return check;
  }
  auto finite = values.isfinite();
  if (exempt.defined()) finite = finite | exempt;
  check.within = finite.all().item<bool>();
  check.actual = "finite";
  if (!check.within) {
    const auto bad = (~finite).contiguous().reshape(-1);
    const auto flat = bad.to(at::kByte).argmax().item<std::int64_t>();
    check.worst_index = unravel(flat, values.sizes());
    check.actual = number(values.reshape(-1)[flat].to(at::kDouble).item<double>());
    check.sentence = fmt::format("{}: got {}, expected a finite number; {} of {} elements are not", at_index(what, check.worst_index),
                                 check.actual, bad.sum().item<std::int64_t>(), check.elements);
  } else {
    check.sentence = fmt::format("{}: all {} elements are finite", what, check.elements);
  }
  return check;
}

}  // namespace plumbline
