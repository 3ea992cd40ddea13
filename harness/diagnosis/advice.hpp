// What is said of a defect that explains a model: what it is, and what to do.
#pragma once

#include <string>
#include <vector>

#include "harness/catalogue/defect_catalogue.hpp"
#include "harness/model/specification.hpp"
#include "harness/result/result.hpp"

namespace plumbline {

// `written` as parse_departure reads it, of a defect of the catalogue.
// What it is, as a clause.
std::string clause_of(const std::string& written, const std::vector<Defect>& catalogue);
// Advice speaks of the usual number and of the whole model: where it is another, that is said before.
reports::Advice advice_on(const std::string& written, const std::vector<Defect>& catalogue,
                          const Specification& specification);
// Causes and advice of these defects together.
void tell_causes(const std::vector<std::string>& defects, const std::vector<Defect>& catalogue,
                 const Specification& specification, reports::Diagnosis& diagnosis);

}  // namespace plumbline
