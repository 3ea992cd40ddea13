// Plumbline's side of the candidate protocol (protocol.md): one program, asked and answering.
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

// What the candidate was asked for went wrong on its side: it raised an error, or it is gone. The check at
// hand is in error; what() is one line, with the place in the user's code where it is known.
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
  // Starts the program. `name` is what the user called it; what is said goes to `recording`, where there is
  // one. Errors: InputError if it cannot be started.
  Channel(std::string name, const std::vector<std::string>& command, const ChildLimits& limits,
          const Environment& environment, std::shared_ptr<RecordingWriter> recording = nullptr);

  // Sends a request and its tensors and takes the reply. Errors: NotShown ("cannot"), CacheOverrun
  // ("overrun"), CandidateFailed for everything else, with the end of the candidate's standard error where it
  // died.
  Reply ask(const std::string& request, Json fields = Json::object(), const NamedTensors& tensors = {});

  // The last that the program wrote to its standard error; of unknown origin.
  const std::string& said() const { return conversation_.errors(); }

  // Says bye and waits for the end, five seconds at most for each.
  void close();

  bool usable() const { return usable_; }
  std::chrono::duration<double> waited() const { return waited_; }  // for answers, in total
  std::uint64_t most_bytes() const {
    return conversation_.most_bytes();
  }  // that the program has held; 0: not known
  std::chrono::duration<double> computed() const { return computed_; }  // by the model, as far as it said so

 private:
  Reply exchange(Json fields, const NamedTensors& tensors);
  [[noreturn]] void broken(const std::string& how);
  Reply read(const std::string& line, std::int64_t id);
  Weights take_tensors(const Json& reply);

  std::string name_;
  std::shared_ptr<RecordingWriter> recording_;
  TemporaryDirectory directory_;  // before the conversation: the candidate goes first
  Conversation conversation_;
  std::int64_t requests_ = 0;
  bool usable_ = true;
  std::chrono::duration<double> waited_{0}, computed_{0};
};

}  // namespace plumbline
