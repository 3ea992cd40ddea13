#include "harness/model/training_steps.hpp"

#include <vector>

namespace plumbline {

Trained train(const Model& model, const TrainingRun& run) {
  PassOptions options;
  options.training = true;
  auto weights = model.weights();
  std::map<std::string, Moments> moments;
  std::vector<at::Tensor> losses;
  for (std::int64_t step = 0; step < run.tokens.size(0); ++step) {
    const auto now = model.with(weights);
    const auto found = gradients(now, {run.tokens[step], {}, Padding::none}, run.labels[step], options);
    losses.push_back(found.loss);
    for (const auto& [name, gradient] : found.parameters)
      if (!found.unreached.contains(name))  // those no optimiser of PyTorch's touches, not even to decay them
        weights[name] =
            model.formulas().optimise(weights.at(name), gradient, moments[name], step + 1, run.optimiser);
  }
  return {losses.empty() ? at::zeros({0}) : at::stack(losses), std::move(weights)};
}

}  // namespace plumbline
