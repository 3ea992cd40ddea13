// The defect catalogue: named, deliberate departures of the reference model from its specification.
//
// fixtures/defects.json says what each does to a user, how it arises and how severe it is; a test compares
// the two lists.
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

// A model as it is built, which may differ from the specification that it claims to follow.
struct DepartedModel {
  Specification specification;
  Formulas formulas;
  std::shared_ptr<const LocalOverrides> overrides = nullptr;  // of single layers or passes
  std::vector<std::string> idle =
      {};  // a sentence for each departure that changes nothing in this model, with the reason
};

// The numeric parameter of a kind of departure: rotary theta, the size of a window.
struct DepartureParameter {
  const char* clause;                             // describes it; {} stands for the value
  double (*default_value)(const Specification&);  // for a departure that is written without a value
  std::vector<double> other_values = {};          // that occur in published code
  const char* setting = nullptr;                  // the key of config.json
  bool continuous = false;                        // any value between these is as likely
  bool periodic = false;  // its effect is periodic, so that a nearer value need not have a nearer effect
};

// "did you mean A or B?" with the known names that contain `name`; `otherwise` where there is none.
std::string nearest_names(const std::string& name, const std::vector<std::string>& known,
                          const std::string& otherwise);

// The names of all departures, in the catalogue's order.
std::vector<std::string> departure_names();

// A departure as a user writes it: NAME or NAME=NUMBER, and with @PLACE behind it confined to a part of the
// model: @3 (layer 3), @training, @evaluation, @cache, @no-cache, @padded, @unpadded.
struct ParsedDeparture {
  std::string name;
  std::optional<double> number;
  ModelPart place;
};
// Errors: InputError, which quotes `context`, or `written` where that is empty.
ParsedDeparture parse_departure(const std::string& written, const std::string& context = "");
std::string format_departure(const ParsedDeparture& departure);

// The parameter of this kind of departure; nullptr: it has none. Errors: InputError for an unknown name.
const DepartureParameter* departure_parameter(const std::string& name);

// The parameter's clause with this value; the place as a clause, ", in layer 3 alone", empty for everywhere.
std::string describe(const DepartureParameter& parameter, const std::string& value);
std::string describe(const ModelPart& place);

// Applies departures, written with "+" between them, to the model that the specification describes. In any
// order they mean the same model: several of one formula are composed.
// Errors: InputError for an unknown name, for a number or a place that a departure does not take, and for a
// departure that leaves no possible model.
DepartedModel apply_departures(const Specification& specification, const std::string& names);

}  // namespace plumbline
