// The defect catalogue's code: named, deliberate departures of the reference model from its specification.
//
// What each does to a user, how it arises and how severe it is stands in fixtures/defects.json; a test holds
// the two lists together.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/model/departures/local_departures.hpp"
#include "harness/model/formulas.hpp"
#include "harness/model/model.hpp"
#include "harness/model/specification.hpp"

namespace plumbline {

// What a model is, which need not be what it claims.
struct Departed {
  Specification specification;
  Formulas formulas;
  std::shared_ptr<const LocalRules> local = nullptr;  // where something else holds
  std::vector<std::string> idle =
      {};  // departures that change nothing in this model: a sentence each, with why
};

// The number that tells one departure of a kind from another: which theta, which window.
struct DepartureNumber {
  const char* clause;                     // what is so; {} stands for the number
  double (*usual)(const Specification&);  // where none is given
  std::vector<double> others = {};        // that are met in real code
  const char* setting = nullptr;          // what a configuration calls it
  bool continuous = false;                // any between these is as likely
  bool turns = false;                     // what it changes comes round again, so that near is not nearer
};

// "did you mean A or B?", those of the known names that contain this one; else `otherwise`.
std::string nearest_names(const std::string& name, const std::vector<std::string>& known,
                          const std::string& otherwise);

// The names of all departures, in the catalogue's order.
std::vector<std::string> departure_names();

// A departure as it is written: NAME, NAME=NUMBER, and with @PLACE behind it one that holds there alone: @3
// (layer 3), @training, @evaluation, @cache, @no-cache. Errors of reading: InputError.
struct WrittenDeparture {
  std::string name;
  std::optional<double> number;
  ModelPart place;
};
// `among`: all that it is written with, which errors then name.
WrittenDeparture read_departure(const std::string& written, const std::string& among = "");
std::string write_departure(const WrittenDeparture& departure);

// nullptr: it has none. Errors: InputError for an unknown name.
const DepartureNumber* number_of(const std::string& name);

// The number's clause with this value in it; where it is, as a clause: ", in layer 3 alone"; empty:
// everywhere.
std::string describe(const DepartureNumber& number, const std::string& value);
std::string describe(const ModelPart& place);

// Applies departures, joined by "+", to the model that the specification describes.
// Errors: InputError for an unknown name, with those that resemble it, for a number or a place that it cannot
// have, and for one that leaves no possible model.
Departed depart(const Specification& specification, const std::string& names);

}  // namespace plumbline
