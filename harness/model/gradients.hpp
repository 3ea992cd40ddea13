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

// +1 and -1 for each element, float32, CPU: element e is +1 where bit e mod 32 (0 is the lowest) of word e
// div 32 of the Philox stream "direction/NUMBER/NAME" is set, as in golden/oracle/gradients.py.
at::Tensor random_direction(const ParameterShape& parameter, std::int64_t number, std::uint32_t seed);

// The slopes of the loss along the parameter's first random directions, from its gradient: (directions)
// float64, CPU.
at::Tensor slopes(const std::string& name, const at::Tensor& gradient, std::int64_t directions,
                  std::uint32_t seed);

}  // namespace plumbline
