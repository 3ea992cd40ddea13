// Helpers for pictures: self-contained SVG, light and dark, without scripts.
#pragma once

#include <vector>

namespace plumbline {

// About six round numbers between the two, in steps of 1, 2 or 5 times a power of ten.
std::vector<double> round_numbers(double least, double most);

}  // namespace plumbline
