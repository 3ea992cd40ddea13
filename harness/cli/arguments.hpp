// Command-line arguments that several commands share, and the candidate that they name.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/candidate/live.hpp"
#include "harness/cli/command.hpp"
#include "harness/cli/run_header.hpp"

namespace plumbline {

struct Arguments {
  std::string candidate = "reference";
  std::string name;  // of the candidate in results; empty: as typed
  std::string specification = "minimind2-small";
  std::string device = "auto";
  std::string dtype = "f32";
  int threads = 0;
  std::uint32_t seed = 1;
  std::int64_t longest = 0;  // tokens of the longest pass; 0: by the size of the specification
  std::vector<std::string> only, left_out;
  bool no_diagnosis = false, verbose = false;
  std::string out = "out";
  std::string golden;   // a folder of golden tensors; empty: our own
  std::string shard;    // "2/4"; empty: all of it
  std::string waivers;  // a file; empty: none
  std::string python;
  double timeout = 120;
  std::shared_ptr<RecordingWriter> recording;  // of a live model's answers; null: none is made
};

// The parts of a run that are prepared before its candidate is opened.
struct RunSetup {
  std::filesystem::path data;
  Specification specification;
  at::Device device;
  at::ScalarType type;
};

// Errors: InputError for an unknown specification or device.
RunSetup prepare_run(const Arguments& arguments, const std::filesystem::path& data);

// Errors: InputError where --out cannot be written.
RunContext make_run_context(const Arguments& arguments, const RunSetup& setup,
                            const CommandContext& command_context);

// The file of a model that is named "FILE.py:NAME"; any other name as it is.
std::filesystem::path model_file(const std::string& name);

// Whether the name is that of a program to be run: a model in a file, an adapter or a command.
bool is_program(const std::string& name);
bool is_recording(const std::string& name);

LiveOptions live_options(const Arguments& arguments, const std::filesystem::path& data, at::ScalarType type,
                         at::Device device);

// Errors: InputError where the name is no candidate, or it cannot be read.
std::unique_ptr<Candidate> open_candidate(const Arguments& arguments, const RunSetup& setup);

// The directory of the Python package plumbline, which serves live models, and PYTHONPATH with it.
std::filesystem::path script_directory(const std::filesystem::path& data);
std::string python_path(const std::filesystem::path& data);

// The interpreter of the user's own environment, in which their model runs.
std::string users_python(const Arguments& arguments);

void add_running_options(Command& command, Arguments& arguments);
void add_probe_options(Command& command, Arguments& arguments);
void add_bundle_option(Command& command, Arguments& arguments);

}  // namespace plumbline
