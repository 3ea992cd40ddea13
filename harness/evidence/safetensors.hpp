// The safetensors format, read strictly: what the rules do not allow is refused, by name.
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

// What may be read on this machine at all: three quarters of its physical memory.
std::uint64_t most_tensor_bytes();

struct SafetensorsOptions {
  std::uint64_t limit_bytes = most_tensor_bytes();  // a file of more is refused
  std::string shown = {};                           // what messages call the file; empty: its path
  bool with_complex = false;                        // C64 is read, too
};

// The file is read into memory, not mapped: a mapping of a file that shrinks meanwhile kills the process. The
// tensors share that memory and keep it alive; it is private, so writing to one changes nothing on disk.
// InputError names the file and the tensor: header shorter, longer or other than the format has it, a type
// that is not read, data that overlap, leave holes or end early, a file that is too large.
SafetensorsFile read_safetensors(const std::filesystem::path& path, const SafetensorsOptions& options = {});

// Any device and strides; one tensor at a time is brought to the CPU. The file appears complete or not at
// all. InputError for a name used twice or not printable, a type that the format lacks, a file that cannot be
// written.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {},
                       AtomicFile::Kept kept = AtomicFile::Kept::on_disk);

}  // namespace plumbline
