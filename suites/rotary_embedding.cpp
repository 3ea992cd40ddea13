// Chapter 5: rotary embedding.
#include <cmath>

#include "harness/evidence/closed_form.hpp"
#include "suites/requirement.hpp"

namespace plumbline {
namespace {

// Exact angles (1, T, 1, Dh/2) of the positions first, first + 1, ...
at::Tensor exact_angles(Subject& subject, std::int64_t first, std::int64_t length) {
  const auto positions = at::arange(first, first + length, at::kLong).unsqueeze(0);
  return closed_form::angles(positions, subject.specification());
}

// The error of float32 angles, as in the replay of a rotation (harness/evidence/replay.cpp).
at::Tensor angle_error(Subject& subject, const at::Tensor& angles) {
  const auto& s = subject.specification();
  const auto exponents = at::arange(0, s.head_size(), 2, at::kDouble) / static_cast<double>(s.head_size());
  return angles * (4 + exponents * std::log(s.rope_theta)) * 0x1p-24;
}

constexpr const char* kSides[] = {"q", "k"};

Stage rotated_side(const std::string& side, std::int64_t layer) {
  return {side + "_rotated", layer};
}

// Adds the largest error of all layers and heads, in tolerances, for every position.
void add_errors(Subject& subject, reports::Series& series, const std::string& side, const Stages& stages,
                const Tokens& tokens, std::int64_t first) {
  at::Tensor worst;  // (T)
  for (std::int64_t layer = 0; layer < subject.specification().num_hidden_layers; ++layer) {
    const auto replay = try_replay(subject, rotated_side(side, layer), stages, tokens, first);
    if (!replay) continue;
    const auto actual = shown(stages, rotated_side(side, layer));  // (B, T, H, Dh)
    if (actual.sizes() != replay->expected.sizes()) continue;
    const auto error =
        ((actual - replay->expected).abs() / replay->tolerance.bound.clamp_min(1e-300)).amax({0, 2, 3});
    worst = worst.defined() ? at::maximum(worst, error) : error;
  }
  for (std::int64_t i = 0; worst.defined() && i < worst.numel(); ++i) {
    series.x.push_back(static_cast<double>(first + i));
    series.y.push_back(worst[i].item<double>());
  }
}

}  // namespace

REQUIREMENT("ROPE-1", "pair i of a head is rotated by position * theta^(-2i/Dh)") {
  const auto& s = subject.specification();
  const auto stages = observe(subject, standard_probe(subject));
  const auto angles = exact_angles(subject, 0, 24);
  // Cosine and sine, two products and their sum: at most 4 roundings of the pair's length.
  const auto unit = unit_roundoff(subject.candidate().type());
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer)
    for (const auto* side : kSides) {
      const Stage stage{side, layer};
      const auto before = closed_form::as_complex(shown(stages, stage), s.rotary);
      const auto after = closed_form::as_complex(shown(stages, rotated_side(side, layer)), s.rotary);
      const auto rotation = after / before;  // cos + i sin of the angle
      const auto expected = at::polar(at::ones_like(angles), angles).expand_as(rotation);
      expect_close(subject, fmt::format("{}: turn of each pair", stage), at::view_as_real(rotation),
                   at::view_as_real(expected),
                   Tolerance::each((2 * angle_error(subject, angles) + 40 * unit).unsqueeze(-1),
                                   "ten times the roundings of one rotation, and twice those of its angle"));
    }
}

REQUIREMENT("ROPE-2", "the pairs that turn together are the specification's") {
  const auto& s = subject.specification();
  const auto stages = observe(subject, standard_probe(subject));
  const auto angles = exact_angles(subject, 0, 24);
  const auto other = s.rotary == Rotary::halves ? Rotary::pairs : Rotary::halves;
  for (const auto* side : kSides) {
    const auto stage = rotated_side(side, 0);
    const auto before = shown(stages, {side, 0});
    const auto replay = require_replay(subject, stage, stages, standard_probe(subject));
    expect_distinguishable(subject, to_string(stage), shown(stages, stage), replay.expected,
                           {{"pairing " + to_string(other), closed_form::rotation(before, angles, other)}},
                           replay.tolerance);
  }
}

REQUIREMENT("ROPE-3", "queries and keys are rotated, values are not") {
  const auto tokens = standard_probe(subject);
  const auto stages = observe(subject, tokens);
  expect_replayed(subject, {"q_rotated", "k_rotated", "v", "context"}, stages, tokens, "evaluation");
  for (const auto* side : kSides) {
    const auto stage = rotated_side(side, 0);
    const auto replay = require_replay(subject, stage, stages, tokens);
    expect_distinguishable(subject, to_string(stage), shown(stages, stage), replay.expected,
                           {{"no rotation", shown(stages, {side, 0})}}, replay.tolerance);
  }
}

REQUIREMENT("ROPE-4", "rotation preserves the norm of every pair") {
  const auto& s = subject.specification();
  const auto stages = observe(subject, standard_probe(subject));
  const auto unit = unit_roundoff(subject.candidate().type());
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer)
    for (const auto* side : kSides) {
      const auto stage = rotated_side(side, layer);
      const auto before = closed_form::as_complex(shown(stages, {side, layer}), s.rotary).abs();
      const auto after = closed_form::as_complex(shown(stages, stage), s.rotary).abs();
      expect_close(subject, fmt::format("{}: norm of each pair", stage), after, before,
                   Tolerance::each(24 * unit * before, "twice the roundings of one rotation"));
    }
}

REQUIREMENT("ROPE-5", "scores depend only on the distance between positions") {
  // Queries and keys of the first layer depend on their token and position alone, so that a repeated block
  // has the same scores.
  const auto block = probe(subject, "block", 1, 11);
  const Tokens twice{at::cat({block.ids, block.ids}, 1), {}, Padding::none};
  const auto scores =
      hidden_as_infinity(shown(observe(subject, twice), {"scores", 0}), causal_mask_of(twice));
  const auto first = scores.narrow(2, 0, 11).narrow(3, 0, 11),
             second = scores.narrow(2, 11, 11).narrow(3, 11, 11);
  expect_close(subject, "layers.0.scores of a block's second occurrence", second, first,
               subject.noise("scores", first));
}

REQUIREMENT("ROPE-6", "decoding at position p rotates like row p of a full pass") {
  const auto tokens = standard_probe(subject);
  const auto full = observe(subject, tokens),
             stepwise = observe_cached(subject, tokens, prefill_then_single_tokens(5, 24));
  for (std::int64_t layer = 0; layer < subject.specification().num_hidden_layers; ++layer)
    for (const auto* side : kSides) {
      const auto stage = rotated_side(side, layer);
      const auto expected = shown(full, stage);
      expect_close(subject, fmt::format("{} (decoding)", stage), shown(stepwise, stage), expected,
                   subject.noise(stage.kind, expected));
    }
}

REQUIREMENT("ROPE-7", "the first position is not rotated") {
  const auto stages = observe(subject, standard_probe(subject));
  for (const auto* side : kSides) {
    const auto before = shown(stages, {side, 0}).select(1, 0);
    expect_close(subject, fmt::format("{} at position 0", rotated_side(side, 0)),
                 shown(stages, rotated_side(side, 0)).select(1, 0), before,
                 Tolerance::each(before.abs() * 4 * unit_roundoff(subject.candidate().type()),
                                 "roundings of one rotation"));
  }
}

REQUIREMENT("ROPE-8", "angles far from the start are as exact as float32 allows") {
  const auto tokens = standard_probe(subject);
  reports::Plot plot{.requirement = {},
                     .title = "Error of the rotation by position",
                     .x_name = "position",
                     .y_name = "error / tolerance",
                     .log_x = true,
                     .log_y = true,
                     .series = {{"queries", {}, {}, {}, {}}, {"keys", {}, {}, {}, {}}},
                     .bounds = {{"tolerance", 1}}};
  for (const auto first : far_positions(subject.specification())) {
    PassOptions options;
    options.first_position = first;
    const auto stages = observe(subject, tokens, options);
    expect_replayed(subject, {"q_rotated", "k_rotated"}, stages, tokens,
                    fmt::format("positions {} to {}", first, first + 23), first);
    for (std::size_t side = 0; side < plot.series.size(); ++side)
      add_errors(subject, plot.series[side], kSides[side], stages, tokens, first);
  }
  subject.recorder().add_plot(std::move(plot));
}

REQUIREMENT("ROPE-9",
            "a sequence as long as the number of query or key/value heads is rotated like any other") {
  const auto& s = subject.specification();
  const auto probe_tokens = standard_probe(subject);
  const auto all = logits(subject, probe_tokens);
  for (const std::int64_t length : {s.num_attention_heads, s.num_key_value_heads, std::int64_t{1}}) {
    if (length > 24) continue;
    const Tokens tokens{probe_tokens.ids.narrow(1, 0, length), {}, Padding::none};
    expect_replayed(subject, {"q_rotated", "k_rotated"}, observe(subject, tokens), tokens,
                    fmt::format("length {}", length));
    const auto expected = all.narrow(1, 0, length);
    expect_close(subject, fmt::format("logits of length {}", length), logits(subject, tokens), expected,
                 subject.noise("logits", expected));
  }
}

REQUIREMENT("ROPE-10", "rotation agrees with the complex-number form") {
  const auto& s = subject.specification();
  const auto stages = observe(subject, standard_probe(subject));
  const auto angles = exact_angles(subject, 0, 24);
  for (const auto* side : kSides) {
    const auto rotated = closed_form::as_complex(shown(stages, {side, 0}), s.rotary) *
                         at::polar(at::ones_like(angles), angles);
    const auto actual = closed_form::as_complex(shown(stages, rotated_side(side, 0)), s.rotary);
    const auto expected = at::view_as_real(rotated);
    expect_close(subject, fmt::format("{} as complex numbers", rotated_side(side, 0)),
                 at::view_as_real(actual), expected, subject.noise(rotated_side(side, 0).kind, expected));
  }
}

}  // namespace plumbline
