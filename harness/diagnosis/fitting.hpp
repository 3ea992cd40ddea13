// The number that a defect was made with, read from what it makes.
#pragma once

#include <functional>
#include <vector>

namespace plumbline {

// The number between the least and the most of `numbers` (all above 0) at which the distance is least: looked
// for in logarithms, in steps at first and then by thirds, until `late`.
double fitting_best(const std::function<double(double)>& distance_at, const std::vector<double>& numbers,
                    double step, const std::function<bool()>& late);

// `found` in fewer digits, the fewest first: a round number is likelier than what rounding left of it.
std::vector<double> rounder_than(double found);

}  // namespace plumbline
