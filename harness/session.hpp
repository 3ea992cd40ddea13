// One verification from beginning to end: a candidate, the suites, a result document.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/model/specification.hpp"

namespace plumbline {

struct Verification {
  std::unique_ptr<Candidate> candidate;
  Specification specification;
  std::filesystem::path data;    // holds fixtures/ and golden/
  std::vector<int> chapters;     // that were asked for; empty: all
  std::filesystem::path out;     // where the documents go
  std::string device, dtype;     // as shown in the header
  std::string version, command;  // of this program, and how it was called
};

// Runs every applicable check, shows progress, writes the documents. Returns the exit status (0 to 3).
// Errors: InputError when nothing can be judged; nothing is written then.
int verify(Verification verification);

}  // namespace plumbline
