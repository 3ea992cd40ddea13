#include "harness/experiment/design.hpp"

#include <algorithm>
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
  std::map<Levels, std::vector<double>> cells;
  double count = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!runs[i].designed || (mask && runs[i].before[kMask] != *mask)) continue;
    cells[runs[i].before].push_back(responses.at(i));
    ++count;
  }
  // Each side has half of all runs, so all cells have the same weight. Their variances differ: a saturated
  // cell has none.
  std::vector<Variance> variances;
  for (const auto& [levels, values] : cells) {
    const auto size = static_cast<double>(values.size());
    if (values.size() > 1)
      variances.push_back({spread_of(values).variance * size * 4 / (count * count), size - 1});
  }
  if (variances.empty()) throw std::logic_error("effects need runs that differ in their seed alone");

  const auto effect_of = [&](const std::vector<std::size_t>& indices) {
    double value = 0;
    for (const auto& [levels, values] : cells) {
      double sign = 1;
      for (const auto factor : indices) sign *= levels[factor] ? 1 : -1;
      for (const double response : values) value += sign * response / (count / 2);
    }
    const auto student = students_t(value, variances, 0.95);
    return Effect{indices, value, {value - student.reach, value + student.reach}, student.chance};
  };
  std::vector<Effect> effects;
  const auto is_varied = [&](std::size_t factor) { return !mask || factor != kMask; };
  for (std::size_t i = 0; i < kFactors; ++i)
    if (is_varied(i)) effects.push_back(effect_of({i}));
  for (std::size_t i = 0; i < kFactors; ++i)
    for (std::size_t j = i + 1; j < kFactors; ++j)
      // Among runs with one mask the design has resolution IV: each pair is confounded with another pair.
      if (!mask && is_varied(i) && is_varied(j)) effects.push_back(effect_of({i, j}));
  return effects;
}

}  // namespace plumbline
