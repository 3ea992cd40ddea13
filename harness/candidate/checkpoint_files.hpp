// A checkpoint as it lies on disk: its configuration and tensors, before anything is expected of them.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>
#include "harness/system/json.hpp"

namespace plumbline {

// As stored: dtype kept, contiguous, CPU. The name is without the prefixes "module." and "_orig_mod." that
// wrappers add.
struct NamedTensor {
  std::string name;
  at::Tensor values;
};

struct CheckpointFiles {
  std::optional<Json> config;        // an object; none for a lone weight file
  std::string config_path;           // empty without a config
  std::vector<NamedTensor> tensors;  // sorted by name, no name twice
  std::vector<std::string> notes;    // one line each: what a reader of the verdict should know
  std::string sha256;  // over "relative name\0sha256 of the content\n" of every file read, sorted by name
};

// `path` is a directory (config.json, and model.safetensors, or model.safetensors.index.json and its shards,
// or pytorch_model.bin), a .safetensors file, or a state dict in a .pth, .pt or .bin file. The latter two
// kinds of pickle are read by `python` running read_state_dict.py from `script_directory`, in a child under
// limits and with weights_only. InputError names the file and what was expected.
CheckpointFiles read_checkpoint(const std::filesystem::path& path, const std::string& python,
                                const std::string& script_directory);

}  // namespace plumbline
