// The files with weights of one checkpoint: safetensors, pickles, and shards with their index.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "harness/candidate/checkpoint_files.hpp"
#include "harness/evidence/safetensors.hpp"

namespace plumbline {

constexpr const char* kSafetensorsIndex = "model.safetensors.index.json";
constexpr const char* kPickleIndex = "pytorch_model.bin.index.json";

// The state while a checkpoint is read.
struct CheckpointReading {
  std::filesystem::path root;  // as the user gave it
  std::string python, script_directory;
  CheckpointFiles files;
  std::map<std::string, std::string> hashes;  // of each file, by its name
  std::uint64_t bytes_left = most_tensor_bytes();

  std::string display_path() const;
  void add(SafetensorsFile read);
};

// Reads a file by its content, whatever its name. Errors: InputError.
SafetensorsFile read_weights(const std::filesystem::path& path, CheckpointReading& reading);

// Reads `path`, a pickle or a folder, by read_state_dict.py; `parts`: the files of which it consists. Errors:
// InputError with the script's message.
SafetensorsFile read_in_child(const std::filesystem::path& path,
                              const std::vector<std::filesystem::path>& parts, CheckpointReading& reading);

// Reads the shards of an index and checks their content against it; `present`: the files with weights that
// there are. Errors: InputError.
void read_shards(const char* index_file, const std::vector<std::string>& present, CheckpointReading& reading);

}  // namespace plumbline
