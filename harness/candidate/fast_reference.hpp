// The engine as a candidate, so that suites judge it like any model.
#pragma once

#include <memory>
#include <string>

#include "harness/candidate/candidate.hpp"

namespace plumbline {

// For inference only; shows logits and its cache, and no other stage.
std::unique_ptr<Candidate> make_engine(const std::string& name, const Specification& specification,
                                       at::ScalarType type, at::Device device);

}  // namespace plumbline
