// Whether a model that is trained sees what it is to predict: a likelihood ratio against a source whose every
// probability is known.
#pragma once

#include "harness/candidate/candidate.hpp"

namespace plumbline {

// The chance that a model without a leak is taken for one that has one.
constexpr double kLeakError = 1e-6;

// Nats: the sum of ln Q - ln P over what was predicted, Q the candidate's probabilities by its own loss
// before each step, P the source's.
struct Leak {
  double gained = 0;      // in all
  double most = 0;        // between any two steps; NaN where a loss is
  bool finite = true;     // every loss is a finite number
  std::int64_t when = 0;  // after which step
  double allowed = 0;     // ln(steps / kLeakError) and the losses' rounding
  double rounding = 0;    // that part of it
  std::int64_t steps = 0, pairs = 0;
  at::Tensor loss, floor;  // (steps) float64: nats a token of the candidate, and of the source itself
  bool none() const { return finite && most <= allowed; }
};

// Trains the candidate, from the weights that it has loaded, on a fresh stream of pairs of tokens that have
// nothing to do with each other. Whoever predicts the second better than its probability has seen it: each
// prediction is made before its step, so that without a leak Q / P is a martingale of expectation 1 or less,
// and exceeds 1 / alpha at any time with a probability of at most alpha (Ville 1939); so does the mean of
// such ratios, one begun at each of n steps, and the largest of them is no more than n times that mean.
// Pairs, because a position that sees the one to come then has half its attention there before it has learned
// anything, and the leak is learned within a few steps. Errors: what the candidate throws.
Leak look_for_leak(Candidate& candidate, std::int64_t vocabulary, const AdamW& optimiser, std::uint32_t seed);

}  // namespace plumbline
