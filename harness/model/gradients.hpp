// The reference model's loss and its gradients, by automatic differentiation.
#pragma once

#include "harness/model/model.hpp"

namespace plumbline {

// Labels that count for nothing.
constexpr std::int64_t kIgnored = -100;

struct Gradients {
  at::Tensor loss;     // no dimensions
  Weights parameters;  // of the loss with respect to each parameter, by canonical name
};

// Mean cross-entropy of predicting labels[t] from the tokens before it, labels (B, T) int64: logits[t - 1] is
// compared with labels[t], kIgnored counts for nothing; in float32 (float64 for a float64 model).
at::Tensor next_token_loss(const at::Tensor& logits, const at::Tensor& labels);

Gradients gradients(const Model& model, const Tokens& tokens, const at::Tensor& labels,
                    const PassOptions& options);

}  // namespace plumbline
