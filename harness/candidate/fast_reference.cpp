#include "harness/candidate/fast_reference.hpp"

#include <fmt/format.h>

#include <optional>

#include "harness/candidate/reference.hpp"
#include "harness/candidate/static_cache.hpp"
#include "harness/candidate/void_parameters.hpp"
#include "harness/model/engine.hpp"

namespace plumbline {
namespace {

// Training mode without dropout computes the same function.
void require_inference(const PassOptions& options) {
  if (options.training && options.dropout > 0)
    throw NotShown("the engine is for inference and has no dropout");
}

at::Tensor shown(const PassOptions& options, const at::Tensor& logits) {
  if (options.observer) options.observer({"logits"}, logits);
  return logits;
}

class EngineDecoding : public Decoding {
 public:
  EngineDecoding(const Engine& engine, std::int64_t batch, std::int64_t capacity)
      : engine_(engine), cache_(engine.make_cache(batch, capacity)) {}

  at::Tensor extend(const Tokens& tokens, const PassOptions& options) override {
    require_inference(options);
    return shown(options, engine_.extend(cache_, tokens, options.first_position, options.last_only));
  }

  CacheView show() override { return show_cache(cache_); }
  void fill_unwritten(double value) override { plumbline::fill_unwritten(cache_, value); }

 private:
  const Engine& engine_;
  EngineCache cache_;
};

class EngineCandidate : public Candidate {
 public:
  EngineCandidate(const std::string& name, const Specification& specification, at::ScalarType type,
                  at::Device device)
      : specification_(specification), type_(type), device_(device) {
    description_ = {name, "reference",
                    "",   specification_settings(specification, "the engine's own configuration"),
                    {},   {}};
    for (const auto& parameter : specification.parameters())
      description_.parameters.push_back({parameter.name, parameter.shape, type});
  }

  const Description& describe() const override { return description_; }
  const Weights& weights() const override { return weights_; }
  std::set<std::string> capabilities() const override {
    auto all = all_code_capabilities();
    for (const auto* name : {"initialise", "dropout", "gradients", "train", "repeat_kv", "rotate"})
      all.erase(name);
    std::erase_if(all, [](const std::string& name) { return name.starts_with("generate"); });
    return all;
  }

  void load(const Weights& given) override {
    auto own = convert(fit_weights(given, description_.parameters), type_, device_);
    engine_.emplace(specification_, own);
    weights_ = std::move(own);
  }

  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    require_inference(options);
    return shown(options, running().forward(tokens, options.first_position));
  }
  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    return std::make_unique<EngineDecoding>(running(), batch, capacity);
  }
  at::ScalarType type() const override { return type_; }
  at::Device device() const override { return device_; }

 private:
  const Engine& running() const {
    if (!engine_) throw NotShown("no weights are loaded");
    return *engine_;
  }

  Specification specification_;
  at::ScalarType type_;
  at::Device device_;
  Description description_;
  Weights weights_;  // as loaded; the engine holds a packed copy
  std::optional<Engine> engine_;
};

}  // namespace

std::unique_ptr<Candidate> make_engine(const std::string& name, const Specification& specification,
                                       at::ScalarType type, at::Device device) {
  return std::make_unique<EngineCandidate>(name, specification, type, device);
}

}  // namespace plumbline
