#include "harness/model/gradients.hpp"

#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "harness/model/philox.hpp"

using namespace plumbline;

namespace {

const Specification& tiny() {
  static const auto specification =
      find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  return specification;
}

Weights weights() {
  return convert(discriminating_weights(tiny().parameters(), 1), at::kDouble, at::kCPU);
}

Tokens tokens() {
  return {probe_tokens("gradients", 3, 7, tiny().vocab_size, 1), {}, Padding::none};
}

double loss_of(const Weights& weights, const Tokens& tokens, const at::Tensor& labels) {
  return next_token_loss(Model(tiny(), weights).forward(tokens), labels).item<double>();
}

}  // namespace

TEST_CASE("gradients: the loss is the mean of -log p(next token) over the labels that count",
          "[model][gradients]") {
  const auto logits = at::arange(2 * 3 * 4, at::kDouble).sin().view({2, 3, 4});
  const auto labels =
      at::tensor(at::ArrayRef<std::int64_t>({9, 2, 0, 9, 3, kIgnoredLabel}), at::kLong).view({2, 3});
  const auto log_p = [&](std::int64_t row, std::int64_t t, std::int64_t label) -> double {
    const at::Tensor values = logits[row][t];
    return at::log_softmax(values, 0)[label].item<double>();
  };
  const double expected = -(log_p(0, 0, 2) + log_p(0, 1, 0) + log_p(1, 0, 3)) / 3;
  CHECK(std::abs(next_token_loss(logits, labels).item<double>() - expected) < 1e-14);
}

TEST_CASE("gradients: each parameter's is the slope of the loss along it", "[model][gradients]") {
  auto labels = tokens().ids.clone();
  labels.narrow(1, 2, 1).fill_(kIgnoredLabel);
  const auto at_weights = weights();
  const auto found = gradients(Model(tiny(), at_weights), tokens(), labels, {});
  CHECK(found.loss.item<double>() == loss_of(at_weights, tokens(), labels));
  REQUIRE(found.parameters.size() == tiny().parameters().size());
  const double step = 1e-7;
  for (const auto& [name, gradient] : found.parameters) {
    CAPTURE(name);
    const auto direction = at::arange(gradient.numel(), at::kDouble).cos().view(gradient.sizes());
    auto forward = at_weights, backward = at_weights;
    forward[name] = at_weights.at(name) + step * direction;
    backward[name] = at_weights.at(name) - step * direction;
    const double slope =
        (loss_of(forward, tokens(), labels) - loss_of(backward, tokens(), labels)) / (2 * step);
    const double expected = (gradient * direction).sum().item<double>();
    CHECK(std::abs(slope - expected) < 1e-6 * (1 + gradient.abs().sum().item<double>()));
  }
}

TEST_CASE("gradients: random directions are the bits that the oracle takes", "[model][gradients]") {
  const auto signs = [](const std::string& name, std::vector<std::int64_t> shape, std::int64_t number) {
    const auto direction = random_direction({name, std::move(shape)}, number, 1).flatten();
    CHECK(direction.abs().eq(1).all().item<bool>());
    std::string text;
    for (std::int64_t element = 0; element < 40; ++element)
      text += direction[element].item<float>() > 0 ? '+' : '-';
    return text;
  };
  // The same signs stand in golden/oracle/test_oracle.py.
  CHECK(signs("model.embed_tokens.weight", {101, 48}, 0) == "+--+++---++++-+-----+-+++--+-+--+-+++-++");
  CHECK(signs("model.norm.weight", {48}, 1) == "--++----+-+++++-+---++--+++++-+--++-++++");
  const auto direction = random_direction({"lm_head.weight", {300, 1000}}, 3, 1);
  CHECK(std::abs(direction.sum().item<double>()) < 5 * std::sqrt(300'000.0));
  const PhiloxStream stream("direction/3/lm_head.weight", 1);
  for (const std::int64_t element : {0, 31, 32, 127, 128, 131'072, 299'999}) {
    const auto word = stream.block(static_cast<std::uint64_t>(element / 128))[element / 32 % 4];
    CHECK(direction.flatten()[element].item<float>() == ((word >> (element % 32) & 1) != 0 ? 1 : -1));
  }
}

TEST_CASE("gradients: a slope is the gradient's elements added and subtracted", "[model][gradients]") {
  const auto gradient = at::arange(48, at::kFloat).cos();
  const auto found = slopes("model.norm.weight", gradient, 3, 1);
  REQUIRE(found.sizes() == at::IntArrayRef({3}));
  CHECK(found.scalar_type() == at::kDouble);
  for (std::int64_t number = 0; number < 3; ++number) {
    const auto direction = random_direction({"model.norm.weight", {48}}, number, 1);
    double expected = 0;
    for (std::int64_t element = 0; element < 48; ++element)
      expected += direction[element].item<double>() * gradient[element].item<double>();
    CHECK(std::abs(found[number].item<double>() - expected) < 1e-13);
  }
  CHECK(slopes("model.norm.weight", at::zeros({0}), 2, 1).eq(0).all().item<bool>());
}

TEST_CASE("gradients: a parameter that the loss does not depend on has zeros", "[model][gradients]") {
  Formulas formulas;
  formulas.transform_value = [](const at::Tensor& v, const at::Tensor&) { return at::zeros_like(v); };
  const auto found = gradients(Model(tiny(), weights(), formulas), tokens(), tokens().ids, {});
  CHECK(found.parameters.at("model.layers.0.self_attn.v_proj.weight").abs().max().item<double>() == 0);
  CHECK(found.parameters.at("model.layers.0.mlp.up_proj.weight").abs().max().item<double>() > 0);
}
