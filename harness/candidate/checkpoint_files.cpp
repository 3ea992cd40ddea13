#include "harness/candidate/checkpoint_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <system_error>
#include <utility>

#include "harness/candidate/checkpoint_names.hpp"
#include "harness/candidate/weight_files.hpp"
#include "harness/candidate/weight_formats.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kMostConfigBytes = 16u << 20;
constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kPickleFile = "pytorch_model.bin";
constexpr const char* kDistributedFile = ".metadata";  // of torch.distributed.checkpoint
constexpr const char* kAdapterBeginning = "adapter_model.";
constexpr const char* kKindsRead =
    "a directory with config.json and *.safetensors, a .safetensors file, or a state dict in a .pth, .pt, "
    ".bin or .ckpt file";

// Pickles that trainers leave beside a model and that hold none.
constexpr std::array kAuxiliaryPrefixes{"optimizer", "scheduler", "scaler",         "rng_state",
                                        "training_", "trainer_",  "random_states_", kAdapterBeginning};

bool may_hold_model(const std::string& name) {
  return std::none_of(kAuxiliaryPrefixes.begin(), kAuxiliaryPrefixes.end(),
                      [&](const char* begin) { return name.starts_with(begin); });
}

std::vector<std::string> list_names(const CheckpointReading& reading) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(reading.root, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error)
    throw InputError(fmt::format("{}: cannot be listed: {}", reading.display_path(), error.message()));
  std::sort(names.begin(), names.end());
  return names;
}

void read_config(CheckpointReading& reading) {
  const fs::path path = reading.root / "config.json";
  const std::string text = read_text(path, kMostConfigBytes);
  const std::string file = printable(path.string(), 1000);
  reading.files.config = parse_json(text, file);
  if (!reading.files.config->is_object())
    throw InputError(file + ": is not an object, as a model's config is");
  reading.files.config_path = path.string();
  reading.hashes["config.json"] = sha256(text);
}

// A folder that torch.distributed.checkpoint wrote: .metadata says what lies where in the .distcp files.
void read_distributed(const std::vector<std::string>& names, CheckpointReading& reading) {
  std::vector<fs::path> parts;
  for (const std::string& name : names)
    if (name == kDistributedFile || name.ends_with(".distcp")) parts.push_back(reading.root / name);
  reading.files.notes.push_back(
      "the folder is a torch.distributed.checkpoint; it was read in a separate process, and none of its code "
      "was run");
  reading.add(read_in_child(reading.root, parts, reading));
}

// A directory without config.json: what in it can be passed instead, if anything can.
[[noreturn]] void refuse_without_config(const std::vector<std::string>& names,
                                        const CheckpointReading& reading) {
  std::vector<std::string> weights, inner;
  for (const std::string& name : names) {
    const fs::path path = reading.root / name;
    std::error_code ignored;
    if (fs::exists(path / "config.json", ignored) || fs::exists(path / kDistributedFile, ignored))
      inner.push_back(name);
    else if (fs::is_regular_file(path, ignored) && !is_foreign(path) && may_hold_model(name) &&
             (name.ends_with(".safetensors") || is_named_as_pickle(name)))
      weights.push_back(name);
  }
  const auto& instead = weights.empty() ? inner : weights;
  if (instead.empty()) {
    for (const std::string& name : names)
      if (name.starts_with(kAdapterBeginning))
        throw InputError(fmt::format("{}: holds only a LoRA adapter ({}), not the model that it adapts; {}",
                                     reading.display_path(), printable(name, 80), kMergeAdapter));
    for (const std::string& name : names) refuse_foreign(reading.root / name);
    throw InputError(fmt::format("{}: has no config.json, only {}; expected {}", reading.display_path(),
                                 listed(names), kKindsRead));
  }
  throw InputError(
      fmt::format("{}: has no config.json, only {}; {}pass {}", reading.display_path(), listed(names),
                  instead.size() > 1 ? fmt::format("choose one of {}: for example, ", instead.size()) : "",
                  printable((reading.root / instead.front()).string(), 1000)));
}

// The one file of the directory that holds the model, or empty where there is an index of several.
std::string find_model_file(const std::vector<std::string>& names, const std::vector<std::string>& weights,
                            const CheckpointReading& reading) {
  const auto has = [&](const char* name) { return std::binary_search(names.begin(), names.end(), name); };
  if (has(kSafetensorsIndex) && has(kModelFile)) {
    throw InputError(fmt::format("{}: contains both {} and {}, an index of shards; remove one of them",
                                 reading.display_path(), kModelFile, kSafetensorsIndex));
  }
  if (has(kSafetensorsIndex)) return "";
  if (weights.size() > 1) {
    throw InputError(fmt::format(
        "{}: has {} .safetensors files ({}) but no {} that lists their tensors; add it, or pass one file",
        reading.display_path(), weights.size(), listed(weights), kSafetensorsIndex));
  }
  if (weights.size() == 1) return weights.front();
  if (has(kPickleFile)) return kPickleFile;
  if (has(kPickleIndex)) return "";
  for (const std::string& name : names) refuse_foreign(reading.root / name);
  std::vector<std::string> pickles;
  for (const std::string& name : names)
    if (is_named_as_pickle(name) && may_hold_model(name)) pickles.push_back(name);
  if (pickles.size() > 1)
    throw InputError(fmt::format("{}: has {} files that could be the model ({}); pass one of them",
                                 reading.display_path(), pickles.size(), listed(pickles)));
  if (pickles.empty())
    throw InputError(fmt::format("{}: has no model: expected {}, {} with its shards, or {}; there is {}",
                                 reading.display_path(), kModelFile, kSafetensorsIndex, kPickleFile,
                                 listed(names)));
  return pickles.front();
}

void read_directory(CheckpointReading& reading) {
  const std::vector<std::string> names = list_names(reading);
  const auto has = [&](const char* name) { return std::binary_search(names.begin(), names.end(), name); };
  if (names.empty())
    throw InputError(fmt::format("{}: is empty; expected {}", reading.display_path(), kKindsRead));
  const bool distributed = has(kDistributedFile);
  if (!has("config.json") && !distributed) refuse_without_config(names, reading);
  std::vector<std::string> weights, adapters;
  for (const std::string& name : names) {
    if (name.starts_with(kAdapterBeginning) && (name.ends_with(".safetensors") || is_named_as_pickle(name)))
      adapters.push_back(name);
    else if (name.ends_with(".safetensors") && may_hold_model(name))
      weights.push_back(name);
  }
  // A second copy, in Meta's spelling, that some publish beside a model.
  std::vector<std::string> copies;
  std::copy_if(weights.begin(), weights.end(), std::back_inserter(copies),
               [](const std::string& name) { return name.starts_with("consolidated"); });
  if (!has(kSafetensorsIndex) && copies.size() < weights.size() && !copies.empty()) {
    std::erase_if(weights, [](const std::string& name) { return name.starts_with("consolidated"); });
    reading.files.notes.push_back("a second copy of the model, not read: " + listed(copies));
  }
  const bool distributed_alone = distributed && weights.empty();
  const std::string file = distributed_alone ? "" : find_model_file(names, weights, reading);
  if (has("config.json")) read_config(reading);
  if (distributed_alone) {
    read_distributed(names, reading);
  } else if (!file.empty()) {
    reading.add(read_weights(reading.root / file, reading));
    if (file != kModelFile && file != kPickleFile)
      reading.files.notes.push_back("the model was read from " + printable(file));
  } else {
    read_shards(has(kSafetensorsIndex) ? kSafetensorsIndex : kPickleIndex, weights, reading);
  }
  if (!adapters.empty())
    reading.files.notes.push_back(fmt::format(
        "the adapter beside the model was not read, only its base was judged; to judge both, {}: {}",
        kMergeAdapter, listed(adapters)));
  if (has(kPickleFile) && reading.hashes.count(kPickleFile) == 0) {
    reading.files.notes.push_back("pytorch_model.bin beside the .safetensors was not read");
  }
}

void read_file(CheckpointReading& reading) {
  const std::string name = reading.root.filename().string();
  refuse_foreign(reading.root);
  std::error_code regular;
  const bool named = name.ends_with(".safetensors") || is_named_as_pickle(name);
  if (!named && !(fs::is_regular_file(reading.root, regular) &&
                  (is_safetensors(reading.root) || first_bytes(reading.root, 4) == "PK\x03\x04"))) {
    throw InputError(
        fmt::format("{}: is no known kind of checkpoint; expected {}", reading.display_path(), kKindsRead));
  }
  reading.add(read_weights(reading.root, reading));
  if (fs::exists(reading.root.parent_path() / "config.json", regular)) {
    reading.files.notes.push_back(
        "config.json beside the file was not read; pass the directory to judge it, too");
  }
}

}  // namespace

CheckpointFiles read_checkpoint(const fs::path& path, const std::string& python,
                                const std::string& script_directory) {
  CheckpointReading reading;
  reading.root = path;
  reading.python = python;
  reading.script_directory = script_directory;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    throw InputError(fmt::format("{}: does not exist; expected {}", reading.display_path(), kKindsRead));
  }
  if (error) throw InputError(fmt::format("{}: cannot be read: {}", reading.display_path(), error.message()));
  if (fs::is_directory(status)) {
    read_directory(reading);
  } else {
    read_file(reading);
  }
  if (reading.files.tensors.empty())
    throw InputError(reading.display_path() + ": holds no tensors; pass the state dict of a model");
  make_names_canonical(reading.files.tensors, reading.files.notes, reading.display_path());
  std::string summary;
  for (const auto& [name, hash] : reading.hashes) summary += name + '\0' + hash + '\n';
  reading.files.sha256 = sha256(summary);
  return std::move(reading.files);
}

}  // namespace plumbline
