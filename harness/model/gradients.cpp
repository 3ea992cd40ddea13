#include "harness/model/gradients.hpp"

#include <ATen/core/grad_mode.h>

namespace plumbline {

Gradients gradients(const Model& model, const Tokens& tokens, const at::Tensor& labels,
                    const PassOptions& options) {
  const at::AutoGradMode with_gradients(true);
  Weights leaves;
  for (const auto& [name, values] : model.weights())
    leaves.emplace(name, values.detach().clone().set_requires_grad(true));
  const Model differentiable(model.specification(), leaves, model.formulas());
  const auto loss = model.formulas().loss(differentiable.forward(tokens, options), labels);
  loss.backward();
  Gradients result{loss.detach(), {}};
  for (const auto& [name, leaf] : leaves)
    result.parameters.emplace(name, leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
  return result;
}

}  // namespace plumbline
