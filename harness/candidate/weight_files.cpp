#include "harness/candidate/weight_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "harness/candidate/weight_formats.hpp"
#include "harness/system/child.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kMebibyte = 1u << 20;

// `shown`: what errors call the file, where the user does not know it by its path.
SafetensorsFile read_within_limit(const fs::path& path, CheckpointReading& reading,
                                  const std::string& shown = "") {
  SafetensorsFile read = read_safetensors(path, {reading.bytes_left, shown, /*with_complex=*/true});
  for (const auto& [name, values] : read.tensors)
    reading.bytes_left -= std::min(reading.bytes_left, std::uint64_t{values.nbytes()});
  return read;
}

std::string last_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

// What the child said of its work; all of it is of unknown origin.
Json parse_report(const ChildResult& child, const std::string& file, const ChildLimits& limits) {
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
    const std::string end = child.signal != 0 ? fmt::format("was stopped by signal {}", child.signal)
                                              : fmt::format("ended with status {}", child.exit_code);
    throw InputError(fmt::format("{}: the process that reads it {} and reported nothing ({})", file, end,
                                 printable(last_line(child.errors), 300)));
  }
  return report;
}

}  // namespace

std::string CheckpointReading::display_path() const {
  return printable(root.string(), 1000);
}

void CheckpointReading::add(SafetensorsFile read) {
  for (auto& [name, values] : read.tensors) files.tensors.push_back({name, std::move(values)});
}

SafetensorsFile read_in_child(const fs::path& path, const std::vector<fs::path>& parts,
                              CheckpointReading& reading) {
  const std::string file = printable(path.string(), 1000);
  std::uint64_t bytes = 0;
  for (const fs::path& part : parts) {
    bytes += InputFile(part).size();
    if (bytes > reading.bytes_left)
      throw InputError(
          fmt::format("{}: has {} bytes, more than the {} that are read", file, bytes, reading.bytes_left));
  }
  for (const fs::path& part : parts) reading.hashes[part.filename().string()] = sha256_of_file(part);
  const TemporaryDirectory place;
  const fs::path converted = place.path() / "state.safetensors";
  ChildLimits limits;
  limits.address_space_bytes = 16'384 * kMebibyte + 4 * bytes;
  limits.file_bytes = 64 * kMebibyte + 4 * bytes;
  const std::string script = (fs::path(reading.script_directory) / "read_state_dict.py").string();
  // One thread, no GPU: what else torch would set up counts against the address space.
  const ChildResult child =
      run_child({reading.python, script, fs::absolute(path).string(), converted.string()}, limits,
                {{"OMP_NUM_THREADS", "1"}, {"CUDA_VISIBLE_DEVICES", ""}});
  const Json report = parse_report(child, file, limits);
  for (const fs::path& part : parts)
    if (sha256_of_file(part) != reading.hashes[part.filename().string()])
      throw InputError(printable(part.string(), 1000) + ": changed while it was read; try again");
  for (const Json& note : report["notes"]) {
    if (note.is_string()) reading.files.notes.push_back(printable(note.get<std::string>(), 1000));
  }
  std::error_code ignored;
  if (!fs::exists(converted, ignored))
    throw InputError(file + ": the process that reads it wrote nothing; try again");
  return read_within_limit(converted, reading, file);
}

SafetensorsFile read_weights(const fs::path& path, CheckpointReading& reading) {
  refuse_foreign(path);
  if (is_safetensors(path) != (path.extension() == ".safetensors"))
    reading.files.notes.push_back(fmt::format("{} is {}, whatever its name says", path.filename().string(),
                                              is_safetensors(path) ? "a safetensors file" : "a pickle"));
  if (!is_safetensors(path)) {
    require_pickle(path);
    reading.files.notes.push_back(
        path.filename().string() +
        " is a pickle; it was read in a separate process, and none of its code was run");
    return read_in_child(path, {path}, reading);
  }
  SafetensorsFile read = read_within_limit(path, reading);
  reading.hashes[path.filename().string()] = read.sha256;
  return read;
}

}  // namespace plumbline
