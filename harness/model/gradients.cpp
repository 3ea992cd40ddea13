#include "harness/model/gradients.hpp"

#include <ATen/core/grad_mode.h>

namespace plumbline {

at::Tensor next_token_loss(const at::Tensor& logits, const at::Tensor& labels) {
  const auto predicted = logits.narrow(1, 0, logits.size(1) - 1).flatten(0, 1);  // (B (T - 1), V)
  const auto wanted = labels.narrow(1, 1, labels.size(1) - 1).flatten();         // (B (T - 1))
  return at::cross_entropy_loss(predicted.to(accumulation_type(logits.scalar_type())),
                                wanted.to(logits.device()), {}, at::Reduction::Mean, kIgnored);
}

Gradients gradients(const Model& model, const Tokens& tokens, const at::Tensor& labels,
                    const PassOptions& options) {
  const at::AutoGradMode with_gradients(true);
  Weights leaves;
  for (const auto& [name, values] : model.weights())
    leaves.emplace(name, values.detach().clone().set_requires_grad(true));
  const Model differentiable(model.specification(), leaves, model.formulas());
  const auto loss = next_token_loss(differentiable.forward(tokens, options), labels);
  loss.backward();
  Gradients result{loss.detach(), {}};
  for (const auto& [name, leaf] : leaves)
    result.parameters.emplace(name, leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
  return result;
}

}  // namespace plumbline
