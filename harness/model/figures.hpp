// What texts say of a specification: {hidden_size} and the like, filled in from the one at hand.
#pragma once

#include <map>
#include <string>

#include "harness/model/departures/catalogue.hpp"
#include "harness/model/specification.hpp"

namespace plumbline {

// By the names that stand for them in braces: those of the specification, and behind "wrong." those of what
// the departure makes of it.
using Figures = std::map<std::string, std::string>;
Figures figures(const Specification& specification, const std::string& departure);

// Errors: InputError for a name that stands for nothing, and for a brace without its other.
std::string fill_in(const std::string& text, const Figures& figures);

// Its advice is on the specification. Errors: InputError where the defect leaves no possible model of it.
Defect told_of(Defect defect, const Specification& specification);

}  // namespace plumbline
