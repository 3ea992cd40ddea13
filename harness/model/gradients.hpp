// The reference model's loss and its gradients, by automatic differentiation.
#pragma once

#include <set>
#include <string>

#include "harness/model/model.hpp"

namespace plumbline {

struct Gradients {
  at::Tensor loss;                       // ()
  Weights parameters;                    // of the loss with respect to each parameter, by canonical name
  std::set<std::string> unreached = {};  // parameters that the loss does not depend on; their gradients are 0
};

// The gradients of formulas().loss(logits, labels); labels (B, T) int64.
Gradients gradients(const Model& model, const Tokens& tokens, const at::Tensor& labels,
                    const PassOptions& options);

// A vector of +1 and -1 of the parameter's shape, float32, CPU: element e is +1 where bit e mod 32 (0 is the
// lowest) of word e div 32 of the Philox stream "direction/NUMBER/NAME" is set, as in
// golden/oracle/gradients.py.
at::Tensor random_direction(const ParameterShape& parameter, std::int64_t number, std::uint32_t seed);

// Directional derivatives of the loss along the parameter's first random directions, from its gradient:
// (directions) float64, CPU.
at::Tensor slopes(const std::string& name, const at::Tensor& gradient, std::int64_t directions,
                  std::uint32_t seed);

}  // namespace plumbline
