// Samples the next token from logits.
#pragma once

#include <cstdint>
#include <span>

#include "harness/model/sampling.hpp"
#include "harness/text/substrings.hpp"

namespace plumbline {

// Errors: InputError naming an invalid setting.
void require_possible(const Sampling& sampling);

struct Choice {
  Token token = 0;
  // A lower bound, in logits, of the change of logits that changes the choice. A change of all logits by d
  // changes the cumulative distribution by at most tanh(d / 2T); a token at the edge of top-k or top-p
  // crosses it only where its neighbour is as near, or the mass in between reaches the random number.
  double margin = 0;
};

// Draws from next_probabilities (harness/model/formulas.hpp), faster than these and verified against them.
// `uniform`: the random number in [0, 1), not used by greedy. `previous`: the tokens so far, prompt included.
// Errors: std::domain_error where no logit is finite, or one is NaN.
Choice choose(std::span<const float> logits, const Sampling& sampling, Sequence previous, double uniform);

}  // namespace plumbline
