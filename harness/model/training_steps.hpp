// Training steps of the reference model.
#pragma once

#include "harness/model/gradients.hpp"

namespace plumbline {

// One optimiser step for each batch.
struct TrainingRun {
  at::Tensor tokens, labels;  // (steps, B, T) int64
  AdamW optimiser;
  at::Tensor evaluated_after =
      {};  // tokens (B, T) of a pass in evaluation mode after the last step; may be undefined
};

struct TrainingOutcome {
  at::Tensor losses;   // (steps), each of the parameters before the step
  Weights parameters;  // after the last step
  at::Tensor logits;   // of `evaluated_after`: (B, T, V)
};

// Starts from the model's weights, in training mode without dropout.
TrainingOutcome train(const Model& model, const TrainingRun& run);

}  // namespace plumbline
