#include "harness/text/picture.hpp"

#include <cmath>

namespace plumbline {

std::vector<double> round_numbers(double least, double most) {
  const double rough = (most - least) / 6, power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough > 5 * power ? 10 : rough > 2 * power ? 5 : rough > power ? 2 : 1);
  std::vector<double> numbers;
  for (double number = std::ceil(least / step) * step; number <= most + step * 1e-9; number += step)
    numbers.push_back(number);
  return numbers;
}

}  // namespace plumbline
