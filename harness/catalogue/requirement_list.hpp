// The requirements of a verification or a comparison.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline {

// fixtures/requirements.json: the numbered statements, in the specification's order.
struct RequirementList {
  struct Entry {
    reports::Requirement requirement;  // without a verdict
    std::set<std::string> applicable;  // kinds of candidate
    std::vector<std::string> needs;    // capabilities that a candidate has to declare
  };
  std::vector<reports::Chapter> chapters;
  std::map<std::string, int> by_name;  // chapters by their names for the command line
  std::vector<Entry> entries;
};

// Errors: InputError naming the file and the entry.
RequirementList read_requirements(const std::filesystem::path& file);

}  // namespace plumbline
