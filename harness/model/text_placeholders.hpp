// Placeholders in the texts of fixtures/defects.json, {hidden_size} and the like, and their values.
#pragma once

#include <map>
#include <string>

#include "harness/catalogue/defect_catalogue.hpp"
#include "harness/model/specification.hpp"

namespace plumbline {

// Values by name: those of the specification, and behind "wrong." those of the specification as the departure
// changes it.
using Placeholders = std::map<std::string, std::string>;
Placeholders placeholders_for(const Specification& specification, const std::string& departure);

// Errors: InputError for an unknown name, and for an unmatched brace.
std::string fill_placeholders(const std::string& text, const Placeholders& placeholders);

// Fills in the placeholders of the defect's advice. Errors: InputError where the defect leaves no possible
// model of the specification.
Defect fill_in_advice(Defect defect, const Specification& specification);

}  // namespace plumbline
