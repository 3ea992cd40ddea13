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
// What a pass goes on with after a stage, in the place of what it computed there.
using Replacement = std::function<at::Tensor(const std::string& stage, const at::Tensor& value)>;

struct PassOptions {
  bool training = false;
  double dropout = 0;               // in training only
  std::int64_t first_position = 0;  // of a row's first real token
  Observer observe;                 // empty: nobody watches
  Replacement replace = {};         // empty: a pass goes on with what it computes
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
  bool padding_mask = false;  // one was given with a prefill, and grows with each step
};

// Numbers and formulas.
struct Rules {
  Specification specification;
  Formulas formulas;
};

// What holds in some layers or passes in the stead of what holds everywhere, of the same parameters. A right
// model has none; a departed one may (harness/model/departures/local_departures.hpp).
class LocalRules {
 public:
  virtual ~LocalRules() = default;
  // nullptr: what holds everywhere. `layer`: none before and after the layers.
  virtual const Rules* in(std::optional<std::int64_t> layer, bool training, bool cached) const = 0;
};

class Model {
 public:
  // `weights`: a tensor for each of specification.parameters(), all of one floating type on one device;
  // others are not used.
  // Errors: InputError naming a missing parameter or a wrong shape.
  Model(Specification specification, Weights weights, Formulas formulas = {},
        std::shared_ptr<const LocalRules> local = nullptr);
  // The same model with other weights.
  Model with(Weights weights) const;

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
  const Rules& rules_in(std::optional<std::int64_t> layer, bool training, bool cached) const;
  at::Tensor run(const Tokens& tokens, KVCache* cache, const PassOptions& options) const;
  at::Tensor attention(std::int64_t layer, const at::Tensor& x, const Pass& pass) const;
  at::Tensor feed_forward(std::int64_t layer, const at::Tensor& x, const Pass& pass) const;
  at::Tensor project(const Rules& rules, const std::string& prefix, const at::Tensor& x) const;
  at::Tensor norm(const Rules& rules, const std::string& prefix, const at::Tensor& x) const;

  Weights weights_;
  at::ScalarType type_;
  at::Device device_;
  Rules rules_;
  std::shared_ptr<const LocalRules> local_;
  at::Tensor frequencies_;  // (Dh/2), of the rules that hold everywhere
};

}  // namespace plumbline
