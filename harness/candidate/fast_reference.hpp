// The engine as a candidate: the suites judge the fast path as they judge anybody's model.
#pragma once

#include <memory>
#include <string>

#include "harness/candidate/candidate.hpp"

namespace plumbline {

// Shows its logits and its cache; inference only, and no stage on the way.
std::unique_ptr<Candidate> make_engine(const std::string& name, const Specification& specification,
                                       at::ScalarType type, at::Device device);

}  // namespace plumbline
