// The built-in reference model as a candidate, with or without departures.
#pragma once

#include <memory>
#include <string>

#include "harness/candidate/candidate.hpp"
#include "harness/model/departures/departures.hpp"

namespace plumbline {

// `departed` is what the model is; the suites judge it against what it claims to be.
std::unique_ptr<Candidate> make_reference(const std::string& name, Departed departed, at::ScalarType type,
                                          at::Device device);

// All capabilities that a candidate with code may have.
std::set<std::string> everything_that_code_can_show();

// A specification's numbers as the settings of a configuration.
std::map<std::string, Setting> settings_of(const Specification& specification, const std::string& where);

}  // namespace plumbline
