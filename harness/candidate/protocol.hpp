// Plumbline's side of the candidate protocol (protocol.md).
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>
#include "harness/system/json.hpp"

#include "harness/candidate/candidate.hpp"
#include "harness/candidate/recording.hpp"
#include "harness/system/child.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

// The candidate raised an error or has ended: the current check is in error. what() is one line, with the
// place in the user's code where it is known.
class CandidateFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Reply {
  Json fields;
  Weights tensors;  // by name
};

class Channel {
 public:
  // Starts the program. `name`: as the user gave it. `recording` gets all requests and replies; may be null.
  // Errors: InputError if it cannot be started.
  Channel(std::string name, const std::vector<std::string>& command, const ChildLimits& limits,
          const Environment& environment, std::shared_ptr<RecordingWriter> recording = nullptr);

  // Sends a request with its tensors and returns the reply. Errors: NotShown ("cannot"), CacheOverrun
  // ("overrun"), CandidateFailed for everything else, with the end of the candidate's standard error where it
  // died.
  Reply ask(const std::string& request, Json fields = Json::object(), const NamedTensors& tensors = {});

  // The last part of the program's standard error; of unknown origin.
  const std::string& standard_error() const { return conversation_.errors(); }

  // Sends bye and waits for the program's end, at most five seconds for each.
  void close();

  bool usable() const { return usable_; }
  std::chrono::duration<double> waited() const { return waited_; }  // for replies, in total
  std::uint64_t peak_bytes() const {
    return conversation_.peak_bytes();
  }  // of the program's memory; 0: not known
  std::chrono::duration<double> computed() const {
    return computed_;
  }  // by the model, as reported in replies

 private:
  Reply send(Json fields, const NamedTensors& tensors);
  [[noreturn]] void fail(const std::string& how);
  Reply parse_reply(const std::string& line, std::int64_t id);
  Weights receive_tensors(const Json& reply);

  std::string name_;
  std::shared_ptr<RecordingWriter> recording_;
  TemporaryDirectory directory_;  // declared before the conversation, so that the program ends first
  Conversation conversation_;
  std::int64_t requests_ = 0;
  bool usable_ = true;
  std::chrono::duration<double> waited_{0}, computed_{0};
};

}  // namespace plumbline
