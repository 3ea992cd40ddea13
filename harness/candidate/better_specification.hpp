// Whether a model is held against the wrong specification.
#pragma once

#include <filesystem>
#include <string>

#include "harness/candidate/candidate.hpp"
#include "harness/model/specification.hpp"

namespace plumbline {

// The name of a specification in this folder that a candidate's settings and parameters fit, where those of
// the one that it claims to be do not; empty where there is none. One setting may be another.
std::string better_specification(const Description& description, const Specification& claimed,
                                 const std::filesystem::path& folder);

}  // namespace plumbline
