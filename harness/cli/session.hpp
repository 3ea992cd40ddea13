// One run from beginning to end: a candidate, the suites, a result document; or two candidates, compared.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/model/specification.hpp"
#include "harness/result/result.hpp"

namespace plumbline {

// What is the same of every run.
struct Circumstances {
  Specification specification;
  std::filesystem::path data;                  // holds fixtures/ and golden/
  std::filesystem::path out;                   // where the documents go
  std::string device, dtype;                   // as shown in the header
  std::string version, command;                // of this program, and how it was called
  std::optional<reports::Commit> commit = {};  // of the candidate's files
};

struct Verification : Circumstances {
  std::unique_ptr<Candidate> candidate;
  std::vector<std::string> only;      // chapters that were asked for, by number or name; empty: all
  bool for_recording = false;         // asks also what only a comparison would
  std::filesystem::path golden;       // a folder of golden tensors; empty: our own
  bool diagnosing = true;             // of what failed, why
  std::vector<std::string> left_out;  // defects that the diagnosis is to know nothing of, to measure it
  std::optional<reports::Shard> shard = {};  // of the requirements; empty: all
  std::filesystem::path waivers = {};        // a file of failures that somebody answers for; empty: none
};

// Runs every applicable check, shows progress, writes the documents. Returns the exit status (0 to 3).
// Errors: InputError when nothing can be judged; nothing is written then.
int verify(Verification verification);

// Prints what becomes of the claims of chapter 11. Returns 0, or 3 where one could not be decided.
int claims(const Specification& specification, Candidate& reference, const std::filesystem::path& data);

// Asks two candidates the same and writes the same documents. Returns 0 where they are the same, 1 where they
// differ, 2 or 3 as for verify(). Errors: as verify().
int compare(const Circumstances& circumstances, std::unique_ptr<Candidate> one,
            std::unique_ptr<Candidate> other);

}  // namespace plumbline
