// A live model: a program that answers the candidate protocol (protocol.md).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/candidate/recording.hpp"
#include "harness/system/child.hpp"

namespace plumbline {

struct LiveOptions {
  std::string name;                  // as the user named it
  std::string sha256;                // of the adapter's file; empty for a command
  std::vector<std::string> command;  // without a shell
  Environment environment;
  ChildLimits limits;  // time: of one answer
  at::ScalarType type = at::kFloat;
  at::Device device = at::kCPU;
  int threads = 0;                             // 0 leaves it to the candidate
  bool plays_recording = false;                // nothing is run
  std::string note;                            // what a reader of the results should know of it; may be empty
  std::shared_ptr<RecordingWriter> recording;  // of everything that is said; may be null
};

// Starts it and asks who it is. Errors: InputError when it cannot be started, raises an error, speaks another
// protocol or has a mapping that does not fit its parameters.
std::unique_ptr<Candidate> open_live(LiveOptions options, const Specification& specification);

// Tries an adapter alone: what it declares, what its mapping leaves over on either side, a mapping to begin
// with where it has none; a line each. Errors: as open_live, and InputError where the adapter cannot be
// trusted.
std::vector<std::string> try_adapter(LiveOptions options, const Specification& specification);

}  // namespace plumbline
