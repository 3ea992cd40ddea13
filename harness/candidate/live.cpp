#include "harness/candidate/live.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "harness/candidate/hello.hpp"
#include "harness/candidate/mapping.hpp"
#include "harness/candidate/protocol.hpp"
#include "harness/candidate/reference.hpp"
#include "harness/candidate/void_parameters.hpp"
#include "harness/evidence/replay.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

constexpr int kMostStarts = 4;

const char* name_of(Padding padding) {
  return padding == Padding::right ? "right" : padding == Padding::left ? "left" : "none";
}

// One run of the program, from hello to its end.
struct Session {
  Session(const LiveOptions& options, const Json& greeting)
      : channel(options.name, options.command, options.limits, options.environment, options.recording) {
    reply = channel.ask("hello", greeting).fields;
  }
  Channel channel;
  Json reply;
};

// Whether a line of a mapping stands for a parameter.
bool proposed(const Json& lines, std::string name) {
  if (lines.contains(name)) return true;
  const std::string layers = "model.layers.";
  if (name.starts_with(layers))
    name.replace(layers.size(), name.find('.', layers.size()) - layers.size(), "{layer}");
  return lines.contains(name);
}

Json as_json(const Initialization& initialization) {
  Json all = Json::object();
  for (const auto& [key, distribution] : {std::pair{"embedding", initialization.embedding},
                                          {"linear", initialization.linear},
                                          {"residual", initialization.residual},
                                          {"head", initialization.head}})
    all[key] = distribution.uniform() ? Json("linear") : Json{{"normal", distribution.normal}};
  return all;
}

std::string as_python(const Json& value) {
  auto text = value.dump();
  for (auto at = text.find(":true"); at != std::string::npos; at = text.find(":true"))
    text.replace(at, 5, ":True");
  std::string spaced;
  for (const char c : text) spaced += c == ':' || c == ',' ? std::string{c, ' '} : std::string(1, c);
  return spaced;
}

class Live;

class LiveDecoding : public Decoding {
 public:
  LiveDecoding(Live& live, std::int64_t batch, std::int64_t capacity);
  ~LiveDecoding() override;
  at::Tensor extend(const Tokens& tokens, const PassOptions& options) override;
  CacheView show() override;
  void fill_unwritten(double value) override;

 private:
  Json fields() const;

  Live& live_;
  int start_;  // the run of the program that holds the cache
  std::int64_t handle_;
};

// What goes wrong before anything is judged is an error of the input, whatever kind it is.
template <typename Body>
void or_refuse(const std::string& name, const Body& body) {
  try {
    body();
  } catch (const CandidateFailed& failed) {
    throw InputError(failed.what());
  } catch (const NotShown& why) {
    throw InputError(fmt::format("{}: cannot be judged: {}", name, why.what()));
  } catch (const CacheOverrun& why) {
    throw InputError(fmt::format("{}: answered 'overrun' where no cache is at hand: {}", name, why.what()));
  }
}

class Live : public Candidate {
 public:
  Live(LiveOptions options, const Specification& specification)
      : options_(std::move(options)), specification_(specification) {
    greeting_ = settings_as_json();
    or_refuse(options_.name, [&] { session_ = std::make_unique<Session>(options_, greeting_); });
    starts_ = 1;
    hello_ = read_hello(session_->reply, specification_, options_.type, options_.name);
    mapping_ = std::make_unique<Mapping>(hello_.mapping, hello_.parameters, hello_.tied, options_.name);
    description_ = {options_.name, "live", options_.sha256, hello_.configuration, mapping_->parameters(), {}};
    description_.notes.push_back(fmt::format("{}, {}", hello_.name, hello_.framework));
    if (!options_.note.empty()) description_.notes.push_back(options_.note);
    description_.notes.insert(description_.notes.end(), hello_.notes.begin(), hello_.notes.end());
    or_refuse(options_.name, [&] { initial_ = own_weights(); });
    weights_ = mapping_->canonical(initial_);
  }

  ~Live() override {
    if (session_) session_->channel.close();
  }

  const Description& describe() const override { return description_; }
  const Weights& weights() const override { return weights_; }
  std::set<std::string> capabilities() const override { return hello_.capabilities; }
  at::ScalarType type() const override { return options_.type; }

  std::optional<Usage> usage() const override {
    if (options_.plays_recording) return std::nullopt;
    const auto computed = computed_ + session_->channel.computed();
    const auto most = std::max(most_bytes_, session_->channel.most_bytes());
    return Usage{computed.count() > 0 ? std::optional(computed.count()) : std::nullopt,
                 most > 0 ? std::optional(most) : std::nullopt};
  }

  std::string log() const override { return session_ ? log_ + session_->channel.said() : log_; }

  std::string closing_note() const override {
    auto waited = waited_, computed = computed_;
    if (session_) waited += session_->channel.waited(), computed += session_->channel.computed();
    return fmt::format("{:.1f} s were spent waiting for the candidate, {:.1f} s of them in its model{}",
                       waited.count(), computed.count(),
                       starts_ > 1 ? fmt::format("; it was started {} times", starts_) : "");
  }

  // Of the tokens that it knows, whatever the specification says.
  std::int64_t own_vocabulary() const {
    for (const auto& parameter : description_.parameters)
      if (parameter.name == kEmbedding && parameter.shape.size() == 2) return parameter.shape[0];
    return specification_.vocab_size;
  }

  // Names of the specification's parameters that the candidate does not have.
  std::vector<std::string> missing() const {
    std::vector<std::string> names;
    for (const auto& expected : specification_.parameters())
      if (std::none_of(mapping_->parameters().begin(), mapping_->parameters().end(),
                       [&](const auto& parameter) { return parameter.name == expected.name; }))
        names.push_back(expected.name);
    return names;
  }

  void check_adapter() override {
    // Other names are no failure of the model's while nobody has said what they stand for.
    if (hello_.mapping.is_null() && missing().size() == specification_.parameters().size())
      throw InputError(
          fmt::format("{}: its parameters ({}, ...) have names of their own and its adapter has no mapping; "
                      "`plumbline adapter check` proposes one",
                      options_.name, hello_.parameters.front().name));
    const auto refuse = [&](const std::string& complaint, const std::string& advice) {
      throw InputError(fmt::format("{}: the adapter {}: {}", options_.name, complaint, advice));
    };
    or_refuse(options_.name, [&] {
      if (hello_.capabilities.contains("load")) check_loading(refuse);
      check_answers(refuse);
    });
  }

  std::vector<std::string> report() {
    std::vector<std::string> lines;
    const auto say = [&](const std::string& line) { lines.push_back(line); };
    say(description_.notes.front());
    std::int64_t total = 0;
    for (const auto& parameter : hello_.parameters) total += c10::multiply_integers(parameter.shape);
    say(fmt::format("{} tensors, {} parameters; the specification has {}", hello_.parameters.size(), total,
                    specification_.parameter_count()));
    std::vector<std::string> declared, others;
    for (const auto& name : everything_that_code_can_show())
      (hello_.capabilities.contains(name) ? declared : others).push_back(name);
    say(fmt::format("declares: {}", fmt::join(declared, ", ")));
    if (!others.empty()) say(fmt::format("does not declare, so not applicable: {}", fmt::join(others, ", ")));
    say(fmt::format("shows: {}", hello_.stages.empty() ? "no stage but the logits"
                                                       : fmt::to_string(fmt::join(hello_.stages, ", "))));
    std::vector<std::string> unsaid;
    for (const auto& [name, setting] : settings_of(specification_, ""))
      if (!description_.configuration.contains(name)) unsaid.push_back(name);
    if (!unsaid.empty())
      say(fmt::format("its configuration does not say: {} (Module(configuration={{...}}))",
                      fmt::join(unsaid, ", ")));
    const auto absent = missing();
    const bool none = absent.size() == specification_.parameters().size();
    const auto proposal =
        absent.empty() ? Json::object() : propose_mapping(hello_.parameters, specification_);
    for (const auto& name : absent)
      if (!none || !proposed(proposal, name)) say(fmt::format("nothing is mapped to {}", name));
    for (const auto& parameter : mapping_->parameters())
      if (const auto expected = specification_.parameters();
          !none && std::none_of(expected.begin(), expected.end(),
                                [&](const auto& one) { return one.name == parameter.name; }))
        say(fmt::format("surplus: {} [{}]", parameter.name, fmt::join(parameter.shape, ", ")));
    if (!proposal.empty()) {
      say("a mapping to begin with, from names and shapes alone; look whether it is right, line by line:");
      say("    mapping={");
      for (const auto& [name, value] : proposal.items())
        say(fmt::format("        \"{}\": {},", name, as_python(value)));
      say("    },");
    } else if (!absent.empty()) {
      say("no mapping could be proposed from the names");
    }
    if (!none) {
      check_adapter();
      for (const auto& note : description_.notes)
        if (note != description_.notes.front()) say(note);
      say(fmt::format("it {}", fmt::join(seen_, ", ")));
    }
    return lines;
  }

  void load(const Weights& given) override {
    loaded_ = mapping_->own(given, initial_);
    ask("load", Json::object(), *loaded_);
  }

  Weights initialise(std::uint32_t seed) override {
    ask("initialise", {{"seed", seed}});
    auto fresh = mapping_->canonical(own_weights());
    if (loaded_) ask("load", Json::object(), *loaded_);
    return fresh;
  }

  at::Tensor forward(const Tokens& tokens, const PassOptions& options) override {
    auto fields = fields_of(tokens, options);
    fields["first_position"] = options.first_position;
    return pass("forward", std::move(fields), tokens, options);
  }

  std::unique_ptr<Decoding> decode(std::int64_t batch, std::int64_t capacity) override {
    return std::make_unique<LiveDecoding>(*this, batch, capacity);
  }

  Gradients gradients(const Tokens& tokens, const at::Tensor& labels, const PassOptions& options) override {
    auto fields = fields_of(tokens, options);
    fields.erase("observe");
    fields.erase("dropout");
    auto reply = ask("gradients", std::move(fields),
                     {{"tokens", tokens.ids.contiguous()}, {"labels", labels.contiguous()}});
    const auto loss = tensor(reply, "loss");
    if (loss.numel() != 1)
      throw CandidateFailed(fmt::format("{}: its loss has shape [{}], expected a single number",
                                        options_.name, fmt::join(loss.sizes(), ", ")));
    require_parameters(reply.tensors, "its gradients lack");
    return {loss.reshape({}), mapping_->canonical(reply.tensors)};
  }

  Trained train(const TrainingRun& run, bool with_parameters) override {
    if (!loaded_)
      throw NotShown("its weights cannot be loaded, so that training would leave it another model");
    const auto& o = run.optimiser;
    const auto steps = run.tokens.size(0);
    Trained trained;
    const auto reply = ask("train",
                           {{"steps", steps},
                            {"learning_rate", o.learning_rate},
                            {"betas", {o.beta1, o.beta2}},
                            {"eps", o.eps},
                            {"weight_decay", o.weight_decay}},
                           {{"tokens", run.tokens.contiguous()}, {"labels", run.labels.contiguous()}});
    trained.losses = tensor(reply, "losses");
    if (trained.losses.sizes() != at::IntArrayRef({steps}) ||
        !at::isFloatingType(trained.losses.scalar_type()))
      throw CandidateFailed(fmt::format("{}: its losses are {} [{}], expected {} numbers of a floating type",
                                        options_.name, at::toString(trained.losses.scalar_type()),
                                        fmt::join(trained.losses.sizes(), ", "), steps));
    if (with_parameters) trained.parameters = mapping_->canonical(own_weights(/*as_moved=*/true));
    return trained;
  }

  Text own_text(const Tokens& prompts, const TextRequest& request) override {
    const auto& s = request.sampling;
    const auto reply = ask("generate",
                           {{"most_tokens", request.most_tokens},
                            {"temperature", s.temperature},
                            {"top_k", s.top_k},
                            {"top_p", s.top_p},
                            {"repetition_penalty", s.repetition_penalty},
                            {"end", request.end ? Json(*request.end) : Json()},
                            {"seed", request.seed},
                            {"padding", name_of(prompts.padding)},
                            {"lengths", prompts.lengths}},
                           {{"tokens", prompts.ids.contiguous()}});
    Text text{tensor(reply, "tokens"), {}};  // (B, most_tokens)
    const auto batch = prompts.ids.size(0);
    if (text.tokens.sizes() != at::IntArrayRef({batch, request.most_tokens}) ||
        text.tokens.scalar_type() != at::kLong)
      throw CandidateFailed(fmt::format("{}: its text is {} [{}], expected int64 [{}, {}]", options_.name,
                                        at::toString(text.tokens.scalar_type()),
                                        fmt::join(text.tokens.sizes(), ", "), batch, request.most_tokens));
    const auto over = (text.tokens == -1).to(at::kLong);
    const bool resumes = (over.diff(1, 1) < 0).any().item<bool>();
    const auto vocabulary = own_vocabulary();
    if (((text.tokens < -1) | (text.tokens >= vocabulary)).any().item<bool>() || resumes)
      throw CandidateFailed(
          fmt::format("{}: its text holds {}; expected ids below {}, and -1 after a row's end alone",
                      options_.name, resumes ? "tokens after a -1" : "ids that are no tokens", vocabulary));
    if (const auto shown = reply.tensors.find("probabilities"); shown != reply.tensors.end()) {
      text.probabilities = shown->second;
      if (text.probabilities.dim() != 3 || text.probabilities.size(0) != batch ||
          text.probabilities.size(1) != request.most_tokens || text.probabilities.size(2) < 1 ||
          !at::isFloatingType(text.probabilities.scalar_type()))
        throw CandidateFailed(
            fmt::format("{}: its probabilities have shape [{}] and type {}, expected [{}, {}, V] and a "
                        "floating type",
                        options_.name, fmt::join(text.probabilities.sizes(), ", "),
                        at::toString(text.probabilities.scalar_type()), batch, request.most_tokens));
    }
    return text;
  }

  at::Tensor repeat_kv(const at::Tensor& x, std::int64_t factor) override {
    return tensor(ask("operation", {{"name", "repeat_kv"}, {"factor", factor}}, {{"x", x.contiguous()}}),
                  "y");
  }
  at::Tensor repeat_kv_gradient(const at::Tensor& x, std::int64_t factor,
                                const at::Tensor& upstream) override {
    return tensor(ask("operation", {{"name", "repeat_kv"}, {"factor", factor}},
                      {{"x", x.contiguous()}, {"upstream", upstream.contiguous()}}),
                  "gradient");
  }
  at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions) override {
    return tensor(ask("operation", {{"name", "rotate"}},
                      {{"x", x.contiguous()}, {"positions", positions.contiguous()}}),
                  "y");
  }

  // Starts the program anew where it is gone, with the weights that were loaded.
  Reply ask(const std::string& request, Json fields = Json::object(), const NamedTensors& tensors = {},
            bool as_moved = false) {
    if (const auto untold = std::exchange(untold_, ""); !untold.empty()) throw CandidateFailed(untold);
    if (!session_->channel.usable()) {
      if (starts_ >= kMostStarts)
        throw CandidateFailed(
            fmt::format("{} was started {} times and did not last", options_.name, starts_));
      ++starts_;
      waited_ += session_->channel.waited();
      computed_ += session_->channel.computed();
      most_bytes_ = std::max(most_bytes_, session_->channel.most_bytes());
      log_ += session_->channel.said();
      session_ = std::make_unique<Session>(options_, greeting_);
      if (loaded_ && request != "load") session_->channel.ask("load", Json::object(), *loaded_);
      moved_ = false;
    }
    if (moved_ && request != "load" && !as_moved) session_->channel.ask("load", Json::object(), *loaded_);
    moved_ = request == "train" || as_moved;
    return session_->channel.ask(request, std::move(fields), tensors);
  }

  at::Tensor pass(const std::string& request, Json fields, const Tokens& tokens, const PassOptions& options) {
    const auto reply = ask(request, std::move(fields), {{"tokens", tokens.ids.contiguous()}});
    const auto logits = tensor(reply, "logits");
    const auto batch = tokens.ids.size(0), length = tokens.ids.size(1);
    if (logits.dim() != 3 || logits.size(0) != batch || logits.size(1) != length || logits.size(2) < 1)
      throw CandidateFailed(fmt::format("{}: its logits have shape [{}], expected [{}, {}, V]", options_.name,
                                        fmt::join(logits.sizes(), ", "), batch, length));
    if (!at::isFloatingType(logits.scalar_type()))
      throw CandidateFailed(fmt::format("{}: its logits have type {}, expected a floating type",
                                        options_.name, at::toString(logits.scalar_type())));
    if (options.observe)
      for (const auto& stage : stage_names(specification_.num_hidden_layers))
        if (const auto found = reply.tensors.find(stage); found != reply.tensors.end())
          options.observe(stage, found->second);
    return logits;
  }

  static Json fields_of(const Tokens& tokens, const PassOptions& options) {
    Json observe = Json::array();
    if (options.observe)
      for (const auto& stage : stage_names(1)) observe.push_back(stage.substr(stage.rfind('.') + 1));
    return {{"mode", options.training ? "training" : "evaluation"},
            {"dropout", options.dropout},
            {"padding", name_of(tokens.padding)},
            {"lengths", tokens.lengths},
            {"observe", observe}};
  }

  at::Tensor tensor(const Reply& reply, const std::string& name) const {
    const auto found = reply.tensors.find(name);
    if (found == reply.tensors.end())
      throw CandidateFailed(fmt::format("{}: its reply has no tensor '{}'", options_.name, name));
    return found->second;
  }

  // What went wrong where nobody waited for an answer is an error of whoever asks next.
  void tell_next(const std::string& complaint) { untold_ = complaint; }
  const std::vector<std::int64_t>& axes() const { return hello_.cache_axes; }
  const std::string& name() const { return options_.name; }
  int starts() const { return starts_; }
  bool usable() const { return session_->channel.usable(); }

 private:
  Json settings_as_json() const {
    Json specification = {{"name", specification_.name},
                          {"norm_precision", to_string(specification_.norm_precision)},
                          {"initialization", as_json(specification_.initialization)}};
    for (const auto& [key, setting] : settings_of(specification_, "")) specification[key] = setting.value;
    return {{"protocol", 1},
            {"specification", specification},
            {"dtype", type_name(options_.type)},
            {"device", options_.device.str()},
            {"threads", options_.threads},
            {"seed", 1}};
  }

  template <typename Refuse>
  void check_loading(const Refuse& refuse) {
    try {
      load(with_void(discriminating_weights(specification_.parameters(), 1),
                     lacking_parameters(specification_, mapping_->parameters())));
    } catch (const NotShown& why) {
      // Chapter 2 names what does not fit; what can still be looked at is.
      description_.notes.push_back(
          fmt::format("weights of the specification cannot be loaded: {}", why.what()));
      return;
    }
    const auto held = own_weights();
    for (const auto& [name, given] : *loaded_)
      if (!held.at(name).to(given.scalar_type()).equal(given))
        refuse(fmt::format("does not hold the weights that were loaded: '{}' comes back changed", name),
               "load has to copy every value into the parameter itself, and weights to show it as it is");
    seen_.push_back("loads weights and shows them again");
  }

  template <typename Refuse>
  void check_answers(const Refuse& refuse) {
    const Tokens tokens{probe_tokens("adapter", 2, 5, specification_.vocab_size, 1), {}, Padding::none};
    const auto first = forward(tokens, {}), second = forward(tokens, {});
    // On a GPU, sums may be taken in another order each time.
    const double allowed =
        options_.device.is_cpu() ? 0 : 1e-4 * first.abs().max().to(at::kDouble).item<double>();
    const auto alike = [&](const at::Tensor& other) {
      if (other.sizes() != first.sizes()) return false;
      const auto difference = (other - first).to(at::kDouble).abs();
      // NaN is not this check's business: it is where it was, or it is a difference.
      return (other.isnan().equal(first.isnan())) &&
             at::nan_to_num(difference, 0, 0, 0).max().template item<double>() <= allowed;
    };
    if (second.sizes() != first.sizes())
      refuse("gives logits of another shape for the same tokens the second time",
             "do they depend on an earlier call?");
    if (!alike(second))
      refuse("answers the same tokens differently the second time",
             "is dropout on in evaluation, a random number drawn, or a cache kept between calls?");
    if (first[0].equal(first[1]))
      refuse("gives both sequences of a batch the same logits", "does it pass on the whole batch?");
    seen_.insert(seen_.end(), {"answers alike", "takes whole batches"});
    if (!hello_.capabilities.contains("training")) return;
    PassOptions training;
    training.training = true;
    training.dropout = hello_.capabilities.contains("dropout") ? 0.5 : 0;
    forward(tokens, training);
    if (!alike(forward(tokens, {})))
      refuse("answers differently in evaluation after a pass in training mode",
             "the mode of the request has to be set before each pass");
    seen_.push_back("keeps evaluation apart from training");
  }

  // `as_moved`: as training left them.
  Weights own_weights(bool as_moved = false) {
    auto reply = ask("weights", Json::object(), {}, as_moved);
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
        throw CandidateFailed(fmt::format("{}: {} '{}' in the shape and type that its hello named",
                                          options_.name, complaint, parameter.name));
    }
  }

  LiveOptions options_;
  Specification specification_;
  Json greeting_;
  std::unique_ptr<Session> session_;
  int starts_ = 0;
  std::chrono::duration<double> waited_{0}, computed_{0};  // in sessions that are over
  std::uint64_t most_bytes_ = 0;                           // likewise
  std::string log_;                                        // likewise
  Description description_;
  Hello hello_;
  std::unique_ptr<Mapping> mapping_;
  Weights initial_, weights_;
  std::optional<NamedTensors> loaded_;
  bool moved_ = false;  // training left other weights: the next question is of those that were loaded
  std::string untold_;
  std::vector<std::string> seen_;  // what check_adapter found right
};

LiveDecoding::LiveDecoding(Live& live, std::int64_t batch, std::int64_t capacity) : live_(live) {
  const auto reply = live_.ask("open_cache", {{"batch", batch}, {"capacity", capacity}});
  const auto found = reply.fields.find("cache");
  if (found == nullptr || !found->is_int64())
    throw CandidateFailed(fmt::format("{}: its reply to open_cache has no number 'cache'", live_.name()));
  handle_ = found->get<std::int64_t>();
  start_ = live_.starts();
}

LiveDecoding::~LiveDecoding() {
  if (start_ != live_.starts() || !live_.usable()) return;
  try {
    live_.ask("close_cache", {{"cache", handle_}});
  } catch (const std::exception& error) {
    live_.tell_next(error.what());  // a destructor has nobody to tell
  }
}

Json LiveDecoding::fields() const {
  if (start_ != live_.starts())
    throw CandidateFailed(fmt::format("{}: its cache was lost when it ended", live_.name()));
  return {{"cache", handle_}};
}

at::Tensor LiveDecoding::extend(const Tokens& tokens, const PassOptions& options) {
  auto all = fields();
  all.update(Live::fields_of(tokens, options));
  return live_.pass("extend", std::move(all), tokens, options);
}

CacheView LiveDecoding::show() {
  const auto reply = live_.ask("show_cache", fields());
  CacheView view;
  const auto number = [&](const char* key) {
    const auto found = reply.fields.find(key);
    if (found == nullptr || !found->is_integer_from(0, std::numeric_limits<std::int64_t>::max()))
      throw CandidateFailed(fmt::format("{}: its reply to show_cache has no number '{}'", live_.name(), key));
    return found->get<std::int64_t>();
  };
  view.length = number("length");
  view.capacity = number("capacity");
  view.bytes = number("bytes");
  view.held = reply.fields.contains("held") ? number("held") : view.bytes;
  for (std::int64_t layer = 0; reply.tensors.contains(fmt::format("layers.{}.keys", layer)); ++layer) {
    CacheView::Layer kept;
    for (auto [side, into] : {std::pair{"keys", &kept.keys}, {"values", &kept.values}}) {
      const auto name = fmt::format("layers.{}.{}", layer, side);
      const auto held = live_.tensor(reply, name);
      if (held.dim() != 4)
        throw CandidateFailed(
            fmt::format("{}: its cache's {} has {} axes, expected 4", live_.name(), name, held.dim()));
      *into = held.permute(live_.axes());
    }
    view.layers.push_back(kept);
  }
  return view;
}

void LiveDecoding::fill_unwritten(double value) {
  auto all = fields();
  all["value"] = value;
  live_.ask("fill_cache", std::move(all));
}

}  // namespace

std::vector<std::string> try_adapter(LiveOptions options, const Specification& specification) {
  Live live(std::move(options), specification);
  return live.report();
}

std::unique_ptr<Candidate> open_live(LiveOptions options, const Specification& specification) {
  return std::make_unique<Live>(std::move(options), specification);
}

}  // namespace plumbline
