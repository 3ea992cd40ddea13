// The base class of variants that arrange the reference otherwise; for harness/candidate/*variants.cpp alone.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "harness/candidate/reference.hpp"

namespace plumbline::arrangements {

struct Arrangement {
  const char *name, *difference;  // difference: from the reference, as a clause
  std::function<std::unique_ptr<Candidate>(const std::string& title, const Specification&, at::ScalarType,
                                           at::Device)>
      make;
};

std::vector<Arrangement> pass_arrangements();
std::vector<Arrangement> cache_arrangements();
std::vector<Arrangement> text_arrangements();
std::vector<Arrangement> declaration_arrangements();

template <typename Kind>
std::unique_ptr<Candidate> make(const std::string& title, const Specification& specification,
                                at::ScalarType type, at::Device device) {
  return std::make_unique<Kind>(title, specification, type, device);
}

inline Tokens row_of(const Tokens& tokens, std::int64_t row) {
  Tokens one{tokens.ids.narrow(0, row, 1), {}, tokens.padding};
  if (!tokens.lengths.empty()) one.lengths = {tokens.lengths[static_cast<std::size_t>(row)]};
  return one;
}

// The reference in another arrangement: what is not overridden is passed on to the reference.
class ArrangedReference : public Candidate {
 public:
  ArrangedReference(const std::string& name, const Specification& specification, at::ScalarType type,
                    at::Device device, const Formulas& formulas = {})
      : inner_(make_reference(name, DepartedModel{specification, formulas}, type, device)) {}

  const Description& describe() const override { return inner_->describe(); }
  const Weights& weights() const override { return inner_->weights(); }
  std::set<std::string> capabilities() const override { return inner_->capabilities(); }
  void load(const Weights& weights) override { inner_->load(weights); }
  Weights initialise(std::uint32_t seed) override { return inner_->initialise(seed); }
  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    return inner_->forward(tokens, options);
  }
  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    return inner_->decode(batch, capacity);
  }
  Gradients gradients(const Tokens& tokens, const at::Tensor& labels, const PassOptions& options) override {
    return inner_->gradients(tokens, labels, options);
  }
  TrainingOutcome train(const TrainingRun& run, bool with_parameters) override {
    return inner_->train(run, with_parameters);
  }
  GeneratedText generate(const Tokens& prompts, const TextRequest& request) override {
    return inner_->generate(prompts, request);
  }
  at::Tensor repeat_kv(const at::Tensor& x, std::int64_t factor) override {
    return inner_->repeat_kv(x, factor);
  }
  at::Tensor repeat_kv_gradient(const at::Tensor& x, std::int64_t factor,
                                const at::Tensor& upstream) override {
    return inner_->repeat_kv_gradient(x, factor, upstream);
  }
  at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions) override {
    return inner_->rotate(x, positions);
  }
  at::ScalarType type() const override { return inner_->type(); }
  at::Device device() const override { return inner_->device(); }

 protected:
  Candidate& inner() { return *inner_; }
  std::set<std::string> capabilities_without(const std::vector<std::string>& names) const {
    auto all = inner_->capabilities();
    for (const auto& name : names) all.erase(name);
    return all;
  }
  // For arrangements that compute row by row or piece by piece, whose stages would be incomplete.
  static PassOptions without_observer(PassOptions options) {
    options.observer = {};
    return options;
  }
  static at::Tensor observe_logits(const PassOptions& options, const at::Tensor& logits) {
    if (options.observer) options.observer({"logits"}, logits);
    return logits;
  }

 private:
  std::unique_ptr<Candidate> inner_;
};

}  // namespace plumbline::arrangements
