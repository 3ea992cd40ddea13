// What trying an adapter shows before any model is judged through it: what it declares, and whether its
// answers can be trusted.
#pragma once

#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/candidate/hello.hpp"

namespace plumbline {

// What an adapter declares, and what its configuration leaves unsaid; a line each.
std::vector<std::string> describe_declaration(const Hello& hello, const Description& description,
                                              const Specification& specification);

// What its mapping leaves over on either side, and a mapping to begin with where it lacks parameters; a line
// each.
std::vector<std::string> describe_mapping(const Hello& hello, const Description& description,
                                          const Specification& specification);

// Whether none of the specification's parameters are among the candidate's: it names them otherwise.
bool has_names_of_its_own(const Description& description, const Specification& specification);

// Errors: InputError where a tensor of `loaded` comes back changed.
void check_weights_came_back(const NamedTensors& loaded, const Weights& shown, const std::string& name);

// Whether the same tokens get the same logits, sequences of a batch their own, and evaluation those that it
// had before training. Returns what was found right, a clause each. Errors: InputError where one is not so.
std::vector<std::string> check_answers(Candidate& candidate, const std::string& name, at::Device device,
                                       std::int64_t vocabulary);

}  // namespace plumbline
