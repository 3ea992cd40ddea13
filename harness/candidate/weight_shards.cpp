#include <fmt/format.h>

#include <set>
#include <string_view>
#include <utility>

#include "harness/candidate/checkpoint_names.hpp"
#include "harness/candidate/weight_files.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kMostIndexBytes = 64u << 20;

// The shard of each tensor, as the index has it.
std::map<std::string, std::string> read_index(const char* index_file, CheckpointReading& reading) {
  const fs::path path = reading.root / index_file;
  const std::string ending = index_file == std::string_view(kSafetensorsIndex) ? ".safetensors" : ".bin";
  const std::string text = read_text(path, kMostIndexBytes);
  const std::string file = printable(path.string(), 1000);
  const Json index = parse_json(text, file);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object() ||
      index["weight_map"].empty()) {
    throw InputError(file +
                     ": has no \"weight_map\", an object of tensor names and the files that hold them");
  }
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    if (!name.ends_with(ending) || name.find_first_of("/\\") != std::string::npos ||
        name.find("..") != std::string::npos || printable(name) != name) {
      throw InputError(fmt::format(
          "{}: tensor \"{}\" is listed in {}, expected the plain name of a {} file in the same directory",
          file, printable(tensor, 120), printable(shard.dump(), 120), ending));
    }
    if (!fs::is_regular_file(reading.root / name)) {
      throw InputError(
          fmt::format("{}: lists the shard {}, which is missing; complete the download", file, name));
    }
    shards[tensor] = name;
  }
  reading.hashes[index_file] = sha256(text);
  return shards;
}

}  // namespace

void read_shards(const char* index_file, const std::vector<std::string>& present,
                 CheckpointReading& reading) {
  const std::map<std::string, std::string> promised = read_index(index_file, reading);
  const std::string file = printable((reading.root / index_file).string(), 1000);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : promised) shards.insert(shard);
  std::map<std::string, std::string> found;
  for (const std::string& shard : shards) {
    SafetensorsFile read = read_weights(reading.root / shard, reading);
    for (const auto& [tensor, values] : read.tensors) {
      const auto [other, is_new] = found.emplace(tensor, shard);
      if (!is_new) {
        throw InputError(fmt::format("{}: tensor \"{}\" is in two shards, {} and {}", reading.display_path(),
                                     printable(tensor, 120), other->second, shard));
      }
    }
    reading.add(std::move(read));
  }
  for (const auto& [tensor, shard] : promised) {
    const auto there = found.find(tensor);
    if (there != found.end() && there->second == shard) continue;
    throw InputError(fmt::format("{}: tensor \"{}\" is not in {}, where the index lists it{}", file,
                                 printable(tensor, 120), shard,
                                 there == found.end() ? "" : fmt::format("; it is in {}", there->second)));
  }
  for (const auto& [tensor, shard] : found) {
    if (promised.count(tensor) == 0) {
      throw InputError(fmt::format("{}: does not list tensor \"{}\", which is in {}", file,
                                   printable(tensor, 120), shard));
    }
  }
  std::vector<std::string> unread;
  for (const std::string& name : present) {
    if (shards.count(name) == 0) unread.push_back(name);
  }
  if (!unread.empty())
    reading.files.notes.push_back("not listed in the index, so not read: " + listed(unread));
}

}  // namespace plumbline
