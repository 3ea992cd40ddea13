#include "harness/candidate/checkpoint_files.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "harness/candidate/checkpoint_names.hpp"
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
constexpr const char* pickle_index_name = "pytorch_model.bin.index.json";
constexpr const char* model_name = "model.safetensors";
constexpr const char* pickle_name = "pytorch_model.bin";
constexpr const char* distributed_name = ".metadata";  // of torch.distributed.checkpoint
constexpr const char* adapter_name = "adapter_model.";
constexpr const char* kinds_read =
    "a directory with config.json and *.safetensors, a .safetensors file, or a state dict in a .pth, .pt, "
    ".bin or .ckpt file";

// Files of models that are not read, told by how their name ends or their content begins.
struct ForeignFormat {
  const char* ending;
  const char* beginning;  // empty: any file can begin so
  const char* what;
  const char* advice;
};

constexpr std::array foreign_formats{
    ForeignFormat{".gguf", "GGUF", "GGUF, the format of llama.cpp",
                  "convert it back: AutoModelForCausalLM.from_pretrained(DIR, "
                  "gguf_file=NAME).save_pretrained(OUT) of transformers"},
    ForeignFormat{".ggml", "lmgg", "GGML, an old format of llama.cpp",
                  "pass the model that it was made from"},
    ForeignFormat{".onnx", "", "ONNX, a graph", "pass the model that it was exported from"},
    ForeignFormat{
        ".msgpack", "", "Flax's format",
        "convert it: AutoModelForCausalLM.from_pretrained(DIR, from_flax=True).save_pretrained(OUT) "
        "of transformers"},
    ForeignFormat{
        "tf_model.h5", "\x89HDF", "TensorFlow's format",
        "convert it: AutoModelForCausalLM.from_pretrained(DIR, from_tf=True).save_pretrained(OUT) of "
        "transformers"},
    ForeignFormat{".npz", "", "NumPy's format", "save it as safetensors: safetensors.numpy.save_file"},
    ForeignFormat{".npy", "\x93NUM", "NumPy's format", "save it as safetensors: safetensors.numpy.save_file"},
    ForeignFormat{".pdparams", "", "Paddle's format", "save it as safetensors"},
    ForeignFormat{".tar", "", "an archive", "unpack it and pass what is in it"},
    ForeignFormat{".gz", "\x1f\x8b", "an archive", "unpack it and pass what is in it"},
    ForeignFormat{".tgz", "\x1f\x8b", "an archive", "unpack it and pass what is in it"},
    ForeignFormat{".zip", "", "an archive", "unpack it and pass what is in it"},
    ForeignFormat{".7z", "7z\xbc\xaf", "an archive", "unpack it and pass what is in it"}};

// Pickles that trainers leave beside a model and that hold none.
constexpr std::array beside_a_model{"optimizer", "scheduler", "scaler",         "rng_state",
                                    "training_", "trainer_",  "random_states_", adapter_name};

// What accumulates while a checkpoint is read.
struct Reading {
  fs::path root;  // as the user gave it
  std::string python, script_directory;
  CheckpointFiles files;
  std::map<std::string, std::string> hashes;  // of each file, by its name
  std::uint64_t budget = most_tensor_bytes();

  std::string shown() const { return printable(root.string(), 1000); }
};

std::string first_bytes(const fs::path& path, std::uint64_t most) {
  InputFile input(path);
  std::string first(std::min(input.size(), most), '\0');
  input.read_exactly(first.data(), first.size());
  return first;
}

// By its content: the length of a header that fits, and the header's first character.
bool begins_as_safetensors(const fs::path& path) {
  const std::string first = first_bytes(path, 9);
  std::uint64_t header = 0;
  std::memcpy(&header, first.data(), std::min(first.size(), sizeof header));
  return first.size() == 9 && first.back() == '{' && header < InputFile(path).size();
}

const ForeignFormat* foreign_format_of(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return nullptr;
  if (begins_as_safetensors(path)) return nullptr;
  const std::string name = path.filename().string(), first = first_bytes(path, 8);
  for (const ForeignFormat& format : foreign_formats) {
    const std::string beginning = format.beginning;
    if (name.ends_with(format.ending) || (!beginning.empty() && first.starts_with(beginning))) return &format;
  }
  return nullptr;
}

void refuse_foreign(const fs::path& path) {
  const ForeignFormat* format = foreign_format_of(path);
  if (format == nullptr) return;
  throw InputError(fmt::format("{}: is {}, which is not read; {}", printable(path.string(), 1000),
                               format->what, format->advice));
}

bool is_pickle(const std::string& name) {
  constexpr std::array endings{".pth", ".pt", ".bin", ".ckpt"};
  return std::any_of(endings.begin(), endings.end(), [&](const char* end) { return name.ends_with(end); });
}

bool holds_a_model(const std::string& name) {
  return std::none_of(beside_a_model.begin(), beside_a_model.end(),
                      [&](const char* begin) { return name.starts_with(begin); });
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

// `shown`: what errors call the file, where the user does not know it by its path.
SafetensorsFile read_counted(const fs::path& path, Reading& reading, const std::string& shown = "") {
  SafetensorsFile read = read_safetensors(path, {reading.budget, shown, /*with_complex=*/true});
  for (const auto& [name, values] : read.tensors)
    reading.budget -= std::min(reading.budget, std::uint64_t{values.nbytes()});
  return read;
}

void add(SafetensorsFile read, Reading& reading) {
  for (auto& [name, values] : read.tensors) reading.files.tensors.push_back({name, std::move(values)});
}

// The shard of each tensor, as the index has it.
std::map<std::string, std::string> read_index(const char* index_file, Reading& reading) {
  const fs::path path = reading.root / index_file;
  const std::string ending = index_file == std::string_view(index_name) ? ".safetensors" : ".bin";
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
    if (!name.ends_with(ending) || name.find_first_of("/\\") != std::string::npos ||
        name.find("..") != std::string::npos || printable(name) != name) {
      throw InputError(
          fmt::format("{}: tensor \"{}\" is said to be in {}, expected the plain name of a {} "
                      "file in the same directory",
                      file, printable(tensor, 120), printable(shard.dump(), 120), ending));
    }
    if (!fs::is_regular_file(reading.root / name)) {
      throw InputError(
          fmt::format("{}: names the shard {}, which is not there; is the download complete?", file, name));
    }
    shards[tensor] = name;
  }
  reading.hashes[index_file] = sha256(text);
  return shards;
}

// Before a process is started for it: what needs none to be refused.
void require_pickle(const fs::path& path) {
  const std::string first = first_bytes(path, 23);
  const std::string file = printable(path.string(), 1000);
  if (first.empty()) throw InputError(file + ": is empty, expected a state dict that torch.save wrote");
  if (first == "version https://git-lfs") {
    throw InputError(file + ": is a Git LFS pointer, not the file itself; fetch it with: git lfs pull");
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

// What read_state_dict.py makes of `path`, a pickle or a folder, which consists of these files.
SafetensorsFile read_in_child(const fs::path& path, const std::vector<fs::path>& parts, Reading& reading) {
  const std::string file = printable(path.string(), 1000);
  std::uint64_t bytes = 0;
  for (const fs::path& part : parts) {
    bytes += InputFile(part).size();
    if (bytes > reading.budget)
      throw InputError(
          fmt::format("{}: has {} bytes, more than the {} that are read", file, bytes, reading.budget));
  }
  for (const fs::path& part : parts) reading.hashes[part.filename().string()] = sha256_of_file(part);
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
  for (const fs::path& part : parts)
    if (sha256_of_file(part) != reading.hashes[part.filename().string()])
      throw InputError(printable(part.string(), 1000) + ": changed while it was read");
  for (const Json& note : report["notes"]) {
    if (note.is_string()) reading.files.notes.push_back(printable(note.get<std::string>(), 1000));
  }
  std::error_code ignored;
  if (!fs::exists(converted, ignored))
    throw InputError(file + ": the process that reads it ended well and wrote nothing");
  return read_counted(converted, reading, file);
}

// By its content; by its name where the content is neither.
bool is_safetensors(const fs::path& path) {
  if (begins_as_safetensors(path)) return true;
  const std::string first = first_bytes(path, 4);
  const bool pickle = first.starts_with("PK\x03\x04") || first.starts_with("\x80\x02");
  return !pickle && path.extension() == ".safetensors";
}

SafetensorsFile read_weights(const fs::path& path, Reading& reading) {
  refuse_foreign(path);
  if (is_safetensors(path) != (path.extension() == ".safetensors"))
    reading.files.notes.push_back(fmt::format("{} is {}, whatever its name says", path.filename().string(),
                                              is_safetensors(path) ? "a safetensors file" : "a pickle"));
  if (!is_safetensors(path)) {
    require_pickle(path);
    reading.files.notes.push_back(
        path.filename().string() +
        " is a pickle; it was read in a process of its own, running none of its code");
    return read_in_child(path, {path}, reading);
  }
  SafetensorsFile read = read_counted(path, reading);
  reading.hashes[path.filename().string()] = read.sha256;
  return read;
}

void read_shards(const char* index_file, const std::vector<std::string>& present, Reading& reading) {
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

// A folder that torch.distributed.checkpoint wrote: .metadata says what lies where in the .distcp files.
void read_distributed(const std::vector<std::string>& names, Reading& reading) {
  std::vector<fs::path> parts;
  for (const std::string& name : names)
    if (name == distributed_name || name.ends_with(".distcp")) parts.push_back(reading.root / name);
  reading.files.notes.push_back(
      "the folder is one of torch.distributed.checkpoint; it was read in a process of its own, running none "
      "of its code");
  add(read_in_child(reading.root, parts, reading), reading);
}

// A directory without config.json: what in it can be passed instead, if anything can.
[[noreturn]] void refuse_without_config(const std::vector<std::string>& names, const Reading& reading) {
  std::vector<std::string> weights, inner;
  for (const std::string& name : names) {
    const fs::path path = reading.root / name;
    std::error_code ignored;
    if (fs::exists(path / "config.json", ignored) || fs::exists(path / distributed_name, ignored))
      inner.push_back(name);
    else if (fs::is_regular_file(path, ignored) && foreign_format_of(path) == nullptr &&
             holds_a_model(name) && (name.ends_with(".safetensors") || is_pickle(name)))
      weights.push_back(name);
  }
  const auto& instead = weights.empty() ? inner : weights;
  if (instead.empty()) {
    for (const std::string& name : names)
      if (name.starts_with(adapter_name))
        throw InputError(fmt::format("{}: holds a LoRA adapter alone ({}), not the model that it adapts; {}",
                                     reading.shown(), printable(name, 80), kMergeAdapter));
    for (const std::string& name : names) refuse_foreign(reading.root / name);
    throw InputError(fmt::format("{}: has no config.json, only {}; expected {}", reading.shown(),
                                 listed(names), kinds_read));
  }
  throw InputError(
      fmt::format("{}: has no config.json, only {}; {}pass {}", reading.shown(), listed(names),
                  instead.size() > 1 ? fmt::format("of {} that can be judged, ", instead.size()) : "",
                  printable((reading.root / instead.front()).string(), 1000)));
}

// The one file of the directory that holds the model, or empty where there is an index of several.
std::string model_file(const std::vector<std::string>& names, const std::vector<std::string>& weights,
                       const Reading& reading) {
  const auto has = [&](const char* name) { return std::binary_search(names.begin(), names.end(), name); };
  if (has(index_name) && has(model_name)) {
    throw InputError(
        fmt::format("{}: contradicts itself: there is {}, and {} for a model in shards; remove one",
                    reading.shown(), model_name, index_name));
  }
  if (has(index_name)) return "";
  if (weights.size() > 1) {
    throw InputError(fmt::format("{}: has {} .safetensors files ({}) and no {} to say what is in them",
                                 reading.shown(), weights.size(), listed(weights), index_name));
  }
  if (weights.size() == 1) return weights.front();
  if (has(pickle_name)) return pickle_name;
  if (has(pickle_index_name)) return "";
  for (const std::string& name : names) refuse_foreign(reading.root / name);
  std::vector<std::string> pickles;
  for (const std::string& name : names)
    if (is_pickle(name) && holds_a_model(name)) pickles.push_back(name);
  if (pickles.size() > 1)
    throw InputError(
        fmt::format("{}: has {} files that could be the model ({}); pass one of them, or keep one",
                    reading.shown(), pickles.size(), listed(pickles)));
  if (pickles.empty())
    throw InputError(fmt::format("{}: has no model: expected {}, {} with its shards, or {}; there is {}",
                                 reading.shown(), model_name, index_name, pickle_name, listed(names)));
  return pickles.front();
}

void read_directory(Reading& reading) {
  const std::vector<std::string> names = names_in(reading);
  const auto has = [&](const char* name) { return std::binary_search(names.begin(), names.end(), name); };
  if (names.empty()) throw InputError(fmt::format("{}: is empty; expected {}", reading.shown(), kinds_read));
  const bool distributed = has(distributed_name);
  if (!has("config.json") && !distributed) refuse_without_config(names, reading);
  std::vector<std::string> weights, adapters;
  for (const std::string& name : names) {
    if (name.starts_with(adapter_name) && (name.ends_with(".safetensors") || is_pickle(name)))
      adapters.push_back(name);
    else if (name.ends_with(".safetensors") && holds_a_model(name))
      weights.push_back(name);
  }
  // A second copy, in Meta's spelling, that some publish beside a model.
  std::vector<std::string> copies;
  std::copy_if(weights.begin(), weights.end(), std::back_inserter(copies),
               [](const std::string& name) { return name.starts_with("consolidated"); });
  if (!has(index_name) && copies.size() < weights.size() && !copies.empty()) {
    std::erase_if(weights, [](const std::string& name) { return name.starts_with("consolidated"); });
    reading.files.notes.push_back("a second copy of the model, not read: " + listed(copies));
  }
  const bool distributed_alone = distributed && weights.empty();
  const std::string file = distributed_alone ? "" : model_file(names, weights, reading);
  if (has("config.json")) read_config(reading);
  if (distributed_alone) {
    read_distributed(names, reading);
  } else if (!file.empty()) {
    add(read_weights(reading.root / file, reading), reading);
    if (file != model_name && file != pickle_name)
      reading.files.notes.push_back("the model was read from " + printable(file));
  } else {
    read_shards(has(index_name) ? index_name : pickle_index_name, weights, reading);
  }
  if (!adapters.empty())
    reading.files.notes.push_back(fmt::format(
        "the adapter beside the model was not read, the base alone was judged; to judge both, {}: {}",
        kMergeAdapter, listed(adapters)));
  if (has(pickle_name) && reading.hashes.count(pickle_name) == 0) {
    reading.files.notes.push_back("pytorch_model.bin beside the .safetensors was not read");
  }
}

void read_file(Reading& reading) {
  const std::string name = reading.root.filename().string();
  refuse_foreign(reading.root);
  std::error_code regular;
  const bool named = name.ends_with(".safetensors") || is_pickle(name);
  if (!named && !(fs::is_regular_file(reading.root, regular) &&
                  (is_safetensors(reading.root) || first_bytes(reading.root, 4) == "PK\x03\x04"))) {
    throw InputError(
        fmt::format("{}: is no kind of checkpoint that is known; expected {}", reading.shown(), kinds_read));
  }
  add(read_weights(reading.root, reading), reading);
  if (fs::exists(reading.root.parent_path() / "config.json", regular)) {
    reading.files.notes.push_back(
        "config.json beside the file was not read; pass the directory to have it judged");
  }
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
  make_names_canonical(reading.files.tensors, reading.files.notes, reading.shown());
  std::string summary;
  for (const auto& [name, hash] : reading.hashes) summary += name + '\0' + hash + '\n';
  reading.files.sha256 = sha256(summary);
  return std::move(reading.files);
}

}  // namespace plumbline
