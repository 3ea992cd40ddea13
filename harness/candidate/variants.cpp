#include "harness/candidate/variants.hpp"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "harness/candidate/arranged_reference.hpp"
#include "harness/candidate/fast_reference.hpp"
#include "harness/model/formula_variants.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

using arrangements::ArrangedReference;
using arrangements::Arrangement;
using arrangements::make;
using arrangements::row_of;

// Sequences of a batch run in the opposite order.
class BatchReversed : public ArrangedReference {
 public:
  using ArrangedReference::ArrangedReference;
  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    auto turned = tokens;
    turned.ids = tokens.ids.flip(0);
    std::reverse(turned.lengths.begin(), turned.lengths.end());
    return observe_logits(options, inner().forward(turned, without_observer(options)).flip(0));
  }
};

// Each sequence of a batch runs alone.
class RowByRow : public ArrangedReference {
 public:
  using ArrangedReference::ArrangedReference;
  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    std::vector<at::Tensor> rows;
    for (std::int64_t row = 0; row < tokens.ids.size(0); ++row)
      rows.push_back(inner().forward(row_of(tokens, row), without_observer(options)));
    return observe_logits(options, at::cat(rows, 0));
  }
};

// A full pass is a prefill, five tokens at a time; one with padding or in training is a full pass.
class PassInChunks : public ArrangedReference {
 public:
  using ArrangedReference::ArrangedReference;
  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    if (tokens.padding != Padding::none || options.training || options.first_position != 0)
      return inner().forward(tokens, options);
    const auto length = tokens.ids.size(1);
    const auto decoding = inner().decode(tokens.ids.size(0), length);
    std::vector<at::Tensor> parts;
    for (std::int64_t begin = 0; begin < length; begin += 5)
      parts.push_back(decoding->extend(
          {tokens.ids.narrow(1, begin, std::min<std::int64_t>(5, length - begin)), {}, Padding::none}, {}));
    return observe_logits(options, at::cat(parts, 1));
  }
};

// Prefills run token by token.
class OneByOne : public ArrangedReference {
 public:
  using ArrangedReference::ArrangedReference;
  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    return std::make_unique<Steps>(inner().decode(batch, capacity), capacity);
  }

 private:
  class Steps : public Decoding {
   public:
    Steps(std::unique_ptr<Decoding> inner, std::int64_t capacity)
        : inner_(std::move(inner)), left_(capacity) {}
    at::Tensor extend(const Tokens& tokens, const PassOptions& options) override {
      const auto length = tokens.ids.size(1);
      // An overrun has to be refused before anything is written; padded batches are not split.
      if (tokens.padding != Padding::none || options.observer || length > left_) {
        auto logits = inner_->extend(tokens, options);
        left_ -= length;
        return logits;
      }
      std::vector<at::Tensor> parts;
      for (std::int64_t step = 0; step < length; ++step)
        parts.push_back(inner_->extend({tokens.ids.narrow(1, step, 1), {}, Padding::none}, options));
      left_ -= length;
      return at::cat(parts, 1);
    }
    CacheView show() override { return inner_->show(); }
    void fill_unwritten(double value) override { inner_->fill_unwritten(value); }

   private:
    std::unique_ptr<Decoding> inner_;
    std::int64_t left_;
  };
};

// The cache grows with each token: there are no unwritten slots and no capacity.
class GrowingCache : public ArrangedReference {
 public:
  GrowingCache(const std::string& name, const Specification& specification, at::ScalarType type,
               at::Device device)
      : ArrangedReference(name, specification, type, device), specification_(specification) {}
  std::set<std::string> capabilities() const override {
    return capabilities_without({"cache.capacity", "cache.fill"});
  }
  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t) override {
    return std::make_unique<Grown>(Model(specification_, inner().weights()), batch);
  }

 private:
  class Grown : public Decoding {
   public:
    Grown(Model model, std::int64_t batch) : model_(std::move(model)), batch_(batch) {}
    at::Tensor extend(const Tokens& tokens, const PassOptions& options) override {
      auto larger = model_.make_cache(batch_, cache_.length + tokens.ids.size(1));
      for (std::size_t layer = 0; layer < cache_.layers.size(); ++layer) {
        larger.layers[layer].keys.narrow(1, 0, cache_.length).copy_(cache_.layers[layer].keys);
        larger.layers[layer].values.narrow(1, 0, cache_.length).copy_(cache_.layers[layer].values);
      }
      if (cache_.length > 0) {
        larger.real.narrow(1, 0, cache_.length).copy_(cache_.real);
        larger.seen.copy_(cache_.seen);
        larger.length = cache_.length;
      }
      cache_ = std::move(larger);
      return model_.extend(cache_, tokens, options);
    }
    CacheView show() override {
      CacheView view{{}, cache_.length, cache_.length, 0};
      for (const auto& layer : cache_.layers) {
        view.layers.push_back({layer.keys, layer.values});
        view.bytes += static_cast<std::int64_t>(layer.keys.nbytes() + layer.values.nbytes());
      }
      return view;
    }
    void fill_unwritten(double) override {}

   private:
    Model model_;
    std::int64_t batch_;
    KVCache cache_;
  };
  Specification specification_;
};

// No cache: every step is a full pass over all tokens.
class Recomputed : public ArrangedReference {
 public:
  using ArrangedReference::ArrangedReference;
  std::set<std::string> capabilities() const override {
    auto all = capabilities_without({"cache", "cache.chunks"});
    std::erase_if(all, [](const std::string& name) { return name.starts_with("cache."); });
    return all;
  }
};

// Computes in float64 and rounds the logits alone.
class ComputedInDouble : public ArrangedReference {
 public:
  ComputedInDouble(const std::string& name, const Specification& specification, at::ScalarType type,
                   at::Device device)
      : ArrangedReference(name, specification, at::kDouble, device),
        type_(type),
        description_(ArrangedReference::describe()) {
    for (auto& parameter : description_.parameters) parameter.type = type;
  }
  const Description& describe() const override { return description_; }
  at::ScalarType type() const override { return type_; }
  void load(const Weights& weights) override {
    ArrangedReference::load(convert(convert(weights, type_, device()), at::kDouble, device()));
    rounded_ = convert(inner().weights(), type_, device());
  }
  const Weights& weights() const override { return rounded_; }
  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    return inner().forward(tokens, options).to(type_);
  }

 private:
  at::ScalarType type_;
  Description description_;
  Weights rounded_;
};

std::unique_ptr<Candidate> make_fused(const std::string& name, const Specification& specification,
                                      at::ScalarType type, at::Device device) {
  return make_engine(name, specification, type, device);
}

// The engine with one of LibTorch's attention kernels, which are selected for the whole process.
template <bool flash, bool math>
std::unique_ptr<Candidate> make_with_kernel(const std::string& name, const Specification& specification,
                                            at::ScalarType type, at::Device device) {
  auto& context = at::globalContext();
  context.setSDPUseFlash(flash);
  context.setSDPUseMath(math);
  context.setSDPUseMemEfficient(false);
  return make_engine(name, specification, type, device);
}

const std::vector<Arrangement>& all_arrangements() {
  static const std::vector<Arrangement> all = [] {
    std::vector<Arrangement> joined = {
        {"fused", "projections are fused, rotations come from a table, attention is the library's kernel",
         make_fused},
        {"fused-flash-attention", "the same with the library's flash attention only",
         make_with_kernel<true, false>},
        {"fused-plain-attention", "the same with the library's plain attention only",
         make_with_kernel<false, true>},
        {"batch-reversed", "sequences of a batch run in the opposite order", make<BatchReversed>},
        {"row-by-row", "each sequence of a batch runs alone", make<RowByRow>},
        {"pass-in-chunks", "a full pass is a prefill of the cache, five tokens at a time",
         make<PassInChunks>},
        {"one-by-one", "prefills run token by token", make<OneByOne>},
        {"growing-cache", "the cache grows with what is written", make<GrowingCache>},
        {"no-cache", "there is no cache: decoding runs full passes", make<Recomputed>},
        {"computed-in-float64", "everything is computed and shown in float64, except the logits",
         make<ComputedInDouble>},
    };
    for (const auto& part : {arrangements::pass_arrangements(), arrangements::cache_arrangements(),
                             arrangements::text_arrangements(), arrangements::declaration_arrangements()})
      joined.insert(joined.end(), part.begin(), part.end());
    return joined;
  }();
  return all;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> variants() {
  std::vector<std::pair<std::string, std::string>> all;
  for (const auto& one : formula_variants()) all.emplace_back(one.name, one.difference);
  for (const auto& one : all_arrangements()) all.emplace_back(one.name, one.difference);
  return all;
}

std::unique_ptr<Candidate> make_variant(const std::string& name, const Specification& specification,
                                        at::ScalarType type, at::Device device) {
  const auto title = "variant:" + name;
  for (const auto& one : formula_variants())
    if (one.name == name) {
      DepartedModel arranged{specification, {}};
      one.apply(arranged.formulas);
      return make_reference(title, std::move(arranged), type, device);
    }
  for (const auto& one : all_arrangements())
    if (one.name == name) return one.make(title, specification, type, device);
  std::vector<std::string> known;
  for (const auto& [each, what] : variants()) known.push_back(each);
  throw InputError(fmt::format("{}: there is no variant '{}'; {}", printable(title, 80), printable(name, 60),
                               nearest_names(name, known, "`plumbline defects` lists them")));
}

}  // namespace plumbline
