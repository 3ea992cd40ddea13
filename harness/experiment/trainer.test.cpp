#include "harness/experiment/trainer.hpp"

#include <ATen/Parallel.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>

#include "harness/evidence/safetensors.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

Recipe recipe(const std::string& defect = "") {
  at::set_num_threads(1);
  const auto tiny = find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  Recipe one{.model = defect.empty() ? DepartedModel{tiny, {}} : apply_departures(tiny, defect)};
  one.steps = 8;
  one.clip = 1e9;
  one.optimiser = {.learning_rate = 1e-2, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-3, .weight_decay = 0.3};
  one.seed = 3;
  return one;
}

at::Tensor batch(std::int64_t step) {
  return probe_tokens("batch " + std::to_string(step), 2, 9, 101, 1);
}

double largest_change(const Weights& before, const Weights& after) {
  double most = 0;
  for (const auto& [name, value] : before)
    most = std::max(most, (value - after.at(name)).abs().max().item<double>());
  return most;
}

}  // namespace

TEST_CASE("trainer: its steps are the reference's", "[experiment][trainer]") {
  // The first steps, at the one learning rate that they have: warmed up at once.
  auto one = recipe();
  one.steps = 1'000'000'000;
  Trainer trainer(one);
  TrainingRun run{at::stack({batch(0), batch(1), batch(2)}), at::stack({batch(0), batch(1), batch(2)}),
                  one.optimiser};
  const Model model(one.model.specification, trainer.weights());
  const auto expected = train(model, run);
  for (std::int64_t step = 0; step < 3; ++step) trainer.step(batch(step));
  for (std::int64_t step = 0; step < 3; ++step)
    CHECK(std::abs(trainer.history().losses[static_cast<std::size_t>(step)] -
                   expected.losses[step].item<double>()) < 1e-5);
  CHECK(largest_change(trainer.weights(), expected.parameters) < 1e-5);
  CHECK(largest_change(trainer.weights(), model.weights()) > 1e-2);
}

TEST_CASE("trainer: gradients together are clipped to their norm", "[experiment][trainer]") {
  auto one = recipe();
  one.optimiser.weight_decay = 0;
  one.optimiser.eps = 1e3;  // a step is then in proportion to its gradient
  Trainer whole(one);
  const auto before = whole.weights();
  whole.step(batch(0));
  const double norm = whole.history().norms[0];
  one.clip = norm / 4;
  Trainer clipped(one);
  clipped.step(batch(0));
  CHECK(clipped.history().norms[0] == norm);
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  const double ratio = ((clipped.weights().at(name) - before.at(name)).norm() /
                        (whole.weights().at(name) - before.at(name)).norm())
                           .item<double>();
  CHECK(std::abs(ratio - 0.25) < 0.05);
}

TEST_CASE("trainer: the learning rate rises, and falls by a cosine to a tenth", "[experiment][trainer]") {
  Recipe one = recipe();
  one.steps = 110;
  one.warm_up = 10;
  CHECK(std::abs(learning_rate(one, 0) - 1e-3) < 1e-12);
  CHECK(std::abs(learning_rate(one, 9) - 1e-2) < 1e-12);
  CHECK(std::abs(learning_rate(one, 10) - 1e-2) < 1e-12);
  CHECK(std::abs(learning_rate(one, 60) - 0.55e-2) < 1e-12);
  CHECK(learning_rate(one, 109) < 1.01e-3);
}

TEST_CASE("trainer: stopped and taken up again, it ends in the same bits", "[experiment][trainer]") {
  auto one = recipe();
  one.dropout = 0.3;
  one.warm_up = 2;
  const TemporaryDirectory directory;
  const auto file = directory.path() / "state.safetensors";
  Trainer whole(one);
  for (std::int64_t step = 0; step < 8; ++step) whole.step(batch(step));
  CHECK(whole.done());
  {
    Trainer first(one);
    for (std::int64_t step = 0; step < 5; ++step) first.step(batch(step));
    first.save(file, "a");
  }
  Trainer second(one);
  second.load(file, "a");
  CHECK(second.history().steps() == 5);
  for (std::int64_t step = 5; step < 8; ++step) second.step(batch(step));
  CHECK(largest_change(whole.weights(), second.weights()) == 0);
  CHECK(whole.history().losses == second.history().losses);
  CHECK(whole.history().norms == second.history().norms);

  one.dropout = 0;
  Trainer without(one);
  without.step(batch(0));
  CHECK(without.history().losses[0] != whole.history().losses[0]);
}

TEST_CASE("trainer: a state of something else is refused", "[experiment][trainer]") {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "state.safetensors";
  Trainer trainer(recipe());
  trainer.step(batch(0));
  trainer.save(file, "a");
  CHECK_THROWS_MATCHES(trainer.load(file, "b"), InputError,
                       MessageMatches(ContainsSubstring("another training")));
  write_safetensors(file, {{"losses", at::zeros({1}, at::kDouble)}, {"norms", at::zeros({1}, at::kDouble)}},
                    {{"training", "a"}});
  CHECK_THROWS_MATCHES(trainer.load(file, "a"), InputError,
                       MessageMatches(ContainsSubstring("holds no parameter.")));
  write_safetensors(file, {{"losses", at::zeros({9}, at::kDouble)}, {"norms", at::zeros({9}, at::kDouble)}},
                    {{"training", "a"}});
  CHECK_THROWS_MATCHES(trainer.load(file, "a"), InputError,
                       MessageMatches(ContainsSubstring("do not have one value for each step")));
}

TEST_CASE("trainer: a loss or a gradient that is no number stops it, with step and parameter",
          "[experiment][trainer]") {
  const auto refusal = [](Recipe one) -> std::string {
    Trainer trainer(std::move(one));
    const auto before = trainer.weights();
    try {
      trainer.step(batch(0));
    } catch (const InputError& error) {
      CHECK(largest_change(before, trainer.weights()) == 0);
      return error.what();
    }
    return "accepted";
  };
  CHECK_THAT(refusal(recipe("logits-not-a-number")),
             ContainsSubstring("step 1: the loss is nan; every parameter is a finite number"));
  auto one = recipe();
  one.model.formulas.transform_embedding = [](const at::Tensor& embedding, const at::Tensor&) {
    return embedding + (embedding * 0).sqrt();  // the root's slope at 0 is infinite
  };
  CHECK_THAT(refusal(one),
             ContainsSubstring("step 1: the gradient of model.embed_tokens.weight is no finite number"));
}

TEST_CASE("trainer: what is measured without training leaves it as it is", "[experiment][trainer]") {
  Trainer trainer(recipe("mask-inverted-in-training"));
  const auto before = trainer.weights();
  const auto held_out = at::stack({batch(8), batch(9)});
  CHECK(trainer.loss_on(held_out, true) != trainer.loss_on(held_out, false));
  CHECK(largest_change(before, trainer.weights()) == 0);
  CHECK(trainer.history().steps() == 0);
}
