#include "harness/experiment/design.hpp"

#include <boost/math/distributions/students_t.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

namespace plumbline {

const std::array<Factor, kFactors>& factors() {
  static const std::array<Factor, kFactors> all = {{
      {"layers", "layers with their feed-forwards", "many, with wide GELU feed-forwards that have biases",
       "few, with SiLU"},
      {"heads", "key/value heads", "one for each query head", "one for four"},
      {"mask", "training mask", "inverted", "right"},
      {"initialisation", "initialisation of the tied matrix", "standard normal", "as a linear layer"},
      {"dropout", "dropout", "0.1", "none"},
  }};
  return all;
}

std::string Run::name() const {
  std::string text;
  for (const bool one : before) text += one ? 'B' : 'A';
  return text + "-" + std::to_string(seed);
}

std::vector<Run> designed_runs(std::uint32_t seeds) {
  std::vector<Run> all;
  for (std::uint32_t seed = 1; seed <= seeds; ++seed) {
    for (unsigned bits = 0; bits < 1u << kFactors; ++bits) {
      Run run;
      run.seed = seed;
      for (std::size_t i = 0; i < kFactors; ++i) run.before[i] = (bits >> i & 1u) != 0;
      if (std::count(run.before.begin(), run.before.end(), true) % 2 == 1) all.push_back(run);
    }
    all.push_back({{}, seed, false});
  }
  return all;
}

std::vector<Effect> effects_of(const std::vector<Run>& runs, const std::vector<double>& responses,
                               std::optional<bool> mask) {
  struct Cell {
    Levels before{};
    std::vector<double> responses;
  };
  std::map<Levels, Cell> cells;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!runs[i].designed || (mask && runs[i].before[kMask] != *mask)) continue;
    auto& cell = cells[runs[i].before];
    cell.before = runs[i].before;
    cell.responses.push_back(responses.at(i));
  }
  double variances = 0, squared = 0, count = 0;
  bool repeated = false;
  for (const auto& [levels, cell] : cells) {
    const auto runs_of_it = static_cast<double>(cell.responses.size());
    count += runs_of_it;
    if (runs_of_it < 2) continue;
    repeated = true;
    double mean = 0, squares = 0;
    for (const double one : cell.responses) mean += one / runs_of_it;
    for (const double one : cell.responses) squares += (one - mean) * (one - mean);
    const double variance = squares / (runs_of_it - 1);
    variances += variance;
    squared += variance * variance / (runs_of_it - 1);
  }
  if (!repeated) throw std::logic_error("effects need runs that differ in their seed alone");
  // Each side has half of all runs. Cells vary unlike each other: a saturated one not at all (Welch 1947;
  // Satterthwaite 1946). Where none varies, nothing is known of the error.
  const double error = std::sqrt(variances / static_cast<double>(cells.size()) * 4 / count);
  const double freedom = error > 0 ? variances * variances / squared : 1;
  const boost::math::students_t student(freedom);
  const double reach = error > 0 ? boost::math::quantile(student, 0.975) * error : 0;

  const auto of = [&](const std::vector<std::size_t>& which) {
    double value = 0;
    for (const auto& [levels, cell] : cells) {
      double sign = 1;
      for (const auto factor : which) sign *= cell.before[factor] ? 1 : -1;
      for (const double one : cell.responses) value += sign * one / (count / 2);
    }
    Effect effect{which, value, {value - reach, value + reach}, 1};
    if (error > 0)
      effect.chance = 2 * boost::math::cdf(boost::math::complement(student, std::abs(value) / error));
    return effect;
  };
  std::vector<Effect> effects;
  const auto looked_at = [&](std::size_t factor) { return !mask || factor != kMask; };
  for (std::size_t i = 0; i < kFactors; ++i)
    if (looked_at(i)) effects.push_back(of({i}));
  for (std::size_t i = 0; i < kFactors; ++i)
    for (std::size_t j = i + 1; j < kFactors; ++j)
      // Of runs with one mask alone the design has resolution IV: a pair there is another pair as well.
      if (!mask && looked_at(i) && looked_at(j)) effects.push_back(of({i, j}));
  return effects;
}

}  // namespace plumbline
