// The next token from logits: how a model's answer becomes text.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "harness/text/substrings.hpp"

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

// Errors: InputError naming the setting that means nothing.
void require_possible(const Sampling& sampling);

struct Choice {
  Token token = 0;
  // By less than this all logits may be off, and the choice is the same: a lower bound, in logits. Where each
  // moves by d, a distribution function moves by at most tanh(d / 2T), and what stands at the edge of top-k
  // or top-p changes sides only where its neighbour is as near, or the mass at stake reaches the number that
  // was drawn.
  double margin = 0;
};

// `uniform` in [0, 1) decides; greedy does without. `before`: the tokens so far, prompt included. Errors:
// std::domain_error where no logit is finite, or one is NaN.
Choice choose(std::span<const float> logits, const Sampling& sampling, Sequence before, double uniform);

// The number that decides on token `step` of sample `row`: a function of these and of the seed alone,
// whatever else is in the batch. 53 bits of a Philox block.
double uniform_of(std::uint32_t seed, std::uint64_t row, std::uint64_t step);

}  // namespace plumbline
