// How a token is drawn: the settings, and the numbers that decide.
#pragma once

#include <cstdint>
#include <string>

namespace plumbline {

// Applied in this order, which is that of transformers' generate.
struct Sampling {
  double repetition_penalty = 1;  // Keskar et al. 2019 (CTRL), formula 3, of what stands before; 1: none
  double temperature = 1;         // 0: greedy, the largest logit, of equal ones that of the lowest id
  std::int64_t top_k = 0;  // Fan et al. 2018: of the k largest logits, and any equal to the last; 0: of all
  double top_p = 1;  // Holtzman et al. 2020, section 3.1: of the fewest that together have this probability
  bool greedy() const { return temperature == 0; }
  std::string strategy() const { return greedy() ? "greedy" : "sampled"; }
};

// The number in [0, 1) that decides on token `step` of sample `row`: a function of these and of the seed
// alone, whatever else is in the batch. 53 bits of a Philox block.
double uniform_of(std::uint32_t seed, std::uint64_t row, std::uint64_t step);

}  // namespace plumbline
