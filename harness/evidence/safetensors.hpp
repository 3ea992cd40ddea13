// Reads and writes the safetensors format, refusing whatever it does not allow.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "harness/system/files.hpp"

namespace plumbline {

struct SafetensorsFile {
  std::vector<std::pair<std::string, at::Tensor>>
      tensors;  // in the order of their data; CPU, contiguous, dtype kept
  std::map<std::string, std::string> metadata;
  std::string sha256;  // of exactly the bytes that were read
};

// The largest file that is read: three quarters of the machine's physical memory.
std::uint64_t most_tensor_bytes();

struct SafetensorsOptions {
  std::uint64_t limit_bytes = most_tensor_bytes();  // of the file
  std::string shown = {};                           // the file's name in messages; empty: its path
  bool with_complex = false;                        // allows C64
};

// Reads the file into memory, since a mapped file that shrinks kills the process. The tensors share that
// memory and keep it alive; writing to them changes nothing on disk. Errors: InputError naming the file and
// the tensor, for a malformed header, an unsupported type, data that overlap, leave holes or end early, or a
// file that is too large.
SafetensorsFile read_safetensors(const std::filesystem::path& path, const SafetensorsOptions& options = {});

// Writes tensors of any device and strides, copying one at a time to the CPU. The file appears complete or
// not at all. Errors: InputError for a name that is used twice or not printable, an unsupported type, or a
// file that cannot be written.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {},
                       AtomicFile::Durability durability = AtomicFile::Durability::on_disk);

}  // namespace plumbline
