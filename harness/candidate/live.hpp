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
  std::uint32_t seed = 1;                      // of the candidate's own random numbers
  int threads = 0;                             // 0 leaves it to the candidate
  bool plays_recording = false;                // the program replays recorded answers
  std::string note;                            // for the reader of the results; may be empty
  std::shared_ptr<RecordingWriter> recording;  // of all requests and replies; may be null
};

// Starts the program and sends hello. Errors: InputError when it cannot be started, raises an error, speaks
// another protocol or has a mapping that does not fit its parameters.
std::unique_ptr<Candidate> open_live(LiveOptions options, const Specification& specification);

// Checks an adapter without judging a model, and returns lines on what it declares and maps, with a proposed
// mapping where it has none. Errors: as open_live, and InputError where a check of the adapter fails.
std::vector<std::string> try_adapter(LiveOptions options, const Specification& specification);

}  // namespace plumbline
