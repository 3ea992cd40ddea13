#include "harness/candidate/live_session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace plumbline {
namespace {

constexpr int kMostStarts = 4;

std::unique_ptr<Channel> start_program(const LiveOptions& options) {
  return std::make_unique<Channel>(options.name, options.command, options.limits, options.environment,
                                   options.recording);
}

}  // namespace

LiveSession::LiveSession(LiveOptions options, Json greeting)
    : options_(std::move(options)), greeting_(std::move(greeting)), program_(start_program(options_)) {
  reply_to_hello_ = program_->ask("hello", greeting_).fields;
}

void LiveSession::restart(const std::string& request) {
  if (starts_ >= kMostStarts)
    throw CandidateFailed(
        fmt::format("{} was started {} times and ended each time; see its log", options_.name, starts_));
  ++starts_;
  waited_ += program_->waited();
  computed_ += program_->computed();
  most_bytes_ = std::max(most_bytes_, program_->peak_bytes());
  log_ += program_->standard_error();
  auto program = start_program(options_);
  program->ask("hello", greeting_);
  program_ = std::move(program);
  if (loaded_ && request != "load") program_->ask("load", Json::object(), *loaded_);
  holds_trained_weights_ = false;
}

Reply LiveSession::ask(const std::string& request, Json fields, const NamedTensors& tensors,
                       RequestedWeights weights) {
  if (const auto failure = std::exchange(deferred_failure_, ""); !failure.empty())
    throw CandidateFailed(failure);
  if (!program_->usable()) restart(request);
  const bool of_trained = weights == RequestedWeights::trained;
  if (holds_trained_weights_ && request != "load" && !of_trained)
    program_->ask("load", Json::object(), *loaded_);
  holds_trained_weights_ = request == "train" || of_trained;
  auto reply = program_->ask(request, std::move(fields), tensors);
  note_what_is_left(reply);
  return reply;
}

void LiveSession::note_what_is_left(const Reply& reply) {
  constexpr std::size_t kMost = 16, kLongest = 300;
  const auto* left = reply.fields.find("left");
  if (left == nullptr) return;
  if (!left->is_array() || left->size() > kMost)
    throw CandidateFailed(
        fmt::format("{}: 'left' in its reply is not a list of at most {} sentences", name(), kMost));
  for (const auto& sentence : *left) {
    if (!sentence.is_string())
      throw CandidateFailed(fmt::format("{}: 'left' in its reply is not a list of sentences", name()));
    if (left_.size() < kMost) left_.insert(printable(sentence.get<std::string>(), kLongest));
  }
}

void LiveSession::load(NamedTensors weights) {
  loaded_ = std::move(weights);
  reload();
}

void LiveSession::reload() {
  if (loaded_) ask("load", Json::object(), *loaded_);
}

std::optional<Usage> LiveSession::usage() const {
  if (options_.plays_recording) return std::nullopt;
  const auto computed = computed_ + program_->computed();
  const auto most = std::max(most_bytes_, program_->peak_bytes());
  return Usage{computed.count() > 0 ? std::optional(computed.count()) : std::nullopt,
               most > 0 ? std::optional(most) : std::nullopt};
}

std::string LiveSession::log() const {
  return log_ + program_->standard_error();
}

std::string LiveSession::closing_note() const {
  const auto waited = waited_ + program_->waited(), computed = computed_ + program_->computed();
  return fmt::format("waited {:.1f} s for the candidate, {:.1f} s of that for its model{}", waited.count(),
                     computed.count(), starts_ > 1 ? fmt::format("; it was started {} times", starts_) : "");
}

at::Tensor tensor_in(const Reply& reply, const std::string& tensor, const std::string& candidate) {
  const auto found = reply.tensors.find(tensor);
  if (found == reply.tensors.end())
    throw CandidateFailed(fmt::format("{}: its reply has no tensor '{}'", candidate, tensor));
  return found->second;
}

}  // namespace plumbline
