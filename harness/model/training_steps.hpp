// Training the reference model, by the formulas.
#pragma once

#include "harness/model/gradients.hpp"

namespace plumbline {

// A step of AdamW on each of some batches.
struct TrainingRun {
  at::Tensor tokens, labels;  // (steps, B, T) int64
  AdamW optimiser;
};

struct Trained {
  at::Tensor losses;   // (steps), each before its step
  Weights parameters;  // after the last
};

// In training mode without dropout, from the model's own weights.
Trained train(const Model& model, const TrainingRun& run);

}  // namespace plumbline
