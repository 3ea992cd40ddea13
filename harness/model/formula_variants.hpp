// Honest ways of computing the same: none of them may be called wrong.
//
// They are to the suites' patience what departures (harness/model/departures/departures.hpp) are to their
// eyes. Those that are another arrangement of the model and no other formula stand in
// harness/candidate/variants.cpp.
#pragma once

#include <string>
#include <vector>

#include "harness/model/formulas.hpp"

namespace plumbline {

struct FormulaVariant {
  const char* name;
  const char* what;  // what is done otherwise, as a clause
  void (*apply)(Formulas&);
};

const std::vector<FormulaVariant>& formula_variants();

}  // namespace plumbline
