// "variant:NAME": correct variants of the reference, with another arrangement or other formulas. No suite may
// fail one.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/model/specification.hpp"

namespace plumbline {

// Names and differences from the reference; those of harness/model/formula_variants.hpp come first.
std::vector<std::pair<std::string, std::string>> variants();

// Errors: InputError for an unknown name, with those that resemble it.
std::unique_ptr<Candidate> make_variant(const std::string& name, const Specification& specification,
                                        at::ScalarType type, at::Device device);

}  // namespace plumbline
