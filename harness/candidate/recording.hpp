// Recordings of the requests to a live model and its answers, which can be judged without the model.
//
// A recording is an HDF5 file: the exchanges, each with a key of what its answer depends on, as JSON text in
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

// The state on which the answer to a request depends, beside the request and its tensors: the loaded weights
// and the contents of caches. The order of other requests does not matter, so that a recording may be asked
// in another order than the model was.
class DialogueState {
 public:
  // The key of a request, 64 hexadecimal digits; ids and names of files do not enter it.
  std::string key(const Json& request, const NamedTensors& tensors) const;
  // Has to be called for every request that was answered without an error.
  void record_answer(const Json& request, const std::string& key, const Json& reply);

 private:
  std::string weights_;
  std::map<std::int64_t, std::string> caches_;  // by handle
};

class RecordingWriter {
 public:
  // Errors: InputError when it cannot be written. Without commit() no file is left.
  explicit RecordingWriter(const std::filesystem::path& path);
  ~RecordingWriter();
  RecordingWriter(const RecordingWriter&) = delete;
  RecordingWriter& operator=(const RecordingWriter&) = delete;

  void add(const Json& request, const NamedTensors& tensors, const Json& reply, const Weights& answer);
  std::string commit();  // returns a sentence on its size

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Serves the candidate protocol from a recording, on standard input and output, until "bye".
// Errors: InputError for what is no recording, is damaged, or was written by a version that is not known.
void play_recording(const std::filesystem::path& path);

}  // namespace plumbline
