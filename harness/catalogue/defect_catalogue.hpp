// The descriptions of departures (harness/model/departures/departures.hpp), from fixtures/defects.json.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "harness/system/stage.hpp"

namespace plumbline {

struct Defect {
  std::string name;
  int chapter = 0;
  std::string severity;                   // "high", "medium", "low"
  bool decides = true;                    // whether it fails a requirement that is a "must"
  std::string departure;                  // what it is, as a clause
  std::string arises;                     // how it gets into real code
  std::string looks_like;                 // what a user of the model notices
  std::vector<std::string> seen_by;       // ids of the requirements that it fails
  std::string advice, advice_in_chinese;  // a paragraph with {placeholders}
  std::int64_t longest = 604;             // tokens of the pass that it takes to see it: `verify --longest`
  Stage stage;  // the first that is wrong for its own inputs; no kind: none in a pass of a prompt
};

// In the catalogue's order. Errors: InputError naming file and entry.
std::vector<Defect> read_catalogue(const std::filesystem::path& fixtures);

// The one of this name, which is there.
const Defect& defect_named(const std::string& name, const std::vector<Defect>& catalogue);

}  // namespace plumbline
