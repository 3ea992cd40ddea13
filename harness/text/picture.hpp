// Helpers for pictures: self-contained SVG, light and dark, without scripts.
#pragma once

#include <vector>

namespace plumbline {

// A few numbers of one digit's step between the two.
std::vector<double> round_numbers(double least, double most);

}  // namespace plumbline
