// Correct models with fewer capabilities, which refuse requests that they do not declare.
#include "harness/candidate/arranged_reference.hpp"

namespace plumbline::arrangements {
namespace {

struct Limitation {
  const char *name, *what;
  std::vector<std::string> cannot;  // each with all that begins with it and a dot
};

const std::vector<Limitation> kLimitations = {
    {"without-padding",
     "it takes no padding anywhere: batches are of one length",
     {"padding", "cache.padding", "generate.padding"}},
    {"without-positions", "it counts positions itself, from 0", {"first_position"}},
    {"without-training",
     "it is for inference: there is no training mode, no dropout and no gradient",
     {"training", "dropout", "gradients", "train", "initialise"}},
    {"without-chunks", "after the prompt its cache takes one token at a time", {"cache.chunks"}},
    {"without-cache-shown",
     "its cache does not show its contents",
     {"cache.show", "cache.fill", "cache.capacity"}},
    {"without-anything-else",
     "it takes whole sequences of one length and gives logits, as an exported graph does",
     {"initialise", "training", "dropout", "first_position", "padding", "cache", "gradients", "train",
      "repeat_kv", "rotate", "generate"}},
};

class LimitedReference : public ArrangedReference {
 public:
  LimitedReference(const Limitation& limitation, const std::string& title, const Specification& specification,
                   at::ScalarType type, at::Device device)
      : ArrangedReference(title, specification, type, device) {
    declared_ = capabilities_without({});
    std::erase_if(declared_, [&](const std::string& name) {
      return std::any_of(limitation.cannot.begin(), limitation.cannot.end(),
                         [&](const std::string& one) { return name == one || name.starts_with(one + "."); });
    });
  }

  std::set<std::string> capabilities() const override { return declared_; }
  Weights initialise(std::uint32_t seed) override {
    require("initialise");
    return inner().initialise(seed);
  }
  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    require_pass(tokens, options);
    return inner().forward(tokens, options);
  }
  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    require("cache");
    return std::make_unique<LimitedDecoding>(*this, inner().decode(batch, capacity));
  }
  Gradients gradients(const Tokens& tokens, const at::Tensor& labels, const PassOptions& options) override {
    require("gradients");
    require_pass(tokens, options);
    return inner().gradients(tokens, labels, options);
  }
  TrainingOutcome train(const TrainingRun& run, bool with_parameters) override {
    require("train");
    return inner().train(run, with_parameters);
  }
  GeneratedText generate(const Tokens& prompts, const TextRequest& request) override {
    require("generate");
    require_padding("generate.", prompts);
    return inner().generate(prompts, request);
  }
  at::Tensor repeat_kv(const at::Tensor& x, std::int64_t factor) override {
    require("repeat_kv");
    return inner().repeat_kv(x, factor);
  }
  at::Tensor repeat_kv_gradient(const at::Tensor& x, std::int64_t factor,
                                const at::Tensor& upstream) override {
    require("repeat_kv");
    return inner().repeat_kv_gradient(x, factor, upstream);
  }
  at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions) override {
    require("rotate");
    return inner().rotate(x, positions);
  }

 private:
  void require(const std::string& ability) const {
    if (!declared_.contains(ability))
      throw NotShown("the request needs what it does not declare: " + ability);
  }
  void require_padding(const std::string& whose, const Tokens& tokens) const {
    if (tokens.padding == Padding::left) require(whose + "padding.left");
    if (tokens.padding == Padding::right) require(whose + "padding.right");
  }
  void require_pass(const Tokens& tokens, const PassOptions& options) const {
    require_padding("", tokens);
    if (options.training) require("training");
    if (options.training && options.dropout > 0) require("dropout");
    if (options.first_position != 0) require("first_position");
  }

  class LimitedDecoding : public Decoding {
   public:
    LimitedDecoding(const LimitedReference& candidate, std::unique_ptr<Decoding> inner)
        : candidate_(candidate), inner_(std::move(inner)) {}
    at::Tensor extend(const Tokens& tokens, const PassOptions& options) override {
      candidate_.require_padding("cache.", tokens);
      if (options.first_position != 0) candidate_.require("first_position");
      if (began_ && tokens.ids.size(1) > 1) candidate_.require("cache.chunks");
      auto logits = inner_->extend(tokens, options);
      began_ = true;
      return logits;
    }
    CacheView show() override {
      candidate_.require("cache.show");
      return inner_->show();
    }
    void fill_unwritten(double value) override {
      candidate_.require("cache.fill");
      inner_->fill_unwritten(value);
    }

   private:
    const LimitedReference& candidate_;
    std::unique_ptr<Decoding> inner_;
    bool began_ = false;
  };

  std::set<std::string> declared_;
};

}  // namespace

std::vector<Arrangement> declaration_arrangements() {
  std::vector<Arrangement> all;
  for (const auto& limitation : kLimitations)
    all.push_back({limitation.name, limitation.what,
                   [limitation](const std::string& title, const Specification& specification,
                                at::ScalarType type, at::Device device) -> std::unique_ptr<Candidate> {
                     return std::make_unique<LimitedReference>(limitation, title, specification, type,
                                                               device);
                   }});
  return all;
}

}  // namespace plumbline::arrangements
