#include "harness/model/training_steps.hpp"

#include <vector>

#include "harness/model/pass_work.hpp"
#include "harness/system/work_clock.hpp"

namespace plumbline {

TrainingOutcome train(const Model& model, const TrainingRun& run) {
  PassOptions options;
  options.training = true;
  auto weights = model.weights();
  std::map<std::string, Moments> moments;
  Weights taken;  // the gradients of the step before
  std::vector<at::Tensor> losses;
  for (std::int64_t step = 0; step < run.tokens.size(0); ++step) {
    const auto current = model.with_weights(weights);
    const auto result = gradients(current, {run.tokens[step], {}, Padding::none}, run.labels[step], options);
    losses.push_back(result.loss);
    WorkClock::add(step_work(model.specification()));
    for (const auto& [name, gradient] : result.parameters) {
      if (result.unreached.contains(name)) continue;  // PyTorch's optimisers skip what has no gradient
      taken[name] = model.formulas().step_gradient(gradient, taken[name]);
      weights[name] = model.formulas().optimiser_step(weights.at(name), taken[name], moments[name], step + 1,
                                                      run.optimiser);
    }
  }
  TrainingOutcome trained{losses.empty() ? at::zeros({0}) : at::stack(losses), std::move(weights), {}};
  if (run.evaluated_after.defined())
    trained.logits =
        model.with_weights(model.formulas().evaluated_weights(model.weights(), trained.parameters))
            .forward({run.evaluated_after, {}, Padding::none});
  return trained;
}

}  // namespace plumbline
