// Checks of an adapter, before a model is judged through it.
#pragma once

#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/candidate/hello.hpp"

namespace plumbline {

// Lines that describe what an adapter declares and what its configuration lacks.
std::vector<std::string> describe_declaration(const Hello& hello, const Description& description,
                                              const Specification& specification);

// Lines that list unmapped parameters of both sides and, where some are missing, propose a mapping.
std::vector<std::string> describe_mapping(const Hello& hello, const Description& description,
                                          const Specification& specification);

// Whether the candidate has none of the specification's parameters by name.
bool has_no_canonical_names(const Description& description, const Specification& specification);

// Errors: InputError where a tensor of `loaded` is returned changed.
void check_loaded_weights(const NamedTensors& loaded, const Weights& shown, const std::string& name);

// Checks that the same tokens get the same logits, that the rows of a batch differ, and that evaluation is
// the same after a pass in training mode. Returns a clause for each. Errors: InputError where a check fails.
std::vector<std::string> check_answers(Candidate& candidate, const std::string& name, at::Device device,
                                       std::int64_t vocabulary);

}  // namespace plumbline
