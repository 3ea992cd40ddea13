// The settings of sampling, and its random numbers.
#pragma once

#include <cstdint>
#include <string>

namespace plumbline {

// Applied in this order, as transformers' generate does.
struct Sampling {
  double repetition_penalty = 1;  // Keskar et al. 2019 (CTRL), formula 3, of all previous tokens; 1: none
  double temperature = 1;         // 0: greedy; of equal logits the one of the lowest id
  std::int64_t top_k = 0;  // Fan et al. 2018: keeps the k largest logits and any equal to the last; 0: all
  double top_p = 1;  // Holtzman et al. 2020, section 3.1: keeps the fewest tokens of this total probability
  bool greedy() const { return temperature == 0; }
  std::string strategy() const { return greedy() ? "greedy" : "sampled"; }
};

// The random number in [0, 1) for token `step` of sample `row`, 53 bits of a Philox block. It depends on
// nothing but its arguments, so that a sample does not depend on the rest of its batch.
double uniform_of(std::uint32_t seed, std::uint64_t row, std::uint64_t step);

}  // namespace plumbline
