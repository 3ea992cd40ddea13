// What was said between Plumbline and a live model, kept so that it can be judged again, later and elsewhere.
//
// A recording is an HDF5 file: the exchanges, each known by what its answer depends on, as JSON text in
// `exchanges` (uint8), and the tensors of the answers in `tensors/SHA-256`, each stored once. The attribute
// `sha256` is that of `exchanges`, which names every tensor by its own.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>
#include "harness/system/json.hpp"

#include "harness/model/weights.hpp"

namespace plumbline {

// What the answer to a request depends on: the request, its tensors, and what was said before, as far as it
// matters: the weights that were loaded, and what a cache holds. The order of everything else does not, so
// that other checks may be asked of a recording than in the order in which it was made.
class Dependence {
 public:
  // `request` without its id and without names of files. 64 hexadecimal digits.
  std::string key(const Json& request, const NamedTensors& tensors) const;
  // To be told of every request that was answered without an error, with its key and the answer.
  void answered(const Json& request, const std::string& key, const Json& reply);

 private:
  std::string weights_;
  std::map<std::int64_t, std::string> caches_;  // by handle
};

class RecordingWriter {
 public:
  // Errors: InputError when it cannot be written. Until commit() nothing is at `path`, and nothing is left.
  explicit RecordingWriter(const std::filesystem::path& path);
  ~RecordingWriter();
  RecordingWriter(const RecordingWriter&) = delete;
  RecordingWriter& operator=(const RecordingWriter&) = delete;

  void add(const Json& request, const NamedTensors& tensors, const Json& reply, const Weights& answer);
  std::string commit();  // how much it holds, as a sentence

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Answers the candidate protocol from a recording, on standard input and output, until it is told to end.
// Errors: InputError for what is no recording, is damaged, or was written by a version that is not known.
void play_recording(const std::filesystem::path& path);

}  // namespace plumbline
