// The formulas of the model, and the tables of functions through which the model calls them.
//
// A departure from the specification (harness/model/departures/departures.hpp) replaces an entry of a table
// or a number of the specification, so that the model itself has no branch for it.
//
// Shapes: B batch, T queries, S keys, D hidden size, H query heads, K key/value heads, Dh head size,
// F feed-forward size.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

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

// The angle by which each pair of coordinates is rotated: position * frequency (Su et al. 2021, formula 15).
// positions: (B, T) int64 -> (B, T, 1, Dh/2), to broadcast over heads.
at::Tensor rotary_angles(const at::Tensor& positions, const at::Tensor& frequencies);

// Rotates each pair (a, b) of a head's coordinates by its angle: (a cos - b sin, b cos + a sin) (Su et al.
// 2021, formula 34). Pairs are (i, i + Dh/2) for halves and (2i, 2i + 1) for pairs. x: (B, T, heads, Dh),
// angles: (B, T, 1, Dh/2).
at::Tensor rotate(const at::Tensor& x, const at::Tensor& angles, Rotary rotary);

// Repeats each key/value head `factor` times in succession: (B, S, K, Dh) -> (B, S, K * factor, Dh). Query
// head h then reads key/value head h div factor (Ainslie et al. 2023, section 2.2).
at::Tensor repeat_kv(const at::Tensor& x, std::int64_t factor);

// What decides which keys each query of a pass attends to. A slot is a place in the sequence, padding
// included.
struct MaskInputs {
  at::Tensor query_slots;   // (T) int64
  at::Tensor key_slots;     // (S) int64
  at::Tensor real_queries;  // (B, T) bool: false for padding
  at::Tensor real_keys;     // (B, S) bool
  bool training = false;
  bool cached = false;
  bool padding_mask = false;  // one was given, of ones perhaps
};

// True where a query attends to a key: (B, 1, T, S) bool. A real query attends to the real keys up to its own
// slot; a padding query attends to itself alone, so that softmax has no empty row.
at::Tensor causal_mask(const MaskInputs& inputs);

// q k^T * scale (Vaswani et al. 2017, formula 1): (B, H, T, Dh), (B, H, S, Dh) -> (B, H, T, S).
at::Tensor scaled_scores(const at::Tensor& q, const at::Tensor& keys, double scale);

// -infinity where the mask is false: (B, H, T, S), (B, 1, T, S) bool -> (B, H, T, S).
at::Tensor hide_masked_scores(const at::Tensor& scores, const at::Tensor& mask);

// Softmax over the last axis, computed in float32 and cast back: (B, H, T, S).
at::Tensor softmax(const at::Tensor& scores);

// The mean of the values, weighted by the probabilities: (B, H, T, S), (B, H, S, Dh) -> (B, H, T, Dh).
at::Tensor weighted_values(const at::Tensor& probabilities, const at::Tensor& values);

// SiLU, x * sigmoid(x) (Elfwing et al. 2017), or GELU, exact or by tanh (Hendrycks & Gimpel 2016).
at::Tensor activate(const at::Tensor& x, Activation activation);

// activation(gate) * up (Shazeer 2020, formula 6: SwiGLU).
at::Tensor gated_unit(const at::Tensor& gate, const at::Tensor& up, Activation activation);

// x W^T + b: (..., in), (out, in), (out) or undefined -> (..., out).
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// Zeroes elements with probability p and scales the others by 1 / (1 - p) (Srivastava et al. 2014); x itself
// where p is 0.
at::Tensor dropout(const at::Tensor& x, double p);

// The label of positions that the loss leaves out, as ignore_index of torch.nn.CrossEntropyLoss.
constexpr std::int64_t kIgnoredLabel = -100;

// Mean cross-entropy, in nats, of predicting labels[t] from logits[t - 1] over all labels but kIgnoredLabel:
// logits (B, T, V), labels (B, T) int64 -> (). In float32 (float64 for a float64 model).
at::Tensor next_token_loss(const at::Tensor& logits, const at::Tensor& labels);

// The hyperparameters of AdamW, under PyTorch's names, and its running moments of a parameter's gradient.
struct AdamW {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
};
struct Moments {
  at::Tensor first, second;  // of the parameter's shape; undefined before the first step
};

// The parameter after step `step` (from 1); updates its moments. Decoupled weight decay by learning_rate *
// weight_decay, then a step along the first moment over the root of the second, both bias-corrected
// (Loshchilov & Hutter 2019, algorithm 2, lines 6 to 12; the schedule's multiplier is left to learning_rate,
// and the decay is multiplied by the learning rate, as in torch.optim.AdamW).
at::Tensor adamw(const at::Tensor& parameter, const at::Tensor& gradient, Moments& moments, std::int64_t step,
                 const AdamW& hyperparameters);

// The steps of sampling, each (V) float64 -> (V) float64; excluded tokens become -infinity. Sources and
// order: harness/model/sampling.hpp. `previous`: the tokens so far, (n) int64.
at::Tensor penalise_repetition(const at::Tensor& logits, const at::Tensor& previous, double penalty);
at::Tensor keep_top_k(const at::Tensor& scores, std::int64_t k);
at::Tensor keep_top_p(const at::Tensor& scores, double p);

// The distribution of the next token: logits (V), previous (n) int64 -> (V) float64.
at::Tensor next_probabilities(const at::Tensor& logits, const at::Tensor& previous, const Sampling& sampling);

// The logits at each row's last real token: (B, T, V), real (B, T) bool -> (B, V).
at::Tensor last_logits(const at::Tensor& logits, const at::Tensor& real);

// Four tables of formulas. The default of each entry is the function above, or the expression written here.

struct ForwardFormulas {
  std::function<at::Tensor(const Weights&, const std::string& name)> read_parameter =
      [](const Weights& weights, const std::string& name) { return weights.at(name); };
  std::function<at::Tensor(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias)> linear =
      plumbline::linear;
  std::function<at::Tensor(const at::Tensor& x, const at::Tensor& weight, double eps, NormPrecision)> norm =
      rms_norm;
  // Whether the model has the norm `name`: "model.norm", "model.layers.3.input_layernorm".
  std::function<bool(const std::string& name)> has_norm = [](const std::string&) { return true; };
  std::function<at::Tensor(const Specification&, at::ScalarType, at::Device)> frequencies =
      rotary_frequencies;
  std::function<at::Tensor(const at::Tensor& positions, const at::Tensor& frequencies)> angles =
      rotary_angles;
  // The positions by which queries are turned, from those of the pass: (B, T) -> (B, T). `cached`: with a
  // cache.
  std::function<at::Tensor(const at::Tensor& positions, bool cached)> query_positions =
      [](const auto& positions, bool) { return positions; };
  std::function<at::Tensor(const at::Tensor& q, const at::Tensor& angles, Rotary)> rotate_query = rotate;
  std::function<at::Tensor(const at::Tensor& k, const at::Tensor& angles, Rotary)> rotate_key = rotate;
  std::function<at::Tensor(const at::Tensor& v, const at::Tensor& angles)> transform_value =
      [](const auto& v, const auto&) { return v; };
  // In a pass without a cache, and in one with it.
  std::function<at::Tensor(const at::Tensor&x, std::int64_t factor)> repeat_kv = plumbline::repeat_kv,
                                                                     repeat_cached_kv = plumbline::repeat_kv;
  std::function<double(const Specification&)> attention_scale = [](const Specification& specification) {
    return 1.0 / std::sqrt(static_cast<double>(specification.head_size()));  // Vaswani et al. 2017, formula 1
  };
  std::function<at::Tensor(const at::Tensor& q, const at::Tensor& keys, double scale)> attention_scores =
      scaled_scores;
  std::function<at::Tensor(const MaskInputs&)> attention_mask = causal_mask;
  std::function<at::Tensor(const at::Tensor& scores, const at::Tensor& mask)> apply_mask = hide_masked_scores;
  std::function<at::Tensor(const at::Tensor& scores)> softmax = plumbline::softmax;
  // What is done with probabilities where the mask is false; those are 0 already.
  std::function<at::Tensor(const at::Tensor& probabilities, const at::Tensor& mask)> mask_probabilities =
      [](const auto& probabilities, const auto&) { return probabilities; };
  std::function<at::Tensor(const at::Tensor& probabilities, const at::Tensor& values)> weigh_values =
      weighted_values;
  // One head after another: (B, H, T, Dh) -> (B, T, D).
  std::function<at::Tensor(const at::Tensor& heads)> join_heads = [](const auto& heads) {
    return heads.transpose(1, 2).flatten(2);
  };
  std::function<at::Tensor(const at::Tensor& gate, const at::Tensor& up, Activation)> gated_unit =
      plumbline::gated_unit;
  std::function<at::Tensor(const at::Tensor& residual, const at::Tensor& normed, const at::Tensor& branch)>
      add_residual = [](const at::Tensor& residual, const at::Tensor&, const at::Tensor& branch) {
        return residual + branch;
      };
  std::function<at::Tensor(const at::Tensor& embedding, const at::Tensor& ids)> transform_embedding =
      [](const auto& embedding, const auto&) { return embedding; };
  std::function<at::Tensor(const at::Tensor& logits)> transform_logits = [](const auto& logits) {
    return logits;
  };
  std::function<at::Tensor(const at::Tensor& x, double p)> dropout = plumbline::dropout;
  std::function<double(double p, bool training)> dropout_rate = [](double p, bool training) {
    return training ? p : 0.0;
  };
};

struct CachePolicy {
  // The layer whose cache a layer uses.
  std::function<std::int64_t(std::int64_t layer)> cache_layer = [](std::int64_t layer) { return layer; };
  // What the cache stores of keys (after and before rotation) or of values (given twice): (B, T, K, Dh).
  std::function<at::Tensor(const at::Tensor& entry, const at::Tensor& before_rotation, std::int64_t factor)>
      cache_entry = [](const at::Tensor& entry, const at::Tensor&, std::int64_t) { return entry; };
  // The first slot that a pass writes, of a cache with `length` slots written.
  std::function<std::int64_t(std::int64_t length)> write_slot = [](std::int64_t length) { return length; };
  // How many slots a pass reads once `length` are written.
  std::function<std::int64_t(std::int64_t length, std::int64_t capacity)> readable_slots =
      [](std::int64_t length, std::int64_t) { return length; };
  // The position of each row's next real token, from how many were seen, (B) -> (B); `slots` and `passes`:
  // how many the cache was written in.
  std::function<at::Tensor(const at::Tensor& seen, std::int64_t slots, std::int64_t passes)> next_position =
      [](const at::Tensor& seen, std::int64_t, std::int64_t) { return seen; };
  std::function<bool(std::int64_t length, std::int64_t capacity)> fits =
      [](std::int64_t length, std::int64_t capacity) { return length <= capacity; };
};

struct TrainingFormulas {
  // Initial values of the parameter with this canonical name, from those of initial_weights().
  std::function<at::Tensor(const std::string& name, const at::Tensor& values)> initial_values =
      [](const auto&, const auto& values) { return values; };
  std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& labels)> loss = next_token_loss;
  // The gradient that a step takes, from that of its own loss and the one that the step before took
  // (undefined at first).
  std::function<at::Tensor(const at::Tensor& gradient, const at::Tensor& before)> step_gradient =
      [](const at::Tensor& gradient, const at::Tensor&) { return gradient; };
  std::function<at::Tensor(const at::Tensor& parameter, const at::Tensor& gradient, Moments&,
                           std::int64_t step, const AdamW&)>
      optimiser_step = adamw;
  // With which weights a pass in evaluation mode runs after the optimiser's steps.
  std::function<Weights(const Weights& loaded, const Weights& trained)> evaluated_weights =
      [](const Weights&, const Weights& trained) { return trained; };
  // With which weights the model runs after the second load.
  std::function<Weights(const Weights& first, const Weights& loaded)> loaded_weights =
      [](const Weights&, const Weights& loaded) { return loaded; };
};

struct SamplingFormulas {
  // `prompt`: how many of the previous tokens are the prompt's.
  std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& previous, std::int64_t prompt,
                           const Sampling&)>
      token_probabilities =
          [](const at::Tensor& logits, const at::Tensor& previous, std::int64_t, const Sampling& sampling) {
            return next_probabilities(logits, previous, sampling);
          };
  std::function<double(std::uint32_t seed, std::uint64_t row, std::uint64_t step)> random_number = uniform_of;
  std::function<bool(std::int64_t token, std::optional<std::int64_t> end)> ends_text =
      [](std::int64_t token, std::optional<std::int64_t> end) { return end && token == *end; };
  // Whether the loop stops, from which rows have ended.
  std::function<bool(const std::vector<bool>& ended)> stops = [](const std::vector<bool>& ended) {
    return std::find(ended.begin(), ended.end(), false) == ended.end();
  };
  // How many tokens the loop writes, of those asked for, after prompts of this length.
  std::function<std::int64_t(std::int64_t most_tokens, std::int64_t prompt)> tokens_to_write =
      [](std::int64_t most_tokens, std::int64_t) { return most_tokens; };
  std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& real)> last_logits =
      plumbline::last_logits;
};

struct Formulas : ForwardFormulas, CachePolicy, TrainingFormulas, SamplingFormulas {
  Formulas();
};

}  // namespace plumbline
