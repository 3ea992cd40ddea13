// The interface of everything that is judged: the reference, checkpoints, live models. Suites know only this.
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
#include "harness/system/source_line.hpp"

#include "harness/model/model.hpp"
#include "harness/model/text_generation.hpp"
#include "harness/model/training_steps.hpp"

namespace plumbline {

// A value of the candidate's configuration, under the specification's key.
struct Setting {
  Json value;
  std::string where;  // it was read: "config.json: rope_parameters.rope_theta"
};

struct ParameterDescription {
  std::string name;  // canonical
  std::vector<std::int64_t> shape;
  at::ScalarType type;
};

struct Description {
  std::string name;  // as the user named it
  std::string kind;  // "reference", "checkpoint", "state_dict", "live": requirements say which they apply to
  std::string sha256;  // of the file that was read; empty for the built-in reference
  std::map<std::string, Setting> configuration;  // lacks settings that were not shown
  std::vector<ParameterDescription> parameters;
  std::vector<std::string> notes;
  std::map<std::string, SourceLine> lines = {};  // of the code that makes a stage, by its name
  Json stated = {};  // a checkpoint's config.json, with unknown settings; null: there is none
};

// The candidate does not support a request: the check is not assessed, with this reason.
class NotShown : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The content of a KV cache, in the layout in which it is stored.
struct CacheView {
  struct Layer {
    at::Tensor keys, values;  // (B, positions held, heads stored, Dh), views
  };
  std::vector<Layer> layers;
  std::int64_t length = 0;    // positions written
  std::int64_t capacity = 0;  // positions allocated
  std::int64_t bytes = 0;     // of keys and values, shared storage counted once
  std::int64_t held = 0;      // of the storage that they keep alive; more where they are views of it
};

// A decoding in progress: a cache and the model that extends it.
class Decoding {
 public:
  virtual ~Decoding() = default;
  // Appends the tokens and returns their logits (B, T, V). Errors: CacheOverrun past the capacity.
  virtual at::Tensor extend(const Tokens& tokens, const PassOptions& options) = 0;
  virtual CacheView show() = 0;
  // Fills every slot that was not written yet.
  virtual void fill_unwritten(double value) = 0;
};

// The resources that a candidate reports to have used so far.
struct Usage {
  std::optional<double> seconds;            // in its model; empty: not reported
  std::optional<std::uint64_t> peak_bytes;  // of its program's memory; empty: it has no program of its own
};

class Candidate {
 public:
  virtual ~Candidate() = default;
  virtual const Description& describe() const = 0;

  // The values of the parameters, by canonical name; a tied head appears once or as an alias.
  virtual const Weights& weights() const = 0;

  // What it declares to support, in the words of protocol.md: "code", "load", "initialise", "evaluation",
  // "training", "dropout", "first_position", "padding.right", "padding.left", "cache", "cache.chunks",
  // "cache.capacity", "cache.fill", "cache.show", "cache.padding" (on either side),
  // "cache.padding.right", "cache.padding.left", "gradients", "train", "repeat_kv", "rotate", "generate",
  // "generate.greedy", "generate.temperature", "generate.top_k", "generate.top_p",
  // "generate.repetition_penalty", "generate.end", "generate.seed", "generate.padding.right",
  // "generate.padding.left", "generate.probabilities". Requirements that need an undeclared
  // capability are not applicable.
  virtual std::set<std::string> capabilities() const { return {}; }

  // Checks the adapter between Plumbline and the model, before the model is judged. Errors: InputError with
  // advice.
  virtual void check_adapter() {}

  // The last part of its program's standard error; of unknown origin.
  virtual std::string log() const { return ""; }

  // What its passes left changed in the model or its framework, as its program reports; of unknown origin.
  virtual std::vector<std::string> left_behind() const { return {}; }

  // A sentence for the end of a run; may be empty.
  virtual std::string closing_note() const { return ""; }

  // The following need code that can be run. Errors: NotShown where there is none.

  // Loads weights by canonical name. Surplus parameters of the candidate become void (a bias 0, an untied
  // head the embedding). Errors: NotShown where a weight has no place.
  virtual void load(const Weights&) { throw NotShown("it has no code to load weights into"); }
  // The initial weights before training, by canonical name.
  virtual Weights initialise(std::uint32_t) { throw NotShown("it has no code that initialises"); }
  virtual at::Tensor forward(const Tokens&, const PassOptions&) { throw NotShown("it has no code to run"); }
  virtual std::unique_ptr<Decoding> decode(std::int64_t /*batch*/, std::int64_t /*capacity*/) {
    throw NotShown("it has no KV cache");
  }
  // The loss and every parameter's gradient, see gradients.hpp, surplus parameters included.
  virtual Gradients gradients(const Tokens&, const at::Tensor& /*labels*/, const PassOptions&) {
    throw NotShown("it shows no gradients");
  }
  // One optimiser step on each batch, in training mode without dropout, from the loaded weights, which are
  // restored afterwards. Returns no parameters unless `with_parameters`.
  virtual TrainingOutcome train(const TrainingRun&, bool /*with_parameters*/) {
    throw NotShown("it cannot be trained");
  }
  // Continues every prompt by its own generation loop. Settings that it does not declare have neutral values.
  virtual GeneratedText generate(const Tokens& /*prompts*/, const TextRequest&) {
    throw NotShown("it does not generate text itself");
  }
  // Repeats key/value heads: (B, S, K, Dh) -> (B, S, K * factor, Dh).
  virtual at::Tensor repeat_kv(const at::Tensor&, std::int64_t /*factor*/) {
    throw NotShown("it does not show this operation");
  }
  // The gradient of (repeat_kv(x, factor) * upstream).sum() with respect to x.
  virtual at::Tensor repeat_kv_gradient(const at::Tensor&, std::int64_t /*factor*/,
                                        const at::Tensor& /*upstream*/) {
    throw NotShown("it does not show this operation");
  }
  // Rotates (B, T, heads, Dh) at positions (B, T) int64.
  virtual at::Tensor rotate(const at::Tensor&, const at::Tensor& /*positions*/) {
    throw NotShown("it does not show this operation");
  }
  // Empty for recordings, which run nothing.
  virtual std::optional<Usage> usage() const { return Usage{}; }
  virtual at::ScalarType type() const { throw NotShown("it has no code to run"); }
  virtual at::Device device() const { return at::kCPU; }
};

}  // namespace plumbline
