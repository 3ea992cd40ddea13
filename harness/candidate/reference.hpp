// The built-in reference model as a candidate, with or without departures.
#pragma once

#include <memory>
#include <string>

#include "harness/candidate/candidate.hpp"
#include "harness/model/departures/departures.hpp"

namespace plumbline {

// `departed`: the model as it is built, which suites judge against a specification.
std::unique_ptr<Candidate> make_reference(const std::string& name, DepartedModel departed,
                                          at::ScalarType type, at::Device device);

// All capabilities of candidates with code.
std::set<std::string> all_code_capabilities();

// A specification's numbers as the settings of a configuration.
std::map<std::string, Setting> specification_settings(const Specification& specification,
                                                      const std::string& where);

}  // namespace plumbline
