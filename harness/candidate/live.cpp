#include "harness/candidate/live.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>

#include "harness/candidate/adapter_trial.hpp"
#include "harness/candidate/hello.hpp"
#include "harness/candidate/live_passes.hpp"
#include "harness/candidate/live_session.hpp"
#include "harness/candidate/live_text.hpp"
#include "harness/candidate/mapping.hpp"
#include "harness/candidate/reference.hpp"
#include "harness/candidate/void_parameters.hpp"
#include "harness/evidence/replay.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

Json initialization_json(const Initialization& initialization) {
  Json all = Json::object();
  for (const auto& [key, distribution] : {std::pair{"embedding", initialization.embedding},
                                          {"linear", initialization.linear},
                                          {"residual", initialization.residual},
                                          {"head", initialization.head}})
    all[key] = distribution.uniform() ? Json("linear") : Json{{"normal", distribution.normal}};
  return all;
}

Json make_greeting(const LiveOptions& options, const Specification& specification) {
  Json settings = {{"name", specification.name},
                   {"norm_precision", to_string(specification.norm_precision)},
                   {"initialization", initialization_json(specification.initialization)}};
  for (const auto& [key, setting] : specification_settings(specification, "")) settings[key] = setting.value;
  return {{"protocol", 1},
          {"specification", settings},
          {"dtype", type_name(options.type)},
          {"device", options.device.str()},
          {"threads", options.threads},
          {"seed", options.seed}};
}

// Errors before anything is judged become InputError.
template <typename Body>
void rethrow_as_input_error(const std::string& name, const Body& body) {
  try {
    body();
  } catch (const CandidateFailed& failed) {
    throw InputError(failed.what());
  } catch (const NotShown& why) {
    throw InputError(fmt::format("{}: cannot be judged: {}", name, why.what()));
  } catch (const CacheOverrun& why) {
    throw InputError(
        fmt::format("{}: answered 'overrun' to a request without a cache: {}", name, why.what()));
  }
}

class LiveCandidate : public Candidate {
 public:
  LiveCandidate(LiveOptions options, const Specification& specification) : specification_(specification) {
    const auto name = options.name;
    rethrow_as_input_error(name, [&] {
      auto greeting = make_greeting(options, specification);
      session_ = std::make_unique<LiveSession>(std::move(options), std::move(greeting));
    });
    const auto& session_options = session_->options();
    hello_ = read_hello(session_->reply_to_hello(), specification_, session_options.type, name);
    mapping_ = std::make_unique<Mapping>(hello_.mapping, hello_.parameters, hello_.tied, name);
    description_ = {name, "live", session_options.sha256, hello_.configuration, mapping_->parameters(), {}};
    description_.lines = hello_.lines;
    description_.notes.push_back(fmt::format("{}, {}", hello_.name, hello_.framework));
    if (!session_options.note.empty()) description_.notes.push_back(session_options.note);
    description_.notes.insert(description_.notes.end(), hello_.notes.begin(), hello_.notes.end());
    rethrow_as_input_error(name, [&] { initial_ = candidate_weights(); });
    weights_ = mapping_->to_canonical(initial_);
  }

  ~LiveCandidate() override { session_->close(); }

  const Description& describe() const override { return description_; }
  const Weights& weights() const override { return weights_; }
  std::set<std::string> capabilities() const override { return hello_.capabilities; }
  at::ScalarType type() const override { return session_->options().type; }
  std::optional<Usage> usage() const override { return session_->usage(); }
  std::string log() const override { return session_->log(); }
  std::vector<std::string> left_behind() const override { return session_->left_behind(); }
  std::string closing_note() const override { return session_->closing_note(); }

  void check_adapter() override {
    // Names without a mapping are an error of the adapter, not of the model.
    if (hello_.mapping.is_null() && has_no_canonical_names(description_, specification_))
      throw InputError(
          fmt::format("{}: its parameters ({}, ...) have other names than the specification's, and its "
                      "adapter has no mapping; `plumbline adapter check` proposes one",
                      name(), hello_.parameters.front().name));
    rethrow_as_input_error(name(), [&] {
      if (hello_.capabilities.contains("load")) check_loading();
      const auto right = check_answers(*this, name(), session_->options().device, specification_.vocab_size);
      confirmed_.insert(confirmed_.end(), right.begin(), right.end());
    });
  }

  // The lines of try_adapter.
  std::vector<std::string> report() {
    auto lines = describe_declaration(hello_, description_, specification_);
    const auto of_mapping = describe_mapping(hello_, description_, specification_);
    lines.insert(lines.end(), of_mapping.begin(), of_mapping.end());
    if (has_no_canonical_names(description_, specification_)) return lines;
    check_adapter();
    for (const auto& note : description_.notes)
      if (note != description_.notes.front()) lines.push_back(note);
    lines.push_back(fmt::format("it {}", fmt::join(confirmed_, ", ")));
    return lines;
  }

  void load(const Weights& given) override { session_->load(mapping_->to_candidate(given, initial_)); }

  Weights initialise(std::uint32_t seed) override {
    session_->ask("initialise", {{"seed", seed}});
    auto fresh = mapping_->to_canonical(candidate_weights());
    session_->reload();
    return fresh;
  }

  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    auto fields = pass_fields(tokens, options);
    fields["first_position"] = options.first_position;
    return run_pass(*session_, "forward", std::move(fields), tokens, options,
                    specification_.num_hidden_layers);
  }

  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    return open_live_cache(*session_, batch, capacity, hello_.cache_axes, specification_.num_hidden_layers);
  }

  Gradients gradients(const Tokens& tokens, const at::Tensor& labels, const PassOptions& options) override {
    auto fields = pass_fields(tokens, options);
    fields.erase("observe");
    fields.erase("dropout");
    const auto reply = session_->ask("gradients", std::move(fields),
                                     {{"tokens", tokens.ids.contiguous()}, {"labels", labels.contiguous()}});
    const auto loss = tensor_in(reply, "loss", name());
    if (loss.numel() != 1)
      throw CandidateFailed(fmt::format("{}: its loss has shape [{}], expected a single number", name(),
                                        fmt::join(loss.sizes(), ", ")));
    require_parameters(reply.tensors, "its gradients lack");
    return {loss.reshape({}), mapping_->to_canonical(reply.tensors)};
  }

  TrainingOutcome train(const TrainingRun& run, bool with_parameters) override {
    if (!session_->loaded())
      throw NotShown("its weights cannot be loaded again after training, so it is not trained");
    const auto& o = run.optimiser;
    const auto steps = run.tokens.size(0);
    TrainingOutcome trained;
    const auto reply =
        session_->ask("train",
                      {{"steps", steps},
                       {"learning_rate", o.learning_rate},
                       {"betas", {o.beta1, o.beta2}},
                       {"eps", o.eps},
                       {"weight_decay", o.weight_decay}},
                      {{"tokens", run.tokens.contiguous()}, {"labels", run.labels.contiguous()}});
    trained.losses = tensor_in(reply, "losses", name());
    if (trained.losses.sizes() != at::IntArrayRef({steps}) ||
        !at::isFloatingType(trained.losses.scalar_type()))
      throw CandidateFailed(fmt::format("{}: its losses are {} [{}], expected {} numbers of a floating type",
                                        name(), at::toString(trained.losses.scalar_type()),
                                        fmt::join(trained.losses.sizes(), ", "), steps));
    if (with_parameters)
      trained.parameters = mapping_->to_canonical(candidate_weights(RequestedWeights::trained));
    if (run.evaluated_after.defined()) {
      const Tokens tokens{run.evaluated_after, {}, Padding::none};
      auto fields = pass_fields(tokens, {});
      fields["first_position"] = 0;
      trained.logits =
          run_pass(*session_, "forward", std::move(fields), tokens, {}, 0, RequestedWeights::trained);
    }
    return trained;
  }

  GeneratedText generate(const Tokens& prompts, const TextRequest& request) override {
    return request_text(*session_, prompts, request, vocabulary_size());
  }

  at::Tensor repeat_kv(const at::Tensor& x, std::int64_t factor) override {
    return run_operation({{"name", "repeat_kv"}, {"factor", factor}}, {{"x", x.contiguous()}}, "y");
  }
  at::Tensor repeat_kv_gradient(const at::Tensor& x, std::int64_t factor,
                                const at::Tensor& upstream) override {
    return run_operation({{"name", "repeat_kv"}, {"factor", factor}},
                         {{"x", x.contiguous()}, {"upstream", upstream.contiguous()}}, "gradient");
  }
  at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions) override {
    return run_operation({{"name", "rotate"}}, {{"x", x.contiguous()}, {"positions", positions.contiguous()}},
                         "y");
  }

 private:
  const std::string& name() const { return session_->name(); }

  at::Tensor run_operation(Json fields, const NamedTensors& tensors, const std::string& result) {
    return tensor_in(session_->ask("operation", std::move(fields), tensors), result, name());
  }

  // By the embedding, whatever the specification says.
  std::int64_t vocabulary_size() const {
    for (const auto& parameter : description_.parameters)
      if (parameter.name == kEmbedding && parameter.shape.size() == 2) return parameter.shape[0];
    return specification_.vocab_size;
  }

  void check_loading() {
    try {
      load(make_void(discriminating_weights(specification_.parameters(), 1),
                     missing_parameters(specification_, description_.parameters)));
    } catch (const NotShown& why) {
      // Chapter 2 reports what does not fit; the rest is judged.
      description_.notes.push_back(
          fmt::format("the specification's weights cannot be loaded: {}", why.what()));
      return;
    }
    check_loaded_weights(*session_->loaded(), candidate_weights(), name());
    confirmed_.emplace_back("loads weights and shows them again");
  }

  Weights candidate_weights(RequestedWeights which = RequestedWeights::loaded) {
    auto reply = session_->ask("weights", Json::object(), {}, which);
    try {
      require_parameters(reply.tensors, "its weights lack");
    } catch (const CandidateFailed& failed) {
      throw InputError(failed.what());
    }
    return std::move(reply.tensors);
  }

  void require_parameters(const Weights& tensors, const std::string& complaint) const {
    for (const auto& parameter : hello_.parameters) {
      const auto found = tensors.find(parameter.name);
      if (found == tensors.end() || found->second.sizes() != at::IntArrayRef(parameter.shape) ||
          found->second.scalar_type() != parameter.type)
        throw CandidateFailed(fmt::format("{}: {} '{}' in the shape and type that its hello named", name(),
                                          complaint, parameter.name));
    }
  }

  Specification specification_;
  std::unique_ptr<LiveSession> session_;
  Description description_;
  Hello hello_;
  std::unique_ptr<Mapping> mapping_;
  Weights initial_, weights_;
  std::vector<std::string> confirmed_;  // clauses of check_adapter
};

}  // namespace

std::vector<std::string> try_adapter(LiveOptions options, const Specification& specification) {
  LiveCandidate live(std::move(options), specification);
  return live.report();
}

std::unique_ptr<Candidate> open_live(LiveOptions options, const Specification& specification) {
  return std::make_unique<LiveCandidate>(std::move(options), specification);
}

}  // namespace plumbline
