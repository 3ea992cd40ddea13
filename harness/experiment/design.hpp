// The design of the experiment: its runs, and the effects of its factors.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "harness/text/statistics.hpp"

namespace plumbline {

// A difference between the model before and the one after.
struct Factor {
  std::string id, name, before, after;
};
constexpr std::size_t kFactors = 5;
constexpr std::size_t kMask = 2;  // of the factors
const std::array<Factor, kFactors>& factors();

using Levels = std::array<bool, kFactors>;  // true: the level of the model before

struct Run {
  Levels before{};
  std::uint32_t seed = 1;
  bool designed = true;      // false: an additional run beside the design
  std::string name() const;  // "BABAB-1": before or after, in the factors' order, and the seed
};

// Half of all combinations, those of an odd number of factors as before: a 2^(5-1) design of resolution V,
// in which each factor's effect and each pair's interaction is free of every other one (Box, Hunter and
// Hunter 2005, section 6.2). Each with every seed; and beside it the one model in which all is as after.
std::vector<Run> designed_runs(std::uint32_t seeds);

// The effect of a factor, or interaction of two, on a response: the mean at level before less the mean at
// level after. Of two: half the difference of the first one's effects at the second one's levels.
struct Effect {
  std::vector<std::size_t> factors;
  double value = 0;
  Interval interval;  // 95 %, Student's t, from runs that differ in their seed alone (Welch 1947)
  double chance = 1;  // p-value, two-sided
};

// Of every factor, and of each pair. `responses` are those of `runs`, in order; runs beside the design do not
// count. With `mask`, only of runs whose training mask is as before (true) or as after: then without that
// factor and its pairs. Errors: std::logic_error for fewer than two seeds.
std::vector<Effect> effects_of(const std::vector<Run>& runs, const std::vector<double>& responses,
                               std::optional<bool> mask = std::nullopt);

}  // namespace plumbline
