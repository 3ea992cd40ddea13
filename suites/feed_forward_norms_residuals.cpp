// Chapter 6: feed-forward, norms, residuals.
#include "harness/evidence/closed_form.hpp"
#include "suites/requirement.hpp"

namespace plumbline {
namespace {

at::Tensor weight(Subject& subject, const std::string& name) {
  return subject.exact().weights().at(name).to(at::kCPU);
}

}  // namespace

REQUIREMENT("BLK-1", "the feed-forward is down(activation(gate(x)) * up(x))") {
  expect_replayed(subject, {"gate", "up", "gated", "feed_forward_out"},
                  observe(subject, standard_probe(subject)), standard_probe(subject), "evaluation");
}

REQUIREMENT("BLK-2", "the activation that is computed is the specification's, and not a similar one") {
  const auto& s = subject.specification();
  const auto stages = observe(subject, standard_probe(subject));
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer) {
    const auto gate = shown(stages, {"gate", layer}), up = shown(stages, {"up", layer});
    const Stage gated{"gated", layer};
    const auto replay = require_replay(subject, gated, stages, standard_probe(subject));
    const auto unit = unit_roundoff(subject.candidate().type());
    std::vector<std::pair<std::string, at::Tensor>> other_activations{{"ReLU", gate.relu() * up},
                                                                      {"no activation", gate * up}};
    for (const auto activation : {Activation::silu, Activation::gelu, Activation::gelu_tanh})
      // In bfloat16 the two forms of GELU are closer than its roundings; float32 tells them apart.
      if (activation != s.hidden_act &&
          !(unit > 1e-4 && activation != Activation::silu && s.hidden_act != Activation::silu))
        other_activations.emplace_back(to_string(activation), closed_form::activation(gate, activation) * up);
    expect_distinguishable(subject, to_string(gated), shown(stages, gated), replay.expected,
                           other_activations, replay.tolerance);
  }
}

REQUIREMENT("BLK-3", "gate and up are not swapped") {
  const auto& s = subject.specification();
  const auto tokens = standard_probe(subject);
  const auto stages = observe(subject, tokens);
  expect_replayed(subject, {"gate", "up"}, stages, tokens,
                  "evaluation");  // each from the weights of its name
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer) {
    const Stage gated{"gated", layer};
    const auto replay = require_replay(subject, gated, stages, tokens);
    expect_distinguishable(
        subject, to_string(gated), shown(stages, gated), replay.expected,
        {{"gate and up swapped", closed_form::activation(shown(stages, {"up", layer}), s.hidden_act) *
                                     shown(stages, {"gate", layer})}},
        replay.tolerance);
  }
}

REQUIREMENT("BLK-4", "the projections are the parameters alone") {
  expect_replayed(subject, {"q", "k", "v", "attention_out", "gate", "up", "feed_forward_out", "logits"},
                  observe(subject, standard_probe(subject)), standard_probe(subject), "evaluation");
}

REQUIREMENT("BLK-5", "RMSNorm is x / sqrt(mean(x^2) + eps), in float32, then times its weight") {
  expect_replayed(subject, {"attention_norm", "feed_forward_norm", "final_norm"},
                  observe(subject, standard_probe(subject)), standard_probe(subject), "evaluation");
}

REQUIREMENT("BLK-6", "RMSNorm does not subtract the mean") {
  const auto& s = subject.specification();
  const auto stages = observe(subject, standard_probe(subject));
  const auto x = shown(stages, {"embedding"}), w = weight(subject, "model.layers.0.input_layernorm.weight");
  const Stage first_norm{"attention_norm", 0};
  const auto replay = require_replay(subject, first_norm, stages, standard_probe(subject));
  std::vector<std::pair<std::string, at::Tensor>> mistakes = {
      {"a norm of centred values", closed_form::rms_norm(x - x.mean(-1, true), w, s.rms_norm_eps)},
      {"eps outside the root", w * x / (x.square().mean(-1, true).sqrt() + s.rms_norm_eps)}};
  if (!subject.missing_parameters().contains("model.layers.0.input_layernorm.weight"))
    mistakes.emplace_back("no weight", closed_form::rms_norm(x, at::ones_like(w), s.rms_norm_eps));
  expect_distinguishable(subject, to_string(first_norm), shown(stages, first_norm), replay.expected, mistakes,
                         replay.tolerance);
}

REQUIREMENT("BLK-7", "each residual is added once, to the block's input") {
  expect_replayed(subject, {"after_attention", "after_feed_forward"},
                  observe(subject, standard_probe(subject)), standard_probe(subject), "evaluation");
}

REQUIREMENT("BLK-8", "norms come before attention, before the feed-forward, and once at the end") {
  const auto& s = subject.specification();
  const auto stages = observe(subject, standard_probe(subject));
  const auto expect_norm = [&](const Stage& stage, const Stage& from) {
    const auto replay = require_replay(subject, stage, stages, standard_probe(subject));
    expect_distinguishable(subject, to_string(stage), shown(stages, stage), replay.expected,
                           {{"no norm", shown(stages, from)}}, replay.tolerance);
  };
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer) {
    expect_norm({"attention_norm", layer},
                layer == 0 ? Stage{"embedding"} : Stage{"after_feed_forward", layer - 1});
    expect_norm({"feed_forward_norm", layer}, {"after_attention", layer});
  }
  expect_norm({"final_norm"}, {"after_feed_forward", s.num_hidden_layers - 1});
  expect_replayed(subject, {"embedding", "logits"}, stages, standard_probe(subject), "evaluation");
}

}  // namespace plumbline
