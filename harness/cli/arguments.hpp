// What several commands take from the command line, and the candidate that it names.
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
  std::string name;  // what results call it; empty: as it was typed
  std::string specification = "minimind2-small";
  std::string device = "auto";
  std::string dtype = "f32";
  int threads = 0;
  std::vector<std::string> only, left_out;
  bool no_diagnosis = false;
  std::string out = "out";
  std::string golden;   // a folder of golden tensors; empty: our own
  std::string shard;    // "2/4"; empty: all of it
  std::string waivers;  // a file; empty: none
  std::string python;
  double timeout = 120;
  std::shared_ptr<RecordingWriter> recording;  // of what a live model answers; null: none is made
};

// What a run needs before it opens its candidate.
struct Prepared {
  std::filesystem::path data;
  Specification specification;
  at::Device device;
  at::ScalarType type;
};

// Errors: InputError for a specification or device that there is none of.
Prepared prepare(const Arguments& arguments, const std::filesystem::path& data);

// Errors: InputError where --out cannot be written.
Circumstances circumstances_of(const Arguments& arguments, const Prepared& prepared,
                               const Circumstance& circumstance);

// Whether a candidate of this name is a program to be run: an adapter or a command.
bool is_program(const std::string& name);
bool is_recording(const std::string& name);

LiveOptions live_options(const Arguments& arguments, const std::filesystem::path& data, at::ScalarType type,
                         at::Device device);

// Errors: InputError for what is no candidate, or cannot be read.
std::unique_ptr<Candidate> open_candidate(const Arguments& arguments, const Prepared& prepared);

// Holds plumbline, the package that serves live models.
std::filesystem::path script_directory(const std::filesystem::path& data);

void add_running_options(Command& command, Arguments& arguments);
void add_bundle_option(Command& command, Arguments& arguments);

}  // namespace plumbline
