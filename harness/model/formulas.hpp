// Every formula of the model, and the tables through which the model reads them.
//
// A departure from the specification (harness/model/departures/departures.hpp) replaces an entry of a table
// or a number of the specification; the model itself has no conditions for it.
//
// Shapes: B batch, T queries, S keys, D hidden size, H query heads, K key/value heads, Dh head size,
// F feed-forward size.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include "harness/model/sampling.hpp"
#include "harness/model/specification.hpp"
#include "harness/model/weights.hpp"

namespace plumbline {

// The type in which norms, softmax and rotation are computed: float32, or float64 for a float64 model.
at::ScalarType accumulation_type(at::ScalarType model_type);

// x / sqrt(mean(x^2) + eps) in float32, cast back, times the weight (Zhang & Sennrich 2019, formula 4).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, NormPrecision precision);

// theta^(-2i/Dh), i = 0 .. Dh/2-1: (Dh/2), float32 (float64 for a float64 model) (Su et al. 2021, formula
// 15).
at::Tensor rotary_frequencies(const Specification& specification, at::ScalarType type, at::Device device);

// The turn of each pair of coordinates at each position: angles = position * frequency.
// positions: (B, T) int64 -> (B, T, 1, Dh/2), to broadcast over heads.
at::Tensor rotary_angles(const at::Tensor& positions, const at::Tensor& frequencies);

// Turns each pair (a, b) of a head's coordinates by its angle: (a cos - b sin, b cos + a sin) (Su et al.
// 2021, formula 34). Pairs are (i, i + Dh/2) for halves and (2i, 2i + 1) for pairs. x: (B, T, heads, Dh),
// angles: (B, T, 1, Dh/2).
at::Tensor rotate(const at::Tensor& x, const at::Tensor& angles, Rotary rotary);

// Each key/value head `factor` times in a row: (B, S, K, Dh) -> (B, S, K * factor, Dh). Query head h then
// reads key/value head h div factor (Ainslie et al. 2023, section 2.2).
at::Tensor repeat_kv(const at::Tensor& x, std::int64_t factor);

// Which keys a pass may look at.
struct Sight {
  at::Tensor query_slots;   // (T) int64: the queries' places in the sequence of slots
  at::Tensor key_slots;     // (S) int64
  at::Tensor real_queries;  // (B, T) bool: false for padding
  at::Tensor real_keys;     // (B, S) bool
  bool training = false;
  bool cached = false;
  bool padding_mask = false;  // one was given, of ones perhaps
};

// A real query sees the real keys up to itself; a padding query sees itself alone, so that no row is empty.
// (B, 1, T, S) bool.
at::Tensor causal_mask(const Sight& sight);

// Every query with every key: (B, H, T, Dh), (B, H, S, Dh) -> (B, H, T, S).
at::Tensor scaled_products(const at::Tensor& q, const at::Tensor& keys, double scale);

// softmax over the last axis in float32, cast back (B, H, T, S).
at::Tensor softmax(const at::Tensor& scores);

// The values' mean by these weights: (B, H, T, S), (B, H, S, Dh) -> (B, H, T, Dh).
at::Tensor weighted_values(const at::Tensor& probabilities, const at::Tensor& values);

// x * sigmoid(x) (Elfwing et al. 2017), or one of its relatives.
at::Tensor activate(const at::Tensor& x, Activation activation);

// activation(gate) * up (Shazeer 2020, formula 6: SwiGLU).
at::Tensor gated_unit(const at::Tensor& gate, const at::Tensor& up, Activation activation);

// x W^T + b (b may be undefined).
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// Zeroes elements with probability p and scales the others by 1 / (1 - p) (Srivastava et al. 2014); p = 0 is
// x.
at::Tensor dropout(const at::Tensor& x, double p);

// Labels that count for nothing.
constexpr std::int64_t kIgnored = -100;

// Mean cross-entropy of predicting labels[t] from the tokens before it, labels (B, T) int64: logits[t - 1] is
// compared with labels[t], kIgnored counts for nothing; in float32 (float64 for a float64 model).
at::Tensor next_token_loss(const at::Tensor& logits, const at::Tensor& labels);

// The numbers of AdamW, and what it remembers of a parameter's gradients.
struct AdamW {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
};
struct Moments {
  at::Tensor first, second;  // undefined before the first step
};

// The parameter after step `step` (from 1), and its moments brought up to date: decay by learning_rate *
// weight_decay, apart from the gradient, and a step along the first moment over the root of the second, both
// corrected for their beginning at 0 (Loshchilov & Hutter 2019, algorithm 2, lines 6 to 12, the schedule's
// multiplier left to learning_rate, and the decay times the learning rate as in torch.optim.AdamW).
at::Tensor adamw(const at::Tensor& parameter, const at::Tensor& gradient, Moments& moments, std::int64_t step,
                 const AdamW& numbers);

// Each step of sampling by itself, (V) float64 -> (V) float64; what is left out is -infinity. `before`: the
// tokens so far, (n) int64.
at::Tensor penalised(const at::Tensor& logits, const at::Tensor& before, double penalty);
at::Tensor largest_k(const at::Tensor& scores, std::int64_t k);
at::Tensor nucleus(const at::Tensor& scores, double p);

// The probabilities that the next token is drawn with: logits (V) after the last one -> (V) float64.
at::Tensor next_probabilities(const at::Tensor& logits, const at::Tensor& before, const Sampling& sampling);

// The logits after each row's last real token: (B, T, V), real (B, T) bool -> (B, V).
at::Tensor last_logits(const at::Tensor& logits, const at::Tensor& real);

// Four tables of formulas: where nothing departs, each entry is the function above of that name, or what
// stands here.

// The forward pass.
struct ForwardFormulas {
  // The parameter of this name as the code reads it.
  std::function<at::Tensor(const Weights&, const std::string& name)> read =
      [](const Weights& weights, const std::string& name) { return weights.at(name); };
  std::function<at::Tensor(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias)> product =
      linear;
  std::function<at::Tensor(const at::Tensor& x, const at::Tensor& weight, double eps, NormPrecision)> norm =
      rms_norm;
  // Whether a norm stands there: "model.norm", "model.layers.3.input_layernorm".
  std::function<bool(const std::string& name)> norm_stands = [](const std::string&) { return true; };
  std::function<at::Tensor(const Specification&, at::ScalarType, at::Device)> frequencies =
      rotary_frequencies;
  std::function<at::Tensor(const at::Tensor& positions, const at::Tensor& frequencies)> angles =
      rotary_angles;
  std::function<at::Tensor(const at::Tensor& q, const at::Tensor& angles, Rotary)> rotate_query = rotate;
  std::function<at::Tensor(const at::Tensor& k, const at::Tensor& angles, Rotary)> rotate_key = rotate;
  std::function<at::Tensor(const at::Tensor& v, const at::Tensor& angles)> value =
      [](const auto& v, const auto&) { return v; };
  // Without a cache, and with one.
  std::function<at::Tensor(const at::Tensor&x, std::int64_t factor)> repeat = repeat_kv,
                                                                     repeat_cached = repeat_kv;
  std::function<double(const Specification&)> scale = [](const Specification& specification) {
    return 1.0 / std::sqrt(static_cast<double>(specification.head_size()));  // Vaswani et al. 2017, formula 1
  };
  std::function<at::Tensor(const at::Tensor& q, const at::Tensor& keys, double scale)> score =
      scaled_products;
  std::function<at::Tensor(const Sight&)> mask = causal_mask;
  std::function<at::Tensor(const at::Tensor& scores, const at::Tensor& allowed)> hide =
      [](const at::Tensor& scores, const at::Tensor& allowed) {
        return scores.masked_fill(~allowed, -std::numeric_limits<double>::infinity());
      };
  std::function<at::Tensor(const at::Tensor& scores)> normalise = softmax;
  std::function<at::Tensor(const at::Tensor& probabilities, const at::Tensor& values)> mix = weighted_values;
  std::function<at::Tensor(const at::Tensor& gate, const at::Tensor& up, Activation)> gate = gated_unit;
  std::function<at::Tensor(const at::Tensor& residual, const at::Tensor& normed, const at::Tensor& branch)>
      add = [](const at::Tensor& residual, const at::Tensor&, const at::Tensor& branch) {
        return residual + branch;
      };
  std::function<at::Tensor(const at::Tensor& embedding, const at::Tensor& ids)> embed =
      [](const auto& embedding, const auto&) { return embedding; };
  std::function<at::Tensor(const at::Tensor& logits)> head = [](const auto& logits) { return logits; };
  std::function<at::Tensor(const at::Tensor& x, double p)> drop = dropout;
  // Dropout is off outside training.
  std::function<double(double p, bool training)> dropout_rate = [](double p, bool training) {
    return training ? p : 0.0;
  };
};

// The KV cache: whose is used in a layer, what is kept of keys and values, in which slot, how much is read,
// at which position decoding goes on, and whether so many tokens fit.
struct CachePolicy {
  std::function<std::int64_t(std::int64_t layer)> cache_of = [](std::int64_t layer) { return layer; };
  std::function<at::Tensor(const at::Tensor& kept, const at::Tensor& before_rotation, std::int64_t factor)>
      keep = [](const at::Tensor& kept, const at::Tensor&, std::int64_t) { return kept; };
  std::function<std::int64_t(std::int64_t length)> slot = [](std::int64_t length) { return length; };
  std::function<std::int64_t(std::int64_t length, std::int64_t capacity)> readable =
      [](std::int64_t length, std::int64_t) { return length; };
  std::function<at::Tensor(const at::Tensor& seen)> next_position = [](const at::Tensor& seen) {
    return seen;
  };
  std::function<bool(std::int64_t length, std::int64_t capacity)> fits =
      [](std::int64_t length, std::int64_t capacity) { return length <= capacity; };
};

// Before training, and in its steps.
struct TrainingFormulas {
  // What a parameter, by canonical name, begins as.
  std::function<at::Tensor(const std::string& name, const at::Tensor& values)> initial =
      [](const auto&, const auto& values) { return values; };
  std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& labels)> loss = next_token_loss;
  std::function<at::Tensor(const at::Tensor& parameter, const at::Tensor& gradient, Moments&,
                           std::int64_t step, const AdamW&)>
      optimise = adamw;
};

// Text that is written token by token.
struct SamplingFormulas {
  // `prompt`: how many of the tokens before are the prompt's.
  std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& before, std::int64_t prompt,
                           const Sampling&)>
      probabilities = [](const at::Tensor& logits, const at::Tensor& before, std::int64_t,
                         const Sampling& sampling) { return next_probabilities(logits, before, sampling); };
  std::function<double(std::uint32_t seed, std::uint64_t row, std::uint64_t step)> random = uniform_of;
  std::function<bool(std::int64_t token, std::int64_t end)> ends = [](std::int64_t token, std::int64_t end) {
    return token == end;
  };
  std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& real)> last = last_logits;
};

// All that a model does.
struct Formulas : ForwardFormulas, CachePolicy, TrainingFormulas, SamplingFormulas {
  Formulas();
};

}  // namespace plumbline
