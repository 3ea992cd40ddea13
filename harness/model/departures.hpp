// The defect catalogue's code: named, deliberate departures of the reference model from its specification.
//
// What each does to a user, how it arises and how severe it is stands in fixtures/defects.json; a test holds
// the two lists together.
#pragma once

#include <string>
#include <vector>

#include "harness/model/formulas.hpp"
#include "harness/model/specification.hpp"

namespace plumbline {

// What a model is, which need not be what it claims.
struct Departed {
  Specification specification;
  Formulas formulas;
  std::vector<std::string> idle =
      {};  // departures that change nothing in this model: a sentence each, with why
};

// "did you mean A or B?", those of the known names that contain this one; else `otherwise`.
std::string nearest_names(const std::string& name, const std::vector<std::string>& known,
                          const std::string& otherwise);

// The names of all departures, in the catalogue's order.
std::vector<std::string> departure_names();

// Applies "NAME" or "NAME+NAME" to the model that the specification describes.
// Errors: InputError for an unknown name, with those that resemble it, and for one that leaves no possible
// model.
Departed depart(const Specification& specification, const std::string& names);

}  // namespace plumbline
