#include "harness/candidate/checkpoint_files.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "harness/evidence/safetensors.hpp"
#include "harness/system/child.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t mebibyte = 1u << 20;
constexpr std::uint64_t most_config_bytes = 16 * mebibyte;
constexpr std::uint64_t most_index_bytes = 64 * mebibyte;
constexpr const char* index_name = "model.safetensors.index.json";
constexpr const char* model_name = "model.safetensors";
constexpr const char* pickle_name = "pytorch_model.bin";
constexpr const char* kinds_read =
    "a directory with config.json and *.safetensors, a .safetensors file, or a state dict in a .pth, .pt or "
    ".bin file";

// What accumulates while a checkpoint is read.
struct Reading {
  fs::path root;  // as the user gave it
  std::string python, script_directory;
  CheckpointFiles files;
  std::map<std::string, std::string> hashes;  // of each file, by its name
  std::uint64_t budget = most_tensor_bytes();

  std::string shown() const { return printable(root.string(), 1000); }
};

std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t most = 8;
  std::vector<std::string> shown;
  for (const std::string& name : names) {
    if (shown.size() < most) shown.push_back(printable(name, 80));
  }
  const std::string rest = names.size() > most ? fmt::format(" and {} more", names.size() - most) : "";
  return fmt::format("{}{}", fmt::join(shown, ", "), rest);
}

std::vector<std::string> names_in(const Reading& reading) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(reading.root, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) throw InputError(fmt::format("{}: cannot be listed: {}", reading.shown(), error.message()));
  std::sort(names.begin(), names.end());
  return names;
}

void read_config(Reading& reading) {
  const fs::path path = reading.root / "config.json";
  const std::string text = read_text(path, most_config_bytes);
  const std::string file = printable(path.string(), 1000);
  reading.files.config = parse_json(text, file);
  if (!reading.files.config->is_object())
    throw InputError(file + ": is not an object, as a model's config is");
  reading.files.config_path = path.string();
  reading.hashes["config.json"] = sha256(text);
}

SafetensorsFile read_counted(const fs::path& path, Reading& reading) {
  SafetensorsFile read = read_safetensors(path, reading.budget);
  for (const auto& [name, values] : read.tensors)
    reading.budget -= std::min(reading.budget, std::uint64_t{values.nbytes()});
  return read;
}

void add(SafetensorsFile read, Reading& reading) {
  for (auto& [name, values] : read.tensors) reading.files.tensors.push_back({name, std::move(values)});
}

void read_single(const fs::path& path, Reading& reading) {
  SafetensorsFile read = read_counted(path, reading);
  reading.hashes[path.filename().string()] = read.sha256;
  add(std::move(read), reading);
}

// The shard of each tensor, as the index has it.
std::map<std::string, std::string> read_index(Reading& reading) {
  const fs::path path = reading.root / index_name;
  const std::string text = read_text(path, most_index_bytes);
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
    if (!name.ends_with(".safetensors") || name.find_first_of("/\\") != std::string::npos ||
        name.find("..") != std::string::npos || printable(name) != name) {
      throw InputError(
          fmt::format("{}: tensor \"{}\" is said to be in {}, expected the plain name of a .safetensors "
                      "file in the same directory",
                      file, printable(tensor, 120), printable(shard.dump(), 120)));
    }
    if (!fs::is_regular_file(reading.root / name)) {
      throw InputError(
          fmt::format("{}: names the shard {}, which is not there; is the download complete?", file, name));
    }
    shards[tensor] = name;
  }
  reading.hashes[index_name] = sha256(text);
  return shards;
}

void read_shards(const std::vector<std::string>& present, Reading& reading) {
  const std::map<std::string, std::string> promised = read_index(reading);
  const std::string file = printable((reading.root / index_name).string(), 1000);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : promised) shards.insert(shard);
  std::map<std::string, std::string> found;
  for (const std::string& shard : shards) {
    SafetensorsFile read = read_counted(reading.root / shard, reading);
    reading.hashes[shard] = read.sha256;
    for (const auto& [tensor, values] : read.tensors) {
      const auto [other, is_new] = found.emplace(tensor, shard);
      if (!is_new) {
        throw InputError(fmt::format("{}: tensor \"{}\" is in two shards, {} and {}", reading.shown(),
                                     printable(tensor, 120), other->second, shard));
      }
    }
    add(std::move(read), reading);
  }
  for (const auto& [tensor, shard] : promised) {
    const auto there = found.find(tensor);
    if (there != found.end() && there->second == shard) continue;
    throw InputError(fmt::format("{}: tensor \"{}\" is not in {}, where the index has it{}", file,
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
    reading.files.notes.push_back("not named in the index and not read: " + listed(unread));
}

// Before a process is started for it: what needs none to be refused.
void require_pickle(const fs::path& path, const Reading& reading) {
  InputFile input(path);
  std::string first(std::min<std::uint64_t>(input.size(), 23), '\0');
  input.read_exactly(first.data(), first.size());
  const std::string file = printable(path.string(), 1000);
  if (first.empty()) throw InputError(file + ": is empty, expected a state dict that torch.save wrote");
  if (first == "version https://git-lfs") {
    throw InputError(file + ": is a Git LFS pointer, not the file itself; fetch it with: git lfs pull");
  }
  if (input.size() > reading.budget) {
    throw InputError(
        fmt::format("{}: has {} bytes, more than the {} that are read", file, input.size(), reading.budget));
  }
}

std::string last_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

// What the child said of its work; all of it is of unknown origin.
Json report_of(const ChildResult& child, const std::string& file, const ChildLimits& limits) {
  if (child.timed_out) {
    throw InputError(fmt::format("{}: the process that reads it did not end within {} s", file,
                                 std::chrono::duration_cast<std::chrono::seconds>(limits.time).count()));
  }
  Json report;
  try {
    report = parse_json(last_line(child.output), file);
  } catch (const InputError&) {
    // Killed before it could report; the message below says how it ended.
  }
  if (report.is_object() && report.contains("error") && report["error"].is_string()) {
    throw InputError(fmt::format("{}: {}", file, printable(report["error"].get<std::string>(), 500)));
  }
  if (!child.succeeded() || !report.is_object() || !report.contains("notes") || !report["notes"].is_array()) {
    const std::string end = child.signal != 0 ? fmt::format("was ended by signal {}", child.signal)
                                              : fmt::format("ended with status {}", child.exit_code);
    throw InputError(fmt::format("{}: the process that reads it {} and reported nothing ({})", file, end,
                                 printable(last_line(child.errors), 300)));
  }
  return report;
}

void read_pickle(const fs::path& path, Reading& reading) {
  require_pickle(path, reading);
  const std::string file = printable(path.string(), 1000);
  const std::uint64_t bytes = fs::file_size(path);
  const std::string hash = sha256_of_file(path);
  const TemporaryDirectory place;
  const fs::path converted = place.path() / "state.safetensors";
  ChildLimits limits;
  limits.address_space_bytes = 16'384 * mebibyte + 4 * bytes;
  limits.file_bytes = 64 * mebibyte + 4 * bytes;
  const std::string script = (fs::path(reading.script_directory) / "read_state_dict.py").string();
  // One thread, no GPU: what else torch would set up counts against the address space.
  const ChildResult child =
      run_child({reading.python, script, fs::absolute(path).string(), converted.string()}, limits,
                {{"OMP_NUM_THREADS", "1"}, {"CUDA_VISIBLE_DEVICES", ""}});
  const Json report = report_of(child, file, limits);
  if (sha256_of_file(path) != hash) throw InputError(file + ": changed while it was read");
  reading.files.notes.push_back(
      path.filename().string() +
      " is a pickle; it was read in a process of its own, running none of its code");
  for (const Json& note : report["notes"]) {
    if (note.is_string()) reading.files.notes.push_back(printable(note.get<std::string>(), 1000));
  }
  add(read_counted(converted, reading), reading);
  reading.hashes[path.filename().string()] = hash;
}

void read_directory(Reading& reading) {
  const std::vector<std::string> names = names_in(reading);
  const auto has = [&](const char* name) { return std::binary_search(names.begin(), names.end(), name); };
  if (names.empty()) throw InputError(fmt::format("{}: is empty; expected {}", reading.shown(), kinds_read));
  if (!has("config.json")) {
    throw InputError(
        fmt::format("{}: has no config.json, only {}; for a lone weight file pass the file itself",
                    reading.shown(), listed(names)));
  }
  std::vector<std::string> weights;
  std::copy_if(names.begin(), names.end(), std::back_inserter(weights),
               [](const std::string& name) { return name.ends_with(".safetensors"); });
  if (has(index_name) && has(model_name)) {
    throw InputError(
        fmt::format("{}: contradicts itself: there is {}, and {} for a model in shards; remove one",
                    reading.shown(), model_name, index_name));
  }
  if (!has(index_name) && weights.size() > 1) {
    throw InputError(fmt::format("{}: has {} .safetensors files ({}) and no {} to say what is in them",
                                 reading.shown(), weights.size(), listed(weights), index_name));
  }
  if (!has(index_name) && weights.empty() && !has(pickle_name)) {
    throw InputError(fmt::format("{}: has no model: expected {}, {} with its shards, or {}; there is {}",
                                 reading.shown(), model_name, index_name, pickle_name, listed(names)));
  }
  read_config(reading);
  if (has(index_name)) {
    read_shards(weights, reading);
  } else if (!weights.empty()) {
    read_single(reading.root / weights[0], reading);
    if (weights[0] != model_name)
      reading.files.notes.push_back("the model was read from " + printable(weights[0]));
  } else {
    read_pickle(reading.root / pickle_name, reading);
  }
  if (has(pickle_name) && reading.hashes.count(pickle_name) == 0) {
    reading.files.notes.push_back("pytorch_model.bin beside the .safetensors was not read");
  }
}

void read_file(Reading& reading) {
  const std::string kind = reading.root.extension().string();
  if (kind == ".safetensors") {
    read_single(reading.root, reading);
  } else if (kind == ".pth" || kind == ".pt" || kind == ".bin") {
    read_pickle(reading.root, reading);
  } else {
    throw InputError(
        fmt::format("{}: is no kind of checkpoint that is known; expected {}", reading.shown(), kinds_read));
  }
  std::error_code ignored;
  if (fs::exists(reading.root.parent_path() / "config.json", ignored)) {
    reading.files.notes.push_back(
        "config.json beside the file was not read; pass the directory to have it judged");
  }
}

// Without what torch.compile and data parallelism put before a name.
std::string bare(std::string_view name, std::set<std::string>& taken_off) {
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view prefix : {"module.", "_orig_mod."}) {
      if (!name.starts_with(prefix) || name.size() == prefix.size()) continue;
      name.remove_prefix(prefix.size());
      taken_off.insert(fmt::format("\"{}\"", prefix));
      again = true;
    }
  }
  return std::string(name);
}

void take_off_prefixes(Reading& reading) {
  std::map<std::string, std::string> originals;
  std::set<std::string> prefixes;
  std::size_t changed = 0;
  for (NamedTensor& tensor : reading.files.tensors) {
    const std::string name = bare(tensor.name, prefixes);
    const auto [other, is_new] = originals.emplace(name, tensor.name);
    if (!is_new) {
      throw InputError(
          fmt::format("{}: \"{}\" and \"{}\" are the same name once the wrappers' prefixes are off",
                      reading.shown(), printable(other->second, 120), printable(tensor.name, 120)));
    }
    if (name != tensor.name) ++changed;
    tensor.name = name;
  }
  if (changed > 0) {
    reading.files.notes.push_back(fmt::format("the prefix {} was taken off {} of {} names",
                                              fmt::join(prefixes, " and "), changed,
                                              reading.files.tensors.size()));
  }
  std::sort(reading.files.tensors.begin(), reading.files.tensors.end(),
            [](const NamedTensor& left, const NamedTensor& right) { return left.name < right.name; });
}

}  // namespace

CheckpointFiles read_checkpoint(const fs::path& path, const std::string& python,
                                const std::string& script_directory) {
  Reading reading;
  reading.root = path;
  reading.python = python;
  reading.script_directory = script_directory;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    throw InputError(fmt::format("{}: does not exist; expected {}", reading.shown(), kinds_read));
  }
  if (error) throw InputError(fmt::format("{}: cannot be read: {}", reading.shown(), error.message()));
  if (fs::is_directory(status)) {
    read_directory(reading);
  } else {
    read_file(reading);
  }
  if (reading.files.tensors.empty()) throw InputError(reading.shown() + ": holds no tensors");
  take_off_prefixes(reading);
  std::string summary;
  for (const auto& [name, hash] : reading.hashes) summary += name + '\0' + hash + '\n';
  reading.files.sha256 = sha256(summary);
  return std::move(reading.files);
}

}  // namespace plumbline
