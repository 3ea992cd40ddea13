// What is known of each departure (harness/model/departures/departures.hpp): fixtures/defects.json.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace plumbline {

struct Defect {
  std::string name;
  int chapter = 0;
  std::string severity;                   // "high", "medium", "low"
  bool decides = true;                    // a requirement that it fails is a "must"
  std::string departure;                  // what it is, as a clause
  std::string arises;                     // how it gets into real code
  std::string looks_like;                 // to whoever uses the model
  std::vector<std::string> seen_by;       // requirements
  std::string advice, advice_in_chinese;  // fixtures/advice.json: a paragraph, with {names} of figures
  std::string
      stage;  // the first stage that is wrong in itself; empty: none that is shown, or in no plain pass
};

// In the catalogue's order. Errors: InputError naming file and entry.
std::vector<Defect> read_catalogue(const std::filesystem::path& fixtures);

}  // namespace plumbline
