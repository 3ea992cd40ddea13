// Detects whether a model sees the tokens that it is trained to predict, by a likelihood ratio against a
// source of known probabilities.
#pragma once

#include "harness/candidate/candidate.hpp"

namespace plumbline {

// The probability of a false detection.
constexpr double kLeakError = 1e-6;

// In nats: sums of ln Q - ln P over predicted tokens, Q the candidate's probabilities by its own loss before
// each step, P the source's.
struct Leak {
  double total_gain = 0;
  double largest_gain = 0;  // between any two steps; NaN where a loss is NaN
  bool finite = true;       // every loss is a finite number
  std::int64_t largest_gain_step = 0;
  double allowed = 0;             // ln(steps / kLeakError) + rounding_allowance
  double rounding_allowance = 0;  // of the losses
  std::int64_t steps = 0, pairs = 0;
  at::Tensor loss, source_loss;  // (steps) float64: nats per token of the candidate and of the source
  bool none() const { return finite && largest_gain <= allowed; }
};

// Trains the candidate, from the loaded weights, on a stream of pairs of independent tokens. A model that
// predicts the second better than its probability sees it: each prediction precedes its step, so that without
// a leak Q / P is a supermartingale with expectation at most 1, which exceeds 1 / alpha at any time with
// probability at most alpha (Ville 1939). The same holds for the mean of n such ratios, one from each step
// on, and the largest of them is at most n times their mean. With pairs, a position that sees the next one
// has half its attention there from the beginning, so that a leak is learned within a few steps. Errors: what
// the candidate throws.
Leak detect_leak(Candidate& candidate, std::int64_t vocabulary, const AdamW& optimiser, std::uint32_t seed);

}  // namespace plumbline
