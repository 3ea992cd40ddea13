// Chapter 6: feed-forward, norms, residuals.
#include "suites/suite.hpp"

namespace plumbline {
namespace {

at::Tensor shown(const Stages& stages, const std::string& name) {
  const auto found = stages.find(name);
  if (found == stages.end()) not_assessed(fmt::format("the candidate does not show {}", name));
  return found->second.to(at::kDouble);
}

std::string in_layer(std::int64_t layer, const char* name) { return fmt::format("layers.{}.{}", layer, name); }

at::Tensor weight(const std::string& name) { return subject().exact().weights().at(name).to(at::kCPU); }

}  // namespace

REQUIREMENT("BLK-1", "the feed-forward is down(activation(gate(x)) * up(x))") {
  expect_replayed({"gate", "up", "gated", "feed_forward_out"}, observe(standard_probe()), standard_probe(), "evaluation");
}

REQUIREMENT("BLK-2", "the activation computed is the specification's and none of its relatives") {
  const auto& s = subject().specification();
  const auto stages = observe(standard_probe());
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer) {
    const auto gate = shown(stages, in_layer(layer, "gate")), up = shown(stages, in_layer(layer, "up"));
    const auto right = gated_unit(gate, up, s.hidden_act);
    const auto unit = unit_roundoff(subject().candidate().type());
    std::vector<std::pair<std::string, at::Tensor>> relatives{{"ReLU", gate.relu() * up}, {"no activation", gate * up}};
    for (const auto activation : {Activation::silu, Activation::gelu, Activation::gelu_tanh})
      // In bfloat16 the two forms of GELU are closer than its roundings; float32 tells them apart.
      if (activation != s.hidden_act && !(unit > 1e-4 && activation != Activation::silu && s.hidden_act != Activation::silu))
        relatives.emplace_back(to_string(activation), gated_unit(gate, up, activation));
    expect_told_apart(in_layer(layer, "gated"), shown(stages, in_layer(layer, "gated")), right, relatives,
                      Tolerance::each(4 * unit * right.abs() + 8 * 0x1p-24 * (gate * up).abs(), "an activation and one product"));
  }
}

REQUIREMENT("BLK-3", "gate and up are not swapped") {
  const auto& s = subject().specification();
  const auto stages = observe(standard_probe());
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer) {
    // From the weights, not from what the candidate calls gate and up.
    const auto x = shown(stages, in_layer(layer, "feed_forward_norm"));
    const auto branch = [&](const char* name) {
      const auto prefix = fmt::format("model.layers.{}.mlp.{}", layer, name);
      auto y = at::linear(x, weight(prefix + ".weight"));
      return s.mlp_bias ? y + weight(prefix + ".bias") : y;
    };
    const auto gate = branch("gate_proj"), up = branch("up_proj");
    const auto right = gated_unit(gate, up, s.hidden_act);
    expect_told_apart(in_layer(layer, "gated"), shown(stages, in_layer(layer, "gated")), right,
                      {{"gate and up swapped", gated_unit(up, gate, s.hidden_act)}}, subject().noise("gated", right));
  }
}

REQUIREMENT("BLK-4", "the projections are the parameters alone") {
  expect_replayed({"q", "k", "v", "attention_out", "gate", "up", "feed_forward_out", "logits"}, observe(standard_probe()), standard_probe(), "evaluation");
}

REQUIREMENT("BLK-5", "RMSNorm is x / sqrt(mean(x^2) + eps), in float32, then times its weight") {
  expect_replayed({"attention_norm", "feed_forward_norm", "final_norm"}, observe(standard_probe()), standard_probe(), "evaluation");
}

REQUIREMENT("BLK-6", "RMSNorm subtracts no mean") {
  const auto& s = subject().specification();
  const auto stages = observe(standard_probe());
  const auto x = shown(stages, "embedding"), w = weight("model.layers.0.input_layernorm.weight");
  const auto right = rms_norm(x, w, s.rms_norm_eps, NormPrecision::float32);
  expect_told_apart("layers.0.attention_norm", shown(stages, "layers.0.attention_norm"), right,
                    {{"a norm of centred values", rms_norm(x - x.mean(-1, true), w, s.rms_norm_eps, NormPrecision::float32)},
                     {"eps outside the root", w * x / (x.square().mean(-1, true).sqrt() + s.rms_norm_eps)},
                     {"no weight", rms_norm(x, at::ones_like(w), s.rms_norm_eps, NormPrecision::float32)}},
                    subject().noise("attention_norm", right));
}

REQUIREMENT("BLK-7", "each residual is added once, to what entered the block") {
  expect_replayed({"after_attention", "after_feed_forward"}, observe(standard_probe()), standard_probe(), "evaluation");
}

REQUIREMENT("BLK-8", "norms stand before attention, before the feed-forward, and once at the end") {
  const auto& s = subject().specification();
  const auto stages = observe(standard_probe());
  const auto expect_norm = [&](const std::string& stage, const at::Tensor& x, const std::string& parameter) {
    const auto right = rms_norm(x, weight(parameter), s.rms_norm_eps, NormPrecision::float32);
    expect_told_apart(stage, shown(stages, stage), right, {{"no norm", x}}, subject().noise(stage, right));
  };
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer) {
    const auto parameter = [&](const char* name) { return fmt::format("model.layers.{}.{}.weight", layer, name); };
    const auto entering = layer == 0 ? shown(stages, "embedding") : shown(stages, in_layer(layer - 1, "after_feed_forward"));
    expect_norm(in_layer(layer, "attention_norm"), entering, parameter("input_layernorm"));
    expect_norm(in_layer(layer, "feed_forward_norm"), shown(stages, in_layer(layer, "after_attention")), parameter("post_attention_layernorm"));
  }
  expect_norm("final_norm", shown(stages, in_layer(s.num_hidden_layers - 1, "after_feed_forward")), "model.norm.weight");
  expect_replayed({"embedding", "logits"}, stages, standard_probe(), "evaluation");
}

}  // namespace plumbline
