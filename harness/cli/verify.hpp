// Verifies one candidate.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/cli/run_header.hpp"

namespace plumbline {

struct Verification : RunContext {
  std::unique_ptr<Candidate> candidate;
  std::vector<std::string> only;             // chapters by number or name; empty: all
  bool for_recording = false;                // also asks what a comparison would
  std::filesystem::path golden;              // a folder of golden tensors; empty: our own
  bool diagnosing = true;                    // diagnoses failures
  std::vector<std::string> left_out;         // defects that the diagnosis may not use, to measure it
  std::optional<reports::Shard> shard = {};  // of the requirements; empty: all
  std::filesystem::path waivers = {};        // a file of accepted failures; empty: none
};

// Runs every applicable check, shows progress, writes the documents. Returns the exit status (0 to 3).
// Errors: InputError when nothing can be judged; nothing is written then.
int verify(Verification verification);

}  // namespace plumbline
