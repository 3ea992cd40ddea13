// A conversation with a live model that outlasts its program: where that ends, it is started anew.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "harness/candidate/candidate.hpp"
#include "harness/candidate/live.hpp"
#include "harness/candidate/protocol.hpp"

namespace plumbline {

// Which weights a request is about: those that were loaded, or those that training left behind.
enum class WeightsAskedOf { loaded, trained };

class LiveSession {
 public:
  // Starts the program and greets it. Errors: as those of Channel.
  LiveSession(LiveOptions options, Json greeting);

  const LiveOptions& options() const { return options_; }
  const std::string& name() const { return options_.name; }
  const Json& reply_to_hello() const { return reply_to_hello_; }

  // Asks the program, which is started anew where it ended, with the weights that were loaded. Errors: as
  // those of Channel, and CandidateFailed where it was started too often.
  Reply ask(const std::string& request, Json fields = Json::object(), const NamedTensors& tensors = {},
            WeightsAskedOf weights = WeightsAskedOf::loaded);

  // Loads weights, under the candidate's own names, and keeps them for the next start.
  void load(NamedTensors weights);
  void load_again();  // where any were loaded
  const std::optional<NamedTensors>& loaded() const { return loaded_; }

  // What went wrong where nobody waited for an answer is an error of whoever asks next.
  void fail_next_request(const std::string& complaint) { failure_to_report_ = complaint; }

  int starts() const { return starts_; }
  bool usable() const { return program_->usable(); }
  void close() { program_->close(); }

  std::optional<Usage> usage() const;
  std::string log() const;
  std::string closing_note() const;

 private:
  void start_again(const std::string& request);

  LiveOptions options_;
  Json greeting_, reply_to_hello_;
  std::unique_ptr<Channel> program_;
  int starts_ = 1;
  // Of programs that have ended.
  std::chrono::duration<double> waited_{0}, computed_{0};
  std::uint64_t most_bytes_ = 0;
  std::string log_;

  std::optional<NamedTensors> loaded_;
  bool holds_trained_weights_ = false;
  std::string failure_to_report_;
};

// The tensor of this name in a reply. Errors: CandidateFailed where there is none.
at::Tensor tensor_in(const Reply& reply, const std::string& tensor, const std::string& candidate);

}  // namespace plumbline
