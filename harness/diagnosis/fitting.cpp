#include "harness/diagnosis/fitting.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace plumbline {
namespace {

constexpr double kTold = 1e-9;  // of a logarithm: near enough

}  // namespace

std::vector<double> rounder_than(double found) {
  std::vector<double> numbers;
  for (const int digits : {1, 2, 3, 4, 6, 9, 12})
    numbers.push_back(std::stod(fmt::format("{:.{}e}", found, digits - 1)));
  return numbers;
}

double fitting_best(const std::function<double(double)>& distance_at, const std::vector<double>& numbers,
                    double step, const std::function<bool()>& late) {
  const auto [least, most] = std::minmax_element(numbers.begin(), numbers.end());
  // In logarithms: in steps at first, and then by thirds.
  const auto distance = [&](double logarithm) { return distance_at(std::exp(logarithm)); };
  double best = 0, nearest = kInfinite;
  for (double at = std::log(*least); at <= std::log(*most) && !late(); at += step)
    if (const double off = distance(at); off < nearest) {
      best = at;
      nearest = off;
    }
  double low = best - step, high = best + step;
  while (high - low > kTold && !late()) {
    const double third = (high - low) / 3;
    if (distance(low + third) <= distance(high - third))
      high -= third;
    else
      low += third;
  }
  return std::exp((low + high) / 2);
}

}  // namespace plumbline
