#include "harness/model/training_steps.hpp"

#include <ATen/core/grad_mode.h>
#include <torch/optim/adamw.h>

#include <catch2/catch_test_macros.hpp>

using namespace plumbline;

namespace {

Model tiny() {
  static const auto specification =
      find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  return {specification,
          convert(discriminating_weights(specification.parameters(), 1), at::kDouble, at::kCPU)};
}

TrainingRun some_run(std::int64_t steps) {
  const auto ids = probe_tokens("training", steps * 2, 7, 101, 1).view({steps, 2, 7});
  return {ids, ids, {.learning_rate = 1e-2, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-3, .weight_decay = 0.3}};
}

}  // namespace

TEST_CASE("training: a step of AdamW is that of torch.optim", "[model][training]") {
  const auto run = some_run(3);
  auto parameter = at::arange(24, at::kDouble).cos().view({4, 6});
  auto theirs = parameter.clone().set_requires_grad(true);
  torch::optim::AdamW optimiser({theirs}, torch::optim::AdamWOptions(run.optimiser.learning_rate)
                                              .betas({run.optimiser.beta1, run.optimiser.beta2})
                                              .eps(run.optimiser.eps)
                                              .weight_decay(run.optimiser.weight_decay));
  Moments moments;
  for (std::int64_t step = 1; step <= 4; ++step) {
    const auto gradient = at::arange(24, at::kDouble).mul(step).sin().view({4, 6});
    parameter = adamw(parameter, gradient, moments, step, run.optimiser);
    theirs.mutable_grad() = gradient.clone();
    optimiser.step();
    CAPTURE(step);
    CHECK((parameter - theirs.detach()).abs().max().item<double>() < 1e-14);
  }
}

TEST_CASE("training: what the loss does not depend on stays as it is, as in torch.optim",
          "[model][training]") {
  const auto model = tiny();
  auto formulas = model.formulas();
  formulas.has_norm = [](const std::string& name) { return name != "model.norm"; };
  const Model without(model.specification(), model.weights(), formulas);
  const auto trained = train(without, some_run(2));
  for (const auto& [name, before] : model.weights()) {
    CAPTURE(name);
    CHECK(trained.parameters.at(name).equal(before) == (name == "model.norm.weight"));
  }
}

TEST_CASE("training: losses are those before each step, and every parameter moves", "[model][training]") {
  const auto model = tiny();
  const auto run = some_run(3);
  const auto trained = train(model, run);
  REQUIRE(trained.losses.sizes() == at::IntArrayRef({3}));
  CHECK(trained.losses[0].item<double>() ==
        next_token_loss(model.forward({run.tokens[0], {}, Padding::none}), run.labels[0]).item<double>());
  CHECK(trained.parameters.size() == model.weights().size());
  for (const auto& [name, before] : model.weights()) {
    CAPTURE(name);
    CHECK((trained.parameters.at(name) - before).abs().max().item<double>() > 1e-4);
  }
  // Two steps, then the third's loss.
  const auto two = train(model, {run.tokens.narrow(0, 0, 2), run.labels.narrow(0, 0, 2), run.optimiser});
  const Model then(model.specification(), two.parameters);
  CHECK(trained.losses[2].item<double>() ==
        next_token_loss(then.forward({run.tokens[2], {}, Padding::none}), run.labels[2]).item<double>());
}

TEST_CASE("training: without a learning rate nothing moves", "[model][training]") {
  const auto model = tiny();
  auto run = some_run(2);
  run.optimiser.learning_rate = 0;
  const auto trained = train(model, run);
  for (const auto& [name, before] : model.weights()) CHECK(trained.parameters.at(name).equal(before));
}
