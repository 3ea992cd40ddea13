// Reads a checkpoint's configuration and tensors from disk, without judging them.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>
#include "harness/system/json.hpp"

namespace plumbline {

// As stored: dtype kept, contiguous, CPU. The name is canonical, as far as checkpoint_names.hpp can tell.
struct NamedTensor {
  std::string name;
  at::Tensor values;
};

struct CheckpointFiles {
  std::optional<Json> config;        // an object; none for a lone weight file
  std::string config_path;           // empty without a config
  std::vector<NamedTensor> tensors;  // sorted by name, no name twice
  std::vector<std::string> notes;    // lines for the reader of the results
  std::string sha256;  // over "relative name\0sha256 of the content\n" of every file read, sorted by name
};

// `path` is a directory (config.json, and model.safetensors or pytorch_model.bin, or the index of either and
// its shards; or what torch.distributed.checkpoint writes, with or without config.json), a .safetensors file,
// or a state dict in a .pth, .pt, .bin or .ckpt file. Pickles are read by `python` running read_state_dict.py
// from `script_directory`, in a child under limits and with weights_only. InputError names the file and what
// was expected, or what the file is instead.
CheckpointFiles read_checkpoint(const std::filesystem::path& path, const std::string& python,
                                const std::string& script_directory);

}  // namespace plumbline
