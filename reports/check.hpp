// Checks a bundle: `plumbline report check`.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline::reports {

struct Examined {
  std::vector<std::string> findings;  // what is not as it should be, each naming its file
  std::vector<std::string> notes;     // what was not looked at
  bool knows_all = true;              // whether it was checked that no requirement is missing
  std::int64_t files = 0;             // that have the hash that the manifest says
  std::int64_t recomputed = 0;        // checks held against their numbers
  std::int64_t facts = 0;             // checks without numbers: taken as they were recorded
  std::string verdict;                // of the document; empty where it cannot be read
  int status = 2;                     // likewise
};

// The requirements of a file that the examiner knows: of each its id, chapter, level, statement and source.
struct Known {
  std::vector<Chapter> chapters;
  std::vector<Requirement> requirements;
  bool compares = false;  // whether they compare two candidates, and judge neither
};

// What the examining program knows.
struct Examiner {
  std::string today;                     // "2026-12-31", on which waivers are to hold
  std::string version;                   // renderings of other versions may be worded differently
  std::map<std::string, Known> known;    // by its file's SHA-256, 16 digits as header.versions has them
  std::map<std::string, Advice> advice;  // by the defect's name; {name} for a figure
};

// Recomputes all that can be: hashes, renderings, counts, verdicts. Errors: InputError where there is no
// bundle to look at.
Examined examine(const std::filesystem::path& directory, const Examiner& examiner);

// How the requirements of a result differ from those it was made with, or that it does not name those. Empty:
// they do not differ, or the examiner does not know them.
std::string incompleteness(const Result& result, const Examiner& examiner);

// How the advice differs from the examiner's catalogue; empty likewise.
std::string wrong_advice(const Result& result, const Examiner& examiner);

// A note on what was not checked, because the examiner does not know the requirements of the result; empty
// where it knows them.
std::string not_looked_at(const Result& result, const Examiner& examiner);

}  // namespace plumbline::reports
