// What speaks against a bundle: `plumbline report check`.
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
  bool knows_all = true;              // whether it was looked at that no requirement is missing
  std::int64_t files = 0;             // that have the hash that the manifest says
  std::int64_t recomputed = 0;        // checks held against their numbers
  std::int64_t facts = 0;             // checks without numbers: taken as they were recorded
  std::string verdict;                // of the document; empty where it cannot be read
  int status = 2;                     // likewise
};

// What a document has that was made with a file of requirements: of each its id, chapter, level, statement
// and source.
struct Known {
  std::vector<Chapter> chapters;
  std::vector<Requirement> requirements;
  bool compares = false;  // of two candidates, of which neither is judged
};

// What the program that examines knows of itself.
struct Examiner {
  std::string today;                     // "2026-12-31", on which waivers are to hold
  std::string version;                   // another's renderings may be worded otherwise
  std::map<std::string, Known> known;    // by its file's SHA-256, 16 digits as header.versions has them
  std::map<std::string, Advice> advice;  // by the defect's name; {name} for a figure
};

// Recomputes all that can be: hashes, renderings, counts, verdicts. Errors: InputError where there is no
// bundle to look at.
Examined examine(const std::filesystem::path& directory, const Examiner& examiner);

// What a result lacks, has too much, or says otherwise, of the requirements that it was made with, and
// whether it says which those are; empty where that is nothing, or where the examiner knows others.
std::string incompleteness(const Result& result, const Examiner& examiner);

// Why what is advised is not what the examiner's catalogue says; empty likewise.
std::string wrong_advice(const Result& result, const Examiner& examiner);

// That the examiner does not know the requirements that the result was made with, and what it therefore did
// not look at; empty where it knows them.
std::string not_looked_at(const Result& result, const Examiner& examiner);

}  // namespace plumbline::reports
