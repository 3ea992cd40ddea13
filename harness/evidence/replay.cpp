#include "harness/evidence/replay.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "harness/evidence/closed_form.hpp"

namespace plumbline {
namespace {

using at::Tensor;

// The inputs of replays, in float64; undefined tensors stand for stages that were not shown.
class Replay {
 public:
  Replay(const Stages& stages, const Weights& weights, const Specification& specification, const Tensor& ids,
         const Tensor& positions, const Tensor& mask, at::ScalarType type)
      : stages_(stages),
        weights_(weights),
        s_(specification),
        ids_(ids),
        positions_(positions),
        mask_(mask),
        type_(type),
        rounding_(unit_roundoff(type)),
        sum_rounding_(unit_roundoff(accumulation_type(type))) {}

  std::optional<Replayed> stage(const Stage& stage) {
    if (stage.layer) return in_layer(*stage.layer, stage.kind);
    if (stage.kind == "embedding") {
      return Replayed{at::embedding(weight("model.embed_tokens"), ids_),
                      Tolerance::exact("exact: a row of the embedding matrix")};
    }
    if (stage.kind == "final_norm") return norm(residual(s_.num_hidden_layers), "model.norm");
    if (stage.kind == "logits") {
      const auto untied = weights_.find(kHead);
      return linear(shown({"final_norm"}), untied == weights_.end() ? "model.embed_tokens" : "lm_head");
    }
    return std::nullopt;
  }

 private:
  std::optional<Replayed> in_layer(std::int64_t layer, const std::string& kind) {
    layer_ = layer;
    const auto parameter = [&](const char* name) { return fmt::format("model.layers.{}.{}", layer_, name); };
    if (kind == "attention_norm") return norm(residual(layer_), parameter("input_layernorm"));
    if (kind == "q")
      return heads(linear(in_this_layer("attention_norm"), parameter("self_attn.q_proj")),
                   s_.num_attention_heads);
    if (kind == "k")
      return heads(linear(in_this_layer("attention_norm"), parameter("self_attn.k_proj")),
                   s_.num_key_value_heads);
    if (kind == "v")
      return heads(linear(in_this_layer("attention_norm"), parameter("self_attn.v_proj")),
                   s_.num_key_value_heads);
    if (kind == "q_rotated") return rotation(in_this_layer("q"));
    if (kind == "k_rotated") return rotation(in_this_layer("k"));
    if (kind == "scores") return scores(in_this_layer("q_rotated"), in_this_layer("k_rotated"));
    if (kind == "probabilities") return probabilities(in_this_layer("scores"));
    if (kind == "context") {
      const auto probability_error =
          is_reconstructed("probabilities") ? kernel_probability_error() : Tensor();
      if (is_reconstructed("probabilities") && !probability_error.defined()) return std::nullopt;
      return context(in_this_layer("probabilities"), in_this_layer("v"), probability_error);
    }
    if (kind == "attention_out") return linear(in_this_layer("context"), parameter("self_attn.o_proj"));
    if (kind == "after_attention")
      return sum(residual(layer_), "attention_out", "context", parameter("self_attn.o_proj"));
    if (kind == "feed_forward_norm")
      return norm(in_this_layer("after_attention"), parameter("post_attention_layernorm"));
    if (kind == "gate") return linear(in_this_layer("feed_forward_norm"), parameter("mlp.gate_proj"));
    if (kind == "up") return linear(in_this_layer("feed_forward_norm"), parameter("mlp.up_proj"));
    if (kind == "gated") return gated(in_this_layer("gate"), in_this_layer("up"));
    if (kind == "feed_forward_out") return linear(in_this_layer("gated"), parameter("mlp.down_proj"));
    if (kind == "after_feed_forward")
      return sum(in_this_layer("after_attention"), "feed_forward_out", "gated", parameter("mlp.down_proj"));
    return std::nullopt;
  }

  Tensor shown(const Stage& stage) const {
    const auto found = stages_.find(stage);
    return found == stages_.end() ? Tensor() : found->second.to(at::kDouble);
  }
  Tensor in_this_layer(const char* kind) const { return shown({kind, layer_}); }
  // The residual stream before layer `layer`.
  Tensor residual(std::int64_t layer) const {
    return layer == 0 ? shown({"embedding"}) : shown({"after_feed_forward", layer - 1});
  }
  Tensor weight(const std::string& prefix) const { return weights_.at(prefix + ".weight").to(at::kDouble); }

  // float32 has room for a margin above the counted roundings, while correct code in any order stays an order
  // of magnitude below; in bfloat16 a margin would hide defects.
  Tolerance tolerance_of(const Tensor& bound, const std::string& reason) const {
    const double margin = type_ == at::kFloat ? 6 : 1;
    return Tolerance::each(margin * bound,
                           fmt::format("{}{} of {}", margin > 1 ? fmt::format("{} x the ", margin) : "",
                                       type_name(type_), reason));
  }

  // `residual`: what the product is added to, with no value of its own between; undefined: nothing.
  std::optional<Replayed> linear(const Tensor& x, const std::string& prefix,
                                 const Tensor& residual = {}) const {
    if (!x.defined()) return std::nullopt;
    const auto w = weight(prefix);
    const auto n = static_cast<double>(w.size(1));
    auto expected = at::linear(x, w), magnitude = at::linear(x.abs(), w.abs());
    const auto bias = weights_.find(prefix + ".bias");
    if (bias != weights_.end()) {
      expected = expected + bias->second.to(at::kDouble);
      magnitude = magnitude + bias->second.to(at::kDouble).abs();
    }
    if (residual.defined()) {
      expected = expected + residual;
      magnitude = magnitude + residual.abs();
    }
    return Replayed{expected,
                    tolerance_of((n + 2) * sum_rounding_ * magnitude + 2 * rounding_ * expected.abs(),
                                 fmt::format("a sum of {} products", n))};
  }

  std::optional<Replayed> heads(std::optional<Replayed> joined, std::int64_t count) const {
    if (!joined) return std::nullopt;
    const auto split = [&](const Tensor& x) { return x.view({x.size(0), x.size(1), count, s_.head_size()}); };
    return Replayed{split(joined->expected), {split(joined->tolerance.bound), joined->tolerance.reason}};
  }

  std::optional<Replayed> norm(const Tensor& x, const std::string& prefix) const {
    if (!x.defined()) return std::nullopt;
    const auto n = static_cast<double>(x.size(-1));
    const auto expected = closed_form::rms_norm(x, weight(prefix), s_.rms_norm_eps);
    // The sum of squares has no cancellation, and the root halves its relative error.
    const bool in_model_type = s_.norm_precision == NormPrecision::model;
    const double roundings = in_model_type ? 8 : 2;
    return Replayed{expected,
                    tolerance_of(((n / 2 + 8) * sum_rounding_ + roundings * rounding_) * expected.abs(),
                                 fmt::format("a mean of {} squares, computed in {}", n,
                                             in_model_type ? "the model's type" : "float32"))};
  }

  std::optional<Replayed> rotation(const Tensor& x) const {
    if (!x.defined()) return std::nullopt;
    const auto angles = closed_form::angles(positions_.to(x.device()), s_);  // (B, T, 1, Dh/2)
    const auto expected = closed_form::rotation(x, angles, s_.rotary);
    // |a| + |b| of each pair.
    const auto folded = s_.rotary == Rotary::halves ? x.abs().unflatten(-1, {2, -1}).sum(-2)
                                                    : x.abs().unflatten(-1, {-1, 2}).sum(-1);
    // The error of a float32 angle: its own rounding, that of theta^-x (x ln theta roundings) and of the
    // product.
    const auto exponents =
        at::arange(0, s_.head_size(), 2, angles.options()) / static_cast<double>(s_.head_size());
    const auto angle_error = angles * (4 + exponents * std::log(s_.rope_theta)) * sum_rounding_;
    const auto pair_bound = folded * (angle_error + 3 * std::max(rounding_, sum_rounding_));
    const auto bound = s_.rotary == Rotary::halves ? at::cat({pair_bound, pair_bound}, -1)
                                                   : pair_bound.repeat_interleave(2, -1);
    return Replayed{expected, tolerance_of(bound + 2 * rounding_ * expected.abs(),
                                           "a rotation, its angle's rounding growing with position")};
  }

  Tensor repeat_heads(const Tensor& x) const {
    return x.repeat_interleave(s_.repeat_factor(), 2).transpose(1, 2);
  }

  std::optional<Replayed> scores(const Tensor& q, const Tensor& k) const {
    if (!q.defined() || !k.defined()) return std::nullopt;
    const auto n = static_cast<double>(s_.head_size());
    const auto queries = q.transpose(1, 2), keys = repeat_heads(k).transpose(2, 3);
    const auto expected = at::matmul(queries, keys) / std::sqrt(n);
    const auto magnitude = at::matmul(queries.abs(), keys.abs()) / std::sqrt(n);
    const auto hidden = ~mask_.to(q.device());
    // The scale may be applied to the queries and keys, whose roundings then enter each product.
    const auto bound = ((n + 2) * sum_rounding_ + 2 * rounding_) * magnitude + 2 * rounding_ * expected.abs();
    return Replayed{expected.masked_fill(hidden, -std::numeric_limits<double>::infinity()),
                    tolerance_of(bound, fmt::format("a sum of {} products", n))};
  }

  std::optional<Replayed> probabilities(const Tensor& scores) const {
    if (!scores.defined()) return std::nullopt;
    const auto n = static_cast<double>(scores.size(-1));
    const auto expected = closed_form::softmax(scores);
    const auto largest_score = scores.masked_fill(~scores.isfinite(), 0).abs().max().item<double>();
    const double relative = (n + 2 * largest_score + 8) * sum_rounding_ + 2 * rounding_;
    return Replayed{expected, tolerance_of(relative * expected + 1e-37,
                                           fmt::format("a softmax over {} keys, computed in float32", n))};
  }

  // Whether a stage of this layer was not the model's own but reconstructed beside a fused kernel that does
  // not show it, which protocol.md marks by the type float64.
  bool is_reconstructed(const char* kind) const {
    const auto found = stages_.find({kind, layer_});
    return found != stages_.end() && found->second.scalar_type() == at::kDouble && type_ != at::kDouble;
  }

  // The relative error of a fused kernel's probabilities: (B, H, T, 1). The error of a score enters twice, in
  // its exponential and in the sum. Undefined where queries or keys were not shown.
  Tensor kernel_probability_error() const {
    const auto q = in_this_layer("q_rotated"), k = in_this_layer("k_rotated"),
               scores = in_this_layer("scores");
    if (!q.defined() || !k.defined() || !scores.defined()) return {};
    const auto visible = scores.isfinite();
    const auto size = static_cast<double>(s_.head_size()), keys = static_cast<double>(scores.size(-1));
    const auto magnitude =
        at::matmul(q.abs().transpose(1, 2), repeat_heads(k.abs()).transpose(2, 3)) / std::sqrt(size);
    const auto score_error = (size + 4) * sum_rounding_ * magnitude.masked_fill(~visible, 0).amax(-1, true);
    const auto largest_score = scores.masked_fill(~visible, 0).abs().amax(-1, true);
    return 2 * score_error + (keys + 2 * largest_score + 8) * sum_rounding_;
  }

  // probability_error: relative error of the probabilities, (B, H, T, 1); undefined where they are the
  // model's own.
  std::optional<Replayed> context(const Tensor& probabilities, const Tensor& v,
                                  const Tensor& probability_error) const {
    if (!probabilities.defined() || !v.defined()) return std::nullopt;
    const auto n = static_cast<double>(probabilities.size(-1));
    const auto values = repeat_heads(v);
    const auto join = [](const Tensor& x) { return x.transpose(1, 2).flatten(2); };
    const auto expected = join(at::matmul(probabilities, values));
    const auto weighted_magnitudes = at::matmul(probabilities, values.abs());  // (B, H, T, Dh)
    auto bound =
        ((n + 2) * sum_rounding_ + rounding_) * join(weighted_magnitudes) + 2 * rounding_ * expected.abs();
    if (probability_error.defined()) bound = bound + join(weighted_magnitudes * probability_error);
    const std::string prefix =
        probability_error.defined() ? fmt::format("a softmax over {} keys within one kernel, and ", n) : "";
    return Replayed{expected, tolerance_of(bound, fmt::format("{}a sum of {} products", prefix, n))};
  }

  // Where the branch is not shown, as of a product that starts from the residual stream (addmm), its product
  // is replayed with the addition.
  std::optional<Replayed> sum(const Tensor& residual, const char* branch, const char* input,
                              const std::string& prefix) const {
    if (!residual.defined()) return std::nullopt;
    const auto added = in_this_layer(branch);
    if (!added.defined()) return linear(in_this_layer(input), prefix, residual);
    const auto expected = residual + added;
    return Replayed{expected, tolerance_of(2 * rounding_ * expected.abs(), "one addition")};
  }

  std::optional<Replayed> gated(const Tensor& gate, const Tensor& up) const {
    if (!gate.defined() || !up.defined()) return std::nullopt;
    const auto expected = closed_form::activation(gate, s_.hidden_act) * up;
    return Replayed{expected,
                    tolerance_of(4 * rounding_ * expected.abs() + 8 * sum_rounding_ * (gate * up).abs(),
                                 "an activation and one product")};
  }

  const Stages& stages_;
  const Weights& weights_;
  const Specification& s_;
  Tensor ids_, positions_, mask_;
  at::ScalarType type_;
  double rounding_;      // of a result in the model's type
  double sum_rounding_;  // of each step of a sum
  std::int64_t layer_ = 0;
};

}  // namespace

std::string type_name(at::ScalarType type) {
  switch (type) {
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    case at::kDouble:
      return "float64";
    default:
      return "float32";
  }
}

double unit_roundoff(at::ScalarType type) {
  switch (type) {
    case at::kBFloat16:
      return 0x1p-8;
    case at::kHalf:
      return 0x1p-11;
    case at::kDouble:
      return 0x1p-53;
    default:
      return 0x1p-24;
  }
}

std::optional<Stage> sum_in_place_of(const Stage& product, const Stages& shown) {
  const bool of_attention = product.kind == "attention_out";
  if ((!of_attention && product.kind != "feed_forward_out") || shown.contains(product)) return std::nullopt;
  const Stage sum{of_attention ? "after_attention" : "after_feed_forward", product.layer};
  const Stage input{of_attention ? "context" : "gated", product.layer};
  if (!shown.contains(sum) || !shown.contains(input)) return std::nullopt;
  return sum;
}

Tensor hidden_as_infinity(const Tensor& scores, const Tensor& mask) {
  constexpr double kHidden = -1e3;  // exp underflows to 0 in float32 well before
  const auto hidden = ~mask.to(scores.device()).expand_as(scores) & (scores <= kHidden);
  return scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
}

std::optional<Replayed> replay(const Stage& stage, const Stages& stages, const Weights& weights,
                               const Specification& specification, const Tensor& ids, const Tensor& positions,
                               const Tensor& mask, at::ScalarType type) {
  return Replay(stages, weights, specification, ids, positions, mask, type).stage(stage);
}

}  // namespace plumbline
