// The reference model's loss and its gradients, by automatic differentiation.
#pragma once

#include "harness/model/model.hpp"

namespace plumbline {

struct Gradients {
  at::Tensor loss;     // no dimensions
  Weights parameters;  // of the loss with respect to each parameter, by canonical name
};

// Of the loss that the model's formulas make of its logits; labels (B, T) int64.
Gradients gradients(const Model& model, const Tokens& tokens, const at::Tensor& labels,
                    const PassOptions& options);

}  // namespace plumbline
