// The one interface behind which everything that is judged stands: our reference, a checkpoint, and whatever
// comes later. Suites know only this.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>
#include "harness/system/json.hpp"

#include "harness/model/model.hpp"
#include "harness/model/training_steps.hpp"
#include "harness/model/writing.hpp"

namespace plumbline {

// A value of the candidate's configuration, under the specification's key, and where it was read.
struct Setting {
  Json value;
  std::string where;  // "config.json: rope_parameters.rope_theta"
};

struct ParameterDescription {
  std::string name;  // canonical
  std::vector<std::int64_t> shape;
  at::ScalarType type;
};

struct Description {
  std::string name;  // as the user named it
  std::string kind;  // "reference", "checkpoint", "state_dict", "live": requirements say which they apply to
  std::string sha256;                            // of what was read; empty for the built-in reference
  std::map<std::string, Setting> configuration;  // what is missing here was not shown
  std::vector<ParameterDescription> parameters;
  std::vector<std::string> notes;
  Json stated = {};  // a checkpoint's config.json as it stands, unknown settings too; null: there is none
};

// The candidate cannot do what was asked of it: the check is not assessed, with this reason.
class NotShown : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What a KV cache holds, as it is held.
struct CacheView {
  struct Layer {
    at::Tensor keys, values;  // (B, positions held, heads stored, Dh), views
  };
  std::vector<Layer> layers;
  std::int64_t length = 0;    // positions written
  std::int64_t capacity = 0;  // positions there is room for
  std::int64_t bytes = 0;     // of keys and values, shared storage counted once
  std::int64_t held = 0;      // of all that they keep from being freed: more where they are views of it
};

// One decoding in progress: a cache and the model that extends it.
class Decoding {
 public:
  virtual ~Decoding() = default;
  // Logits (B, T, V) of the tokens, which are appended. Errors: CacheOverrun past the capacity.
  virtual at::Tensor extend(const Tokens& tokens, const PassOptions& options) = 0;
  virtual CacheView show() = 0;
  // Fills every slot that was not written yet.
  virtual void fill_unwritten(double value) = 0;
};

// What running a candidate has taken so far, by its own account.
struct Usage {
  std::optional<double> seconds;  // in its model; empty: what a call takes is its own time
  std::optional<std::uint64_t>
      most_bytes;  // of memory that its program held at any moment; empty: it has none of its own
};

class Candidate {
 public:
  virtual ~Candidate() = default;
  virtual const Description& describe() const = 0;

  // The values of the parameters, by canonical name; a tied head appears once or as an alias.
  virtual const Weights& weights() const = 0;

  // What it declares that it can do, in the words of protocol.md: "code", "load", "initialise", "evaluation",
  // "training", "dropout", "first_position", "padding.right", "padding.left", "cache", "cache.chunks",
  // "cache.capacity", "cache.fill", "cache.show", "cache.padding" (on either side),
  // "cache.padding.right", "cache.padding.left", "gradients", "train", "repeat_kv", "rotate", "generate",
  // "generate.greedy", "generate.temperature", "generate.top_k", "generate.top_p",
  // "generate.repetition_penalty", "generate.end", "generate.seed", "generate.padding.right",
  // "generate.padding.left", "generate.probabilities". Requirements name what they need; what a candidate
  // does not declare is not applicable to it.
  virtual std::set<std::string> capabilities() const { return {}; }

  // Looks whether what stands between us and the model can be trusted at all: it is judged before the model.
  // Errors: InputError with advice.
  virtual void check_adapter() {}

  // What its program wrote to its standard error, the last part of it; of unknown origin.
  virtual std::string log() const { return ""; }

  // A sentence on how the run went, for its end; empty: nothing to say.
  virtual std::string closing_note() const { return ""; }

  // From here on: what only code can show. A candidate without code throws NotShown.

  // Loads weights by canonical name. What the candidate has beyond them is set to what makes it void (a bias
  // to 0, a head of its own to the embedding); what it cannot place makes it throw NotShown.
  virtual void load(const Weights&) { throw NotShown("it has no code to load weights into"); }
  // As it initialises itself before training.
  virtual Weights initialise(std::uint32_t) { throw NotShown("it has no code that initialises"); }
  virtual at::Tensor forward(const Tokens&, const PassOptions&) { throw NotShown("it has no code to run"); }
  virtual std::unique_ptr<Decoding> decode(std::int64_t /*batch*/, std::int64_t /*capacity*/) {
    throw NotShown("it has no KV cache");
  }
  // The loss and every parameter's gradient, see gradients.hpp; a parameter beyond the specification's, too.
  virtual Gradients gradients(const Tokens&, const at::Tensor& /*labels*/, const PassOptions&) {
    throw NotShown("it shows no gradients");
  }
  // A step of training on each batch, in training mode without dropout, from the weights that were loaded;
  // afterwards it has those again. The parameters are left out unless `with_parameters`.
  virtual Trained train(const TrainingRun&, bool /*with_parameters*/) {
    throw NotShown("it cannot be trained");
  }
  // Continues every prompt by its own loop. What it does not declare has its neutral value.
  virtual Text own_text(const Tokens& /*prompts*/, const TextRequest&) {
    throw NotShown("it does not generate text itself");
  }
  // The operation that repeats key/value heads: (B, S, K, Dh) -> (B, S, K * factor, Dh).
  virtual at::Tensor repeat_kv(const at::Tensor&, std::int64_t /*factor*/) {
    throw NotShown("it does not show this operation");
  }
  // The gradient of (repeat_kv(x, factor) * upstream).sum() with respect to x.
  virtual at::Tensor repeat_kv_gradient(const at::Tensor&, std::int64_t /*factor*/,
                                        const at::Tensor& /*upstream*/) {
    throw NotShown("it does not show this operation");
  }
  // The rotation of (B, T, heads, Dh) at positions (B, T) int64.
  virtual at::Tensor rotate(const at::Tensor&, const at::Tensor& /*positions*/) {
    throw NotShown("it does not show this operation");
  }
  // Empty where nothing is run and answers were only kept.
  virtual std::optional<Usage> usage() const { return Usage{}; }
  virtual at::ScalarType type() const { throw NotShown("it has no code to run"); }
  virtual at::Device device() const { return at::kCPU; }
};

}  // namespace plumbline
