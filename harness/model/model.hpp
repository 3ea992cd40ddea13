// The reference model: MiniMind2-Small, or any model of its family, as a paper's appendix would write it.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "harness/model/formulas.hpp"
#include "harness/model/specification.hpp"
#include "harness/model/weights.hpp"

namespace plumbline {

enum class Padding { none, right, left };

// A batch of token sequences; row b has lengths[b] real tokens at its start (right padding) or end (left).
// "[2, 3]"
std::string shape_of(at::IntArrayRef shape);

struct Tokens {
  at::Tensor ids;                     // (B, T) int64
  std::vector<std::int64_t> lengths;  // B entries, or empty: every token is real
  Padding padding = Padding::none;
};

// Tokens that are real: (B, T) bool.
at::Tensor real_tokens(const Tokens& tokens);

// The names of what a pass shows, in execution order: "embedding", "layers.0.attention_norm", ..., "logits".
std::vector<std::string> stage_names(std::int64_t layers);

// Called with every stage's name ("layers.3.scores") and value, in execution order.
using Observer = std::function<void(const std::string& stage, const at::Tensor& value)>;

struct PassOptions {
  bool training = false;
  double dropout = 0;               // in training only
  std::int64_t first_position = 0;  // of a row's first real token
  Observer observe;                 // empty: nobody watches
  bool last_only = false;           // logits of each row's last slot will do, where that is cheaper
};

// A write past the capacity of a KV cache.
class CacheOverrun : public std::length_error {
 public:
  using std::length_error::length_error;
};

// Keys after rotation and values, unrepeated, in slots that are all allocated at once.
struct KVCache {
  struct Layer {
    at::Tensor keys, values;  // (B, capacity, K, Dh)
  };
  std::vector<Layer> layers;
  at::Tensor real;          // (B, capacity) bool: slots that hold a real token
  at::Tensor seen;          // (B) int64: real tokens so far, the position of each row's next one
  std::int64_t length = 0;  // slots written
  std::int64_t capacity = 0;
};

// A part of what a model computes: a layer, or what is before and after the layers where none is given, in
// some passes. What is not given is any.
struct ModelPart {
  std::optional<std::int64_t> layer;
  std::optional<bool> training, cached;

  bool operator==(const ModelPart&) const = default;
};

// What holds there in the place of what holds everywhere. Of the same parameters.
struct LocalRules {
  ModelPart place;
  Specification specification;
  Formulas formulas;
};

class Model {
 public:
  // `weights`: a tensor for each of specification.parameters(), all of one floating type on one device;
  // others are not used. `local`: the first that fits a place holds there.
  // Errors: InputError naming a missing parameter or a wrong shape.
  Model(Specification specification, Weights weights, Formulas formulas = {},
        std::vector<LocalRules> local = {});
  // The same model with other weights.
  Model with(Weights weights) const;

  // One full pass: (B, T) -> logits (B, T, V).
  at::Tensor forward(const Tokens& tokens, const PassOptions& options = {}) const;

  KVCache make_cache(std::int64_t batch, std::int64_t capacity) const;

  // Prefill or decode: appends the tokens to the cache and returns their logits (B, T, V).
  // Errors: CacheOverrun when they do not fit; the cache is then unchanged.
  at::Tensor extend(KVCache& cache, const Tokens& tokens, const PassOptions& options = {}) const;

  const Specification& specification() const { return rules_.back().specification; }
  const Formulas& formulas() const { return rules_.back().formulas; }
  const Weights& weights() const { return weights_; }
  at::ScalarType type() const { return type_; }
  at::Device device() const { return device_; }

 private:
  struct Pass;
  struct Rules : LocalRules {
    at::Tensor frequencies;  // (Dh/2)
  };
  const Rules& rules_in(std::optional<std::int64_t> layer, bool training, bool cached) const;
  at::Tensor run(const Tokens& tokens, KVCache* cache, const PassOptions& options) const;
  at::Tensor attention(std::int64_t layer, const at::Tensor& x, const Pass& pass) const;
  at::Tensor feed_forward(std::int64_t layer, const at::Tensor& x, const Pass& pass) const;
  at::Tensor project(const Rules& rules, const std::string& prefix, const at::Tensor& x) const;
  at::Tensor norm(const Rules& rules, const std::string& prefix, const at::Tensor& x) const;

  Weights weights_;
  at::ScalarType type_;
  at::Device device_;
  std::vector<Rules> rules_;  // the first that fits a place holds there; the last fits any
};

}  // namespace plumbline
