// The next token from logits: how a model's answer becomes text.
#pragma once

#include <cstdint>
#include <span>

#include "harness/model/sampling.hpp"
#include "harness/text/substrings.hpp"

namespace plumbline {

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

// A draw from next_probabilities (harness/model/formulas.hpp), fast, and verified against them. `uniform` in
// [0, 1) decides; greedy does without. `before`: the tokens so far, prompt included. Errors:
// std::domain_error where no logit is finite, or one is NaN.
Choice choose(std::span<const float> logits, const Sampling& sampling, Sequence before, double uniform);

}  // namespace plumbline
