// What changed from one document to another: `plumbline report diff`.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline::reports {

struct Change {
  std::string subject;        // "GQA-2: query head h reads key/value head h div 4", "device"
  std::string before, after;  // its value in each document; empty: there is none
};

struct Difference {
  std::string before, after;          // the verdicts' sentences
  std::vector<Change> worse, better;  // requirements, by how much
  std::vector<Change> otherwise;      // verdicts that are neither better nor worse, new and gone requirements
  std::vector<Change> margins;        // shares of the tolerance that changed by more than a factor of two
  std::vector<Change> places;         // the first locally wrong stage, the diagnosis
  std::vector<Change> headers;        // what was judged, by what, where
  bool empty() const {
    return worse.empty() && better.empty() && otherwise.empty() && margins.empty() && places.empty() &&
           headers.empty();
  }
};

// Errors: InputError where they are of different specifications, or of two that were compared.
Difference difference(const Result& before, const Result& after);

std::string to_markdown(const Difference& difference);
std::string to_text(const Difference& difference);  // for a terminal

}  // namespace plumbline::reports
