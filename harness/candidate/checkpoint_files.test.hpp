// What the tests of checkpoints' files share.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "harness/candidate/checkpoint_files.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/system/child.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline::checkpoint_tests {

inline constexpr const char* scripts = PLUMBLINE_SOURCE_DIR "/harness/python";

inline CheckpointFiles read(const std::filesystem::path& path) {
  return read_checkpoint(path, PLUMBLINE_PYTHON, scripts);
}

inline std::string refusal(const std::filesystem::path& path, const std::string& python = PLUMBLINE_PYTHON,
                           const std::string& script_directory = scripts) {
  try {
    read_checkpoint(path, python, script_directory);
  } catch (const InputError& error) {
    const std::string message = error.what();
    CHECK(message.find_first_of("\n\x1b") == std::string::npos);
    return message;
  }
  return "accepted";
}

// A checkpoint to be filled.
struct CheckpointFolder {
  TemporaryDirectory root;
  std::filesystem::path directory = root.path() / "model";
  CheckpointFolder() { std::filesystem::create_directory(directory); }

  std::filesystem::path at(const std::string& name) const { return directory / name; }
  void text(const std::string& name, const std::string& content) const {
    write_atomically(at(name), content);
  }
  void config() const { text("config.json", R"({"vocab_size": 7})"); }
  void weights(const std::string& file, const std::vector<std::string>& names) const {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const std::string& name : names) tensors.emplace_back(name, at::full({2}, double(tensors.size())));
    write_safetensors(at(file), tensors);
  }
  void index(const std::string& weight_map) const {
    text("model.safetensors.index.json",
         R"({"metadata": {"total_size": 1}, "weight_map": )" + weight_map + "}");
  }
  // Runs `script` in the directory, with torch imported, which takes seconds. There, `reason(file)` is what
  // the reader of state dicts says of a file: its error, or its notes.
  std::string python(const std::string& script) const {
    const std::string prelude = R"(
import os, sys, warnings, torch
warnings.simplefilter("ignore")
os.chdir(sys.argv[1])
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[2])
import read_state_dict
def reason(file):
    try:
        return " | ".join(read_state_dict.convert(file, "out.safetensors"))
    except read_state_dict.Refused as error:
        return str(error)
)";
    const ChildResult result =
        run_child({PLUMBLINE_PYTHON, "-c", prelude + script, directory.string(), scripts}, {});
    INFO(result.errors);
    REQUIRE(result.succeeded());
    return result.output;
  }
};

inline std::vector<std::string> names_of(const CheckpointFiles& files) {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : files.tensors) names.push_back(tensor.name);
  return names;
}

inline std::string notes_of(const CheckpointFiles& files) {
  return fmt::format("{}", fmt::join(files.notes, "\n"));
}

using Names = std::vector<std::string>;

}  // namespace plumbline::checkpoint_tests
