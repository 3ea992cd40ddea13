// Training steps of the reference model.
#pragma once

#include "harness/model/gradients.hpp"

namespace plumbline {

// One optimiser step for each batch.
struct TrainingRun {
  at::Tensor tokens, labels;  // (steps, B, T) int64
  AdamW optimiser;
};

struct TrainingOutcome {
  at::Tensor losses;   // (steps), each of the parameters before the step
  Weights parameters;  // after the last step
};

// Starts from the model's weights, in training mode without dropout.
TrainingOutcome train(const Model& model, const TrainingRun& run);

}  // namespace plumbline
