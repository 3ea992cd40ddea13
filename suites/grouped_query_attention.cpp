// Chapter 3: grouped-query attention.
#include <cmath>

#include "harness/judging/probes.hpp"
#include "suites/requirement.hpp"

namespace plumbline {
namespace {

// The weights with one key/value head of one projection of layer 0 set to 0.
Weights without_head(Subject& subject, const std::string& projection, std::int64_t head) {
  const auto& s = subject.specification();
  auto weights = subject.weights();
  for (const auto* part : {".weight", ".bias"}) {
    const auto found = weights.find("model.layers.0.self_attn." + projection + part);
    if (found == weights.end()) continue;
    found->second = found->second.clone();
    found->second.narrow(0, head * s.head_size(), s.head_size()).zero_();
  }
  return weights;
}

}  // namespace

REQUIREMENT("GQA-1", "repeat_kv turns (B, L, K, Dh) into (B, L, H, Dh)") {
  const auto& s = subject.specification();
  const auto repeated = subject.candidate().repeat_kv(repeat_kv_input(subject), s.repeat_factor());
  expect_equal(subject, "dimensions after repeat_kv", repeated.dim(), 4);
  if (repeated.dim() == 4)
    expect_equal(subject, "heads after repeat_kv", repeated.size(2), s.num_attention_heads);
  expect_equal(subject, "elements after repeat_kv", repeated.numel(),
               repeat_kv_input(subject).numel() * s.repeat_factor());
  // The factor is an argument, not a constant.
  const auto other = s.repeat_factor() + 1;
  const auto more = subject.candidate().repeat_kv(repeat_kv_input(subject), other);
  expect_equal(subject, fmt::format("heads after repeat_kv by {}", other),
               more.dim() == 4 ? more.size(2) : -1, s.num_key_value_heads * other);
}

REQUIREMENT("GQA-2", "query head h reads key/value head floor(h / repeat factor)") {
  const auto& spec = subject.specification();
  const auto tokens = standard_probe(subject);
  const auto unchanged = observe(subject, tokens);
  // (B, T, D) -> (B, H, T, Dh)
  const auto split = [&](const at::Tensor& context) {
    return context.unflatten(-1, {spec.num_attention_heads, spec.head_size()}).transpose(1, 2);
  };
  for (std::int64_t head = 0; head < spec.num_key_value_heads; ++head) {
    const auto readers =
        at::arange(spec.num_attention_heads).div(spec.repeat_factor(), "floor") == head;  // (H)
    const auto silenced = readers.view({1, -1, 1, 1});
    subject.with_weights(without_head(subject, "v_proj", head), [&](Candidate&) {
      const auto context = split(shown(observe(subject, tokens), {"context", 0}));
      const auto before = split(shown(unchanged, {"context", 0}));
      expect_close(subject, fmt::format("layers.0.context by head, values of head {} set to 0", head),
                   context, before.masked_fill(silenced, 0), subject.noise("context", before));
    });
    subject.with_weights(without_head(subject, "k_proj", head), [&](Candidate&) {
      // Hidden keys may have any score whose probability underflows.
      const auto scores =
          hidden_as_infinity(shown(observe(subject, tokens), {"scores", 0}), causal_mask_of(tokens));
      const auto before = hidden_as_infinity(shown(unchanged, {"scores", 0}), causal_mask_of(tokens));
      const auto expected = at::where(silenced & before.isfinite(), at::zeros_like(before), before);
      expect_close(subject, fmt::format("layers.0.scores, keys of head {} set to 0", head), scores, expected,
                   subject.noise("scores", before));
    });
  }
  subject.running();
}

REQUIREMENT("GQA-3", "repeat_kv with a factor of 1 returns its input") {
  expect_close(subject, "repeat_kv(x, 1)", subject.candidate().repeat_kv(repeat_kv_input(subject), 1),
               repeat_kv_input(subject), Tolerance::exact());
}

REQUIREMENT("GQA-4", "repeat_kv equals repeat_interleave over heads, not tiling") {
  const auto factor = subject.specification().repeat_factor();
  const auto x = repeat_kv_input(subject);
  const auto actual = subject.candidate().repeat_kv(x, factor);
  const auto interleaved = x.repeat_interleave(factor, 2);
  // With one key/value head, or a factor of 1, tiling is the same.
  if (factor > 1 && x.size(2) > 1)
    expect_distinguishable(subject, "repeat_kv", actual, interleaved,
                           {{"tiling", x.repeat({1, 1, factor, 1})}},
                           Tolerance::absolute(1e-12, "a copy in float64"));
  else
    expect_close(subject, "repeat_kv", actual, interleaved, Tolerance::exact());
}

REQUIREMENT("GQA-5", "attention equals the fused kernel's own grouped-query mode") {
  const auto stages = observe(subject, standard_probe(subject));
  for (std::int64_t layer = 0; layer < subject.specification().num_hidden_layers; ++layer) {
    const auto expected =
        at::scaled_dot_product_attention(shown(stages, {"q_rotated", layer}).transpose(1, 2),
                                         shown(stages, {"k_rotated", layer}).transpose(1, 2),
                                         shown(stages, {"v", layer}).transpose(1, 2), {}, 0.0,
                                         /*is_causal=*/true, std::nullopt,
                                         /*enable_gqa=*/true)
            .transpose(1, 2)
            .flatten(2);
    const Stage context{"context", layer};
    expect_close(subject, to_string(context), shown(stages, context), expected,
                 subject.noise("context", expected));
  }
}

REQUIREMENT("GQA-6", "the gradients of a key/value head's copies add up") {
  const auto factor = subject.specification().repeat_factor();
  const auto upstream = repeat_kv_upstream(subject, factor);
  expect_close(subject, "gradient of repeat_kv",
               subject.candidate().repeat_kv_gradient(repeat_kv_input(subject), factor, upstream),
               upstream.unflatten(2, {-1, factor}).sum(3),
               Tolerance::absolute(1e-12, fmt::format("float64 sum of {}", factor)));
}

REQUIREMENT("GQA-7", "heads are grouped in the same way in training and in inference") {
  expect_replayed(subject, {"scores", "context"},
                  observe(subject, standard_probe(subject), training_options()), standard_probe(subject),
                  "training");
  expect_replayed(subject, {"scores", "context"}, observe(subject, standard_probe(subject)),
                  standard_probe(subject), "evaluation");
}

REQUIREMENT("GQA-8", "scores are scaled by 1/sqrt(head size)") {
  expect_replayed(subject, {"scores"}, observe(subject, standard_probe(subject)), standard_probe(subject),
                  "evaluation");
}

REQUIREMENT("GQA-9", "probabilities are a float32 softmax of the scores over the allowed positions") {
  const auto shown = observe(subject, standard_probe(subject));
  expect_replayed(subject, {"probabilities"}, shown, standard_probe(subject), "evaluation");
  for (const auto& [stage, values] : shown) {
    if (stage.kind != "probabilities") continue;
    const auto sums = values.to(at::kDouble).sum(-1);
    const double n = static_cast<double>(values.size(-1));
    // Softmax may be exp(x - log of the sum), and the logarithm's rounding affects a whole row: two
    // roundings, times the margin of six of a replay.
    const auto scores = shown.find({"scores", stage.layer});
    const double size = scores == shown.end() ? 0 : largest(finite(scores->second.tril()));
    const auto type = subject.candidate().type();
    expect_close(
        subject, fmt::format("{} summed over keys", stage), sums, at::ones_like(sums),
        Tolerance::absolute(
            2 * n * unit_roundoff(type) + 12 * size * unit_roundoff(accumulation_type(type)),
            fmt::format("{} roundings of the model's type, and of exponents of {}", n, number(size))));
  }
}

}  // namespace plumbline
