// What speaks against a bundle: `plumbline report check`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "reports/result.hpp"

namespace plumbline::reports {

// Verdicts and checks that the numbers recorded beside them do not bear out, one sentence each.
std::vector<std::string> contradictions(const Result& result);

struct Examined {
  std::vector<std::string> findings;  // what is not as it should be, each naming its file
  std::vector<std::string> notes;     // what was not looked at
  std::int64_t files = 0;             // that have the hash that the manifest says
  std::int64_t recomputed = 0;        // checks held against their numbers
  std::int64_t facts = 0;             // checks without numbers: taken as they were recorded
  std::string verdict;                // of the document; empty where it cannot be read
  int status = 2;                     // likewise
};

// What the program that examines knows of itself.
struct Examiner {
  std::string today;                // "2026-12-31", on which waivers are to hold
  std::string version;              // another's renderings may be worded otherwise
  std::string requirements_sha256;  // of its file of requirements, as header.versions has it: 16 digits
  std::vector<Requirement>
      requirements;  // what a document that was made with that file has: id, level, statement
};

// Recomputes all that can be: hashes, renderings, counts, verdicts. Errors: InputError where there is no
// bundle to look at.
Examined examine(const std::filesystem::path& directory, const Examiner& examiner);

// What a result lacks, has too much, or says otherwise, of the requirements that it was made with; empty
// where that is nothing, or where the examiner knows others.
std::string incompleteness(const Result& result, const Examiner& examiner);

}  // namespace plumbline::reports
