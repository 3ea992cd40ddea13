// The reference model: MiniMind2-Small, or any model of its family, as a paper's appendix would write it.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "harness/model/formulas.hpp"
#include "harness/model/specification.hpp"
#include "harness/model/weights.hpp"
#include "harness/system/stage.hpp"

namespace plumbline {

// "[2, 3]"
std::string shape_of(at::IntArrayRef shape);

enum class Padding { none, right, left };

// A batch of token sequences; row b has lengths[b] real tokens at its start (right padding) or end (left).
struct Tokens {
  at::Tensor ids;                     // (B, T) int64
  std::vector<std::int64_t> lengths;  // B entries, or empty: every token is real
  Padding padding = Padding::none;
};

// Which tokens are not padding: (B, T) bool.
at::Tensor real_tokens(const Tokens& tokens);

// The stages of a pass, in execution order: "embedding", "layers.0.attention_norm", ..., "logits".
std::vector<Stage> stages_in_order(std::int64_t layers);
// What a stage may compute, in execution order.
std::vector<std::string> stage_kinds();
// Whether a stage of this kind is (B, H, T, S), with an axis of keys; others begin with (B, T).
bool has_keys(const std::string& kind);

// Is called with every stage and its value, in execution order.
using Observer = std::function<void(const Stage& stage, const at::Tensor& value)>;
// Returns the value with which a pass continues in place of the one that it computed for a stage.
using Replacement = std::function<at::Tensor(const Stage& stage, const at::Tensor& value)>;

struct PassOptions {
  bool training = false;
  double dropout = 0;               // probability, in training mode only
  std::int64_t first_position = 0;  // of a row's first real token
  Observer observer = {};           // may be empty
  Replacement replacement = {};     // empty: nothing is replaced
  bool last_only = false;           // allows to return the logits of each row's last slot alone: (B, 1, V)
};

// A write past the capacity of a KV cache.
class CacheOverrun : public std::length_error {
 public:
  using std::length_error::length_error;
};

// A static cache of keys, after rotation, and values, before heads are repeated.
struct KVCache {
  struct Layer {
    at::Tensor keys, values;  // (B, capacity, K, Dh)
  };
  std::vector<Layer> layers;
  at::Tensor real;          // (B, capacity) bool: slots that hold a real token
  at::Tensor seen;          // (B) int64: real tokens so far, which is the position of the next one
  std::int64_t length = 0;  // slots that were written
  std::int64_t passes = 0;  // that wrote them
  std::int64_t capacity = 0;
  bool padding_mask = false;  // one was given with a prefill, and grows with each step
};

struct Rules {
  Specification specification;
  Formulas formulas;
};

struct PassKind {
  bool training = false, cached = false;
  bool padded = false;  // a token of it is padding, or one before it in the cache
};

// Rules for some layers or passes that take precedence over the model's, for the same parameters. A correct
// model has none; a departed one may (harness/model/departures/local_departures.hpp).
class LocalOverrides {
 public:
  virtual ~LocalOverrides() = default;
  // nullptr: the model's rules apply. `layer`: empty for what precedes and follows the layers.
  virtual const Rules* find(std::optional<std::int64_t> layer, const PassKind& pass) const = 0;
};

class Model {
 public:
  // `weights`: a tensor for each of specification.parameters(), all of one floating type on one device; any
  // other tensor is ignored.
  // Errors: InputError naming a missing parameter or a wrong shape.
  Model(Specification specification, Weights weights, Formulas formulas = {},
        std::shared_ptr<const LocalOverrides> overrides = nullptr);
  Model with_weights(Weights weights) const;

  // One full pass: (B, T) -> logits (B, T, V).
  at::Tensor forward(const Tokens& tokens, const PassOptions& options = {}) const;

  KVCache make_cache(std::int64_t batch, std::int64_t capacity) const;

  // Prefill or decode: appends the tokens to the cache and returns their logits (B, T, V).
  // Errors: CacheOverrun when they do not fit; the cache is then unchanged.
  at::Tensor extend(KVCache& cache, const Tokens& tokens, const PassOptions& options = {}) const;

  const Specification& specification() const { return rules_.specification; }
  const Formulas& formulas() const { return rules_.formulas; }
  const Weights& weights() const { return weights_; }
  at::ScalarType type() const { return type_; }
  at::Device device() const { return device_; }

 private:
  struct Pass;
  const Rules& rules_for(std::optional<std::int64_t> layer, const PassKind& pass) const;
  at::Tensor run(const Tokens& tokens, KVCache* cache, const PassOptions& options) const;
  at::Tensor attention(std::int64_t layer, const at::Tensor& x, const Pass& pass) const;
  at::Tensor feed_forward(std::int64_t layer, const at::Tensor& x, const Pass& pass) const;
  at::Tensor project(const Rules& rules, const std::string& prefix, const at::Tensor& x) const;
  at::Tensor norm(const Rules& rules, const std::string& prefix, const at::Tensor& x) const;

  Weights weights_;
  at::ScalarType type_;
  at::Device device_;
  Rules rules_;
  std::shared_ptr<const LocalOverrides> overrides_;
  at::Tensor frequencies_;  // (Dh/2), by rules_
};

}  // namespace plumbline
