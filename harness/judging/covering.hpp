// Pairwise covering arrays (Cohen et al., "The AETG system", IEEE Transactions on Software Engineering 23(7),
// 1997): few rows in which any two values of two axes meet.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

namespace plumbline {

// The index of a value on each axis.
using CoveringRow = std::vector<std::size_t>;

// Whether value `i` of axis `a` may stand beside value `j` of axis `b`; asked with a < b.
using MayMeet = std::function<bool(std::size_t a, std::size_t i, std::size_t b, std::size_t j)>;

// Rows in which every two values that may meet do. `sizes`: how many values each axis has. Errors:
// std::logic_error where the first value of an axis may not meet some value of another; all others could then
// be a dead end.
std::vector<CoveringRow> cover_pairs(const std::vector<std::size_t>& sizes, const MayMeet& may_meet);

}  // namespace plumbline
