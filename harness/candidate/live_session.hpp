// A session with a live model, which restarts its program where that ends.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/candidate/live.hpp"
#include "harness/candidate/protocol.hpp"

namespace plumbline {

// The weights that a request refers to: those that were loaded, or those after training.
enum class RequestedWeights { loaded, trained };

class LiveSession {
 public:
  // Starts the program and sends hello. Errors: as those of Channel.
  LiveSession(LiveOptions options, Json greeting);

  const LiveOptions& options() const { return options_; }
  const std::string& name() const { return options_.name; }
  const Json& reply_to_hello() const { return reply_to_hello_; }

  // Sends a request; restarts the program first where it has ended, with the loaded weights. Errors: as those
  // of Channel, and CandidateFailed where it was restarted too often.
  Reply ask(const std::string& request, Json fields = Json::object(), const NamedTensors& tensors = {},
            RequestedWeights weights = RequestedWeights::loaded);

  // Loads weights, under the candidate's own names, and keeps them for the next start.
  void load(NamedTensors weights);
  void reload();  // nothing where none were loaded
  const std::optional<NamedTensors>& loaded() const { return loaded_; }

  // Makes the next request fail with this complaint, for errors in destructors.
  void defer_failure(const std::string& complaint) { deferred_failure_ = complaint; }

  int starts() const { return starts_; }
  bool usable() const { return program_->usable(); }
  void close() { program_->close(); }

  std::optional<Usage> usage() const;
  std::string log() const;
  // The sentences of all replies on what a pass left changed.
  std::vector<std::string> left_behind() const { return {left_.begin(), left_.end()}; }
  std::string closing_note() const;

 private:
  void restart(const std::string& request);
  void note_what_is_left(const Reply& reply);

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
  std::string deferred_failure_;
  std::set<std::string> left_;
};

// The tensor of this name in a reply. Errors: CandidateFailed where there is none.
at::Tensor tensor_in(const Reply& reply, const std::string& tensor, const std::string& candidate);

}  // namespace plumbline
