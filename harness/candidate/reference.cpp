#include "harness/candidate/reference.hpp"

#include <fmt/format.h>

#include "harness/candidate/static_cache.hpp"
#include "harness/candidate/void_parameters.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

class ReferenceDecoding : public Decoding {
 public:
  ReferenceDecoding(std::shared_ptr<const Model> model, std::int64_t batch, std::int64_t capacity)
      : model_(std::move(model)), cache_(model_->make_cache(batch, capacity)) {}

  at::Tensor extend(const Tokens& tokens, const PassOptions& options) override {
    return model_->extend(cache_, tokens, options);
  }

  CacheView show() override { return show_cache(cache_); }
  void fill_unwritten(double value) override { plumbline::fill_unwritten(cache_, value); }

 private:
  std::shared_ptr<const Model> model_;  // with the weights that it began with, whatever is loaded since
  KVCache cache_;
};

class Reference : public Candidate {
 public:
  Reference(const std::string& name, DepartedModel departed, at::ScalarType type, at::Device device)
      : departed_(std::move(departed)), type_(type), device_(device) {
    const auto& specification = departed_.specification;
    description_ = {name, "reference",
                    "",   specification_settings(specification, "the model's own configuration"),
                    {},   departed_.idle};
    for (const auto& parameter : specification.parameters())
      description_.parameters.push_back({parameter.name, parameter.shape, type});
  }

  const Description& describe() const override { return description_; }
  const Weights& weights() const override { return running().weights(); }
  std::set<std::string> capabilities() const override { return all_code_capabilities(); }

  void load(const Weights& given) override {
    auto own = convert(fit_weights(given, description_.parameters), type_, device_);
    if (first_loaded_.empty()) first_loaded_ = own;
    own = departed_.formulas.loaded_weights(first_loaded_, own);
    model_ = std::make_shared<const Model>(departed_.specification, std::move(own), departed_.formulas,
                                           departed_.overrides);
  }

  Weights initialise(std::uint32_t seed) override {
    auto weights = initial_weights(departed_.specification, seed);
    for (auto& [name, values] : weights) values = departed_.formulas.initial_values(name, values);
    return weights;
  }

  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    return running().forward(tokens, options);
  }
  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    running();
    return std::make_unique<ReferenceDecoding>(model_, batch, capacity);
  }
  Gradients gradients(const Tokens& tokens, const at::Tensor& labels, const PassOptions& options) override {
    return plumbline::gradients(running(), tokens, labels, options);
  }
  TrainingOutcome train(const TrainingRun& run, bool) override { return plumbline::train(running(), run); }
  GeneratedText generate(const Tokens& prompts, const TextRequest& request) override {
    return plumbline::generate(running(), prompts, request);
  }
  at::Tensor repeat_kv(const at::Tensor& x, std::int64_t factor) override {
    return departed_.formulas.repeat_kv(x, factor);
  }
  at::Tensor repeat_kv_gradient(const at::Tensor& x, std::int64_t factor,
                                const at::Tensor& upstream) override {
    const auto leaf = x.detach().clone().set_requires_grad(true);
    (repeat_kv(leaf, factor) * upstream).sum().backward();
    return leaf.grad();
  }
  at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions) override {
    const auto& formulas = departed_.formulas;
    const auto& specification = departed_.specification;
    if (x.size(-1) != specification.head_size())
      throw NotShown(
          fmt::format("its heads have a size of {}, not {}", specification.head_size(), x.size(-1)));
    const auto angles =
        formulas.angles(positions.to(device_), formulas.frequencies(specification, type_, device_));
    return formulas.rotate_query(x.to(device_), angles, specification.rotary);
  }
  at::ScalarType type() const override { return type_; }
  at::Device device() const override { return device_; }

 private:
  const Model& running() const {
    if (!model_) throw NotShown("the specification's weights do not fit it");
    return *model_;
  }

  DepartedModel departed_;
  Weights first_loaded_;
  at::ScalarType type_;
  at::Device device_;
  Description description_;
  std::shared_ptr<const Model> model_;
};

}  // namespace

std::set<std::string> all_code_capabilities() {
  return {"code",
          "load",
          "initialise",
          "evaluation",
          "training",
          "dropout",
          "padding.right",
          "padding.left",
          "cache",
          "cache.chunks",
          "cache.capacity",
          "cache.fill",
          "cache.show",
          "repeat_kv",
          "rotate",
          "cache.padding",
          "cache.padding.right",
          "cache.padding.left",
          "first_position",
          "gradients",
          "train",
          "generate",
          "generate.greedy",
          "generate.temperature",
          "generate.top_k",
          "generate.top_p",
          "generate.repetition_penalty",
          "generate.end",
          "generate.seed",
          "generate.padding.right",
          "generate.padding.left",
          "generate.probabilities"};
}

std::map<std::string, Setting> specification_settings(const Specification& s, const std::string& where) {
  return {{"vocab_size", {s.vocab_size, where}},
          {"hidden_size", {s.hidden_size, where}},
          {"num_hidden_layers", {s.num_hidden_layers, where}},
          {"num_attention_heads", {s.num_attention_heads, where}},
          {"head_dim", {s.head_size(), where}},
          {"num_key_value_heads", {s.num_key_value_heads, where}},
          {"intermediate_size", {s.intermediate_size, where}},
          {"hidden_act", {to_string(s.hidden_act), where}},
          {"rotary", {to_string(s.rotary), where}},
          {"rope_type", {"default", where}},
          {"rope_theta", {s.rope_theta, where}},
          {"rms_norm_eps", {s.rms_norm_eps, where}},
          {"dropout", {s.dropout, where}},
          {"attention_bias", {s.attention_bias, where}},
          {"mlp_bias", {s.mlp_bias, where}},
          {"tie_word_embeddings", {s.tie_word_embeddings, where}},
          {"max_position_embeddings", {s.max_position_embeddings, where}}};
}

std::unique_ptr<Candidate> make_reference(const std::string& name, DepartedModel departed,
                                          at::ScalarType type, at::Device device) {
  return std::make_unique<Reference>(name, std::move(departed), type, device);
}

}  // namespace plumbline
