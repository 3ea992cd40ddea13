// Correct implementations with other formulas: no suite may fail one.
//
// They measure false alarms, as departures (harness/model/departures/departures.hpp) measure what is missed.
// harness/candidate/variants.cpp has those that arrange the model otherwise and share its formulas.
#pragma once

#include <string>
#include <vector>

#include "harness/model/formulas.hpp"

namespace plumbline {

struct FormulaVariant {
  const char* name;
  const char* difference;  // from the reference, as a clause
  void (*apply)(Formulas&);
};

const std::vector<FormulaVariant>& formula_variants();

}  // namespace plumbline
