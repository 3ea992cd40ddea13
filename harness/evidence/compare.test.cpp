#include "harness/evidence/compare.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <limits>
#include <vector>

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr double nan_ = std::numeric_limits<double>::quiet_NaN();
constexpr double inf_ = std::numeric_limits<double>::infinity();

at::Tensor of(const std::vector<double>& values) {
  return at::tensor(at::ArrayRef<double>(values), at::kDouble);
}

reports::Check compared(const std::vector<double>& actual, const std::vector<double>& expected,
                        double bound = 0.5) {
  return compare("x", of(actual), of(expected), Tolerance::absolute(bound, "a reason"));
}

}  // namespace

TEST_CASE("compare: what is as near as allowed is within, and what is further is not",
          "[evidence][compare]") {
  CHECK(compared({1, 2, 3}, {1, 2.5, 3}).within);
  CHECK_FALSE(compared({1, 2, 3}, {1, 2.5000001, 3}).within);
  CHECK_FALSE(compared({1, 2, 3}, {1, 1.4999999, 3}).within);
  CHECK(compared({1}, {1}, 0).within);
  CHECK_FALSE(compared({1}, {1 + 0x1p-52}, 0).within);
  CHECK(compare("x", of({1}), of({1}), Tolerance::exact()).tolerance_reason == "exact");
  CHECK(compare("x", at::scalar_tensor(2.0), at::scalar_tensor(2.0), Tolerance::exact()).within);
}

TEST_CASE("compare: NaN on either side is never within, whatever is allowed", "[evidence][compare]") {
  for (const double bound : {0.0, 1.0, 1e300, inf_}) {
    CHECK_FALSE(compared({nan_, 1}, {1, 1}, bound).within);
    CHECK_FALSE(compared({1, 1}, {1, nan_}, bound).within);
    CHECK_FALSE(compared({nan_}, {nan_}, bound).within);
  }
  const auto check = compared({1, nan_, 3}, {5, 2, 3});
  CHECK(check.worst_index == std::vector<std::int64_t>{1});
  CHECK(check.actual == "nan");
  CHECK_THAT(reports::sentence_of(check), ContainsSubstring("x[1]: got nan, expected 2"));
}

TEST_CASE("compare: a tolerance that is no finite number allows nothing", "[evidence][compare]") {
  CHECK_FALSE(compared({1}, {1.1}, nan_).within);
  CHECK_FALSE(compared({1}, {1}, nan_).within);
  CHECK_FALSE(compared({1}, {1.1}, inf_).within);
  CHECK_FALSE(compared({inf_}, {1}, inf_).within);
  CHECK_FALSE(compared({1}, {1}, -1).within);
  const auto check = compare("x", of({1, 2, 1}), of({1, 2, 1}), Tolerance::each(of({0, inf_, 0}), "each"));
  CHECK_FALSE(check.within);
  CHECK(check.elements == 3);
  CHECK(reports::sentence_of(check) == "x: its tolerance is not finite: each");
}

TEST_CASE("compare: equal infinities agree, and nothing else does with one", "[evidence][compare]") {
  CHECK(compared({inf_, -inf_, 1}, {inf_, -inf_, 1}).within);
  CHECK_FALSE(compared({inf_}, {-inf_}).within);
  CHECK_FALSE(compared({-inf_}, {inf_}, 1e300).within);
  CHECK_FALSE(compared({inf_}, {1e308}, 1e300).within);
  CHECK_FALSE(compared({-1e308}, {-inf_}, 1e300).within);
}

TEST_CASE("compare: another shape is never within, even with as many elements", "[evidence][compare]") {
  for (const auto& shape : {std::vector<std::int64_t>{3, 2}, {6}, {2, 3, 1}, {2, 1}, {1}}) {
    const auto check = compare("x", at::zeros(shape), at::zeros({2, 3}), Tolerance::absolute(1, ""));
    CHECK_FALSE(check.within);
    CHECK(check.elements > 0);  // a finding, and not evidence that is missing
    CHECK_THAT(reports::sentence_of(check), ContainsSubstring("expected shape [2, 3]"));
  }
  const auto check = compare("layers.0.q", at::zeros({3, 2}), at::zeros({2, 3}), Tolerance::exact());
  CHECK(reports::sentence_of(check) == "layers.0.q: got shape [3, 2], expected shape [2, 3]");
  CHECK(reports::sentence_of(compare("x", at::Tensor(), at::zeros({2}), Tolerance::exact())) ==
        "x: got nothing, expected a tensor of shape [2]");
}

TEST_CASE("compare: nothing to compare is never within", "[evidence][compare]") {
  const auto check = compare("x", at::zeros({0, 3}), at::zeros({0, 3}), Tolerance::absolute(1, ""));
  CHECK_FALSE(check.within);
  CHECK(check.elements == 0);
  CHECK(reports::sentence_of(check) == "x: there was nothing to compare");
}

TEST_CASE("compare: each element has its own bound, and the worst exceeds it by the largest factor",
          "[evidence][compare]") {
  const auto expected = of({0, 0, 0, 0}).view({2, 2});
  const auto bounds = Tolerance::each(of({10, 0.001, 1, 1}).view({2, 2}), "each its own");
  const auto check = compare("x", of({9, 0.004, 3, 0}).view({2, 2}), expected, bounds);
  CHECK_FALSE(check.within);
  CHECK(check.worst_index == std::vector<std::int64_t>{0, 1});  // 4 times; 9 is the largest, and allowed
  CHECK(check.worst_difference == 0.004);
  CHECK(check.tolerance == 0.001);
  CHECK(check.elements == 4);
  CHECK(reports::sentence_of(check) ==
        "x[0,1]: got 0.004, expected 0 (off by 0.004, allowed 0.001: each its own); 2 of 4 elements are off");
  CHECK(compare("x", of({9, 0.0009, -1, 1}).view({2, 2}), expected, bounds).within);
  // Against an exact bound any difference is worse than within a wide one.
  const auto exact = compare("x", of({9, 1e-9}), of({0, 0}), Tolerance::each(of({10, 0}), ""));
  CHECK(exact.worst_index == std::vector<std::int64_t>{1});
}

TEST_CASE("compare: one wrong element among many is found wherever it is, and all are counted",
          "[evidence][compare]") {
  constexpr std::int64_t many = 100'003;  // several pieces, the last of them short
  const auto expected = at::arange(many, at::kDouble).remainder(17);
  const auto bounds = Tolerance::each(at::full({many}, 0.25), "");
  for (const std::int64_t place :
       {std::int64_t{0}, std::int64_t{16383}, std::int64_t{16384}, many / 2, many - 1}) {
    for (const auto& tolerance : {Tolerance::absolute(0.25, ""), bounds}) {
      auto actual = expected + 0.125;
      actual[place] += 0.25;
      const auto check = compare("x", actual, expected, tolerance);
      CHECK_FALSE(check.within);
      CHECK(check.worst_index == std::vector<std::int64_t>{place});
      CHECK(check.worst_difference == 0.375);
      CHECK_THAT(reports::sentence_of(check), ContainsSubstring("1 of 100003 elements are off"));
      // Wherever NaN is, it is worse than any number.
      actual[many - 1 - place] = nan_;
      CHECK(compare("x", actual, expected, tolerance).worst_index ==
            std::vector<std::int64_t>{many - 1 - place});
    }
  }
  auto actual = expected.clone();
  actual.slice(0, 3, many, 10'000) += 1;
  CHECK_THAT(reports::sentence_of(compare("x", actual, expected, bounds)),
             ContainsSubstring("10 of 100003 elements are off"));
  const auto endless = expected.masked_fill(expected == 3, inf_);
  CHECK(compare("x", endless, endless, Tolerance::exact()).within);
}

TEST_CASE("compare: permuted tensors with equal sums, means and extremes fail", "[evidence][compare]") {
  const auto expected = at::arange(12, at::kDouble).view({3, 4});
  for (const auto& actual :
       {expected.flip(0), expected.flip(1), expected.roll(1, 1), expected.view({4, 3}).t()}) {
    const auto check = compare("x", actual, expected, Tolerance::absolute(0.5, ""));
    CHECK_FALSE(check.within);
    CHECK(check.elements == 12);
  }
}

TEST_CASE("compare: other types and strides are compared by value", "[evidence][compare]") {
  const auto values = at::arange(6, at::kDouble).view({2, 3});
  CHECK(compare("x", values.t().contiguous().t(), values, Tolerance::exact()).within);
  CHECK(compare("x", values.to(at::kBFloat16), values, Tolerance::exact()).within);
  CHECK(compare("x", values.to(at::kLong), values.to(at::kFloat), Tolerance::exact()).within);
  CHECK(compare("x", values.clone().requires_grad_(true), values, Tolerance::exact()).within);
  const auto moved = compare("x", values.t(), at::full({3, 2}, 2.0), Tolerance::absolute(2, ""));
  CHECK(moved.worst_index == std::vector<std::int64_t>{2, 1});
}

TEST_CASE("compare: the sentence says what, where, both values, the difference, what is allowed and why",
          "[evidence][compare]") {
  const auto actual = at::full({1, 2, 3}, 0.1934), expected = actual.clone();
  actual[0][1][2] = 0.1931;
  const auto check =
      compare("layers.3.scores", actual, expected, Tolerance::absolute(2e-6, "float32 sum of 64"));
  CHECK(check.what == "layers.3.scores");
  CHECK(reports::sentence_of(check) ==
        "layers.3.scores[0,1,2]: got 0.1931, expected 0.1934 (off by 3.000e-04, allowed 2.000e-06: float32 "
        "sum of 64); "
        "1 of 6 elements are off");
  CHECK(reports::sentence_of(compared({1, 2}, {1, 2.25})) ==
        "x[1]: got 2, expected 2.25 (off by 0.25, allowed 0.5: a reason)");
}

TEST_CASE("compare: single values are compared as they are written", "[evidence][compare]") {
  const auto same = compare_text("hidden_act", "silu", "silu");
  CHECK(same.within);
  CHECK(same.elements == 1);
  CHECK(same.worst_difference == 0.0);
  const auto other = compare_text("hidden_act", "gelu", "silu");
  CHECK_FALSE(other.within);
  CHECK(reports::sentence_of(other) == "hidden_act: got gelu, expected silu (exact)");
  CHECK_FALSE(other.worst_difference.has_value());
}

TEST_CASE("compare: a single value that is not finite is found, unless it is exempt", "[evidence][compare]") {
  CHECK(all_finite("x", of({1, -1e308})).within);
  for (const double bad : {nan_, inf_, -inf_}) {
    const auto values = of({1, 2, 3, bad, 5, 6}).view({2, 3});
    const auto check = all_finite("x", values);
    CHECK_FALSE(check.within);
    CHECK(check.worst_index == std::vector<std::int64_t>{1, 0});
    CHECK_THAT(reports::sentence_of(check),
               ContainsSubstring("x[1,0]: got " + number(bad) + ", expected a finite number; 1 of 6"));
    CHECK(all_finite("x", values, values.isfinite().logical_not()).within);
    CHECK_FALSE(all_finite("x", values, values.isfinite()).within);
  }
  CHECK_FALSE(all_finite("x", of({1, inf_}).to(at::kBFloat16)).within);
}

TEST_CASE("compare: finite values of which none was looked at are not a pass", "[evidence][compare]") {
  const auto empty = all_finite("x", at::zeros({3, 0}));
  CHECK_FALSE(empty.within);
  CHECK(empty.elements == 0);
  const auto exempt = all_finite("x", of({inf_, 1}), at::ones({2}, at::kBool));
  CHECK_FALSE(exempt.within);
  CHECK(exempt.elements == 0);
  CHECK(all_finite("x", of({inf_, 1, 2}), of({1, 0, 0}).to(at::kBool)).elements == 2);
}

TEST_CASE("compare: the largest is by magnitude, 0 of nothing, and NaN if there is one",
          "[evidence][compare]") {
  CHECK(largest(of({1, -7, 3})) == 7);
  CHECK(largest(at::zeros({0})) == 0);
  CHECK(std::isnan(largest(of({1, nan_, 3}))));
  CHECK(largest(of({1, -inf_})) == inf_);
  CHECK(largest(of({2}).requires_grad_(true)) == 2);
}

TEST_CASE("compare: numbers are written short, whole ones as they are", "[evidence][compare]") {
  CHECK(number(12) == "12");
  CHECK(number(-32767) == "-32767");
  CHECK(number(0) == "0");
  CHECK(number(0.193149) == "0.1931");
  CHECK(number(3e-4) == "3.000e-04");
  CHECK(number(1234567.5) == "1.235e+06");
  CHECK(number(nan_) == "nan");
  CHECK(number(-inf_) == "-inf");
}

TEST_CASE("compare: what each element may be off by rounding, the whole may not", "[evidence][compare]") {
  const auto expected = at::linspace(1, 2, 1000, at::kFloat);
  auto tolerance = Tolerance::absolute(0.5, "rounding");
  tolerance.root_mean_square = 0.05;
  auto one_far = expected.clone();
  one_far[7] += 0.45;
  CHECK(compare("x", one_far, expected, tolerance).within);
  const auto check = compare("x", expected * 1.1, expected, tolerance);
  CHECK_FALSE(check.within);
  CHECK(check.tolerance == 0.05);
  CHECK(check.worst_difference > 0.15);
  CHECK(check.worst_difference < 0.2);
  CHECK(reports::sentence_of(check) ==
        "x: off by 0.1528 on the whole, the root mean square of 1000 elements, allowed 0.05: rounding");
  tolerance.root_mean_square = std::numeric_limits<double>::infinity();
  CHECK(compare("x", expected * 1.1, expected, tolerance).within);
  // Equal infinities are no difference, and a NaN is none that is allowed.
  const auto infinite = expected.masked_fill(expected > 1.9, -INFINITY);
  tolerance.root_mean_square = 0.05;
  CHECK(compare("x", infinite, infinite.clone(), tolerance).within);
  CHECK_FALSE(compare("x", infinite.masked_fill(infinite < 0, NAN), infinite, tolerance).within);
  // A bound that is no number allows nothing.
  tolerance.root_mean_square = NAN;
  CHECK_FALSE(compare("x", one_far, expected, tolerance).within);
}

TEST_CASE("numbers that differ read differently") {
  CHECK(distinguishable_digits(4.61802, 4.61834) == std::pair<std::string, std::string>{"4.618", "4.6183"});
  CHECK(distinguishable_digits(1, 1.0000001) == std::pair<std::string, std::string>{"1", "1.0000001"});
  CHECK(distinguishable_digits(0.5, 0.25) == std::pair<std::string, std::string>{"0.5", "0.25"});
  CHECK(distinguishable_digits(2, 2) == std::pair<std::string, std::string>{"2", "2"});
  CHECK(distinguishable_digits(NAN, NAN) == std::pair<std::string, std::string>{"nan", "nan"});
  const auto check = compare("loss", at::scalar_tensor(4.61834, at::kDouble),
                             at::scalar_tensor(4.61802, at::kDouble), Tolerance::absolute(1e-6, "rounding"));
  CHECK_THAT(reports::sentence_of(check), Catch::Matchers::ContainsSubstring("got 4.6183, expected 4.618 "));
}
