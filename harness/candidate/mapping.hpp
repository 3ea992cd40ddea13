// The mapping between canonical parameters and a candidate's tensors (protocol.md, "Mapping parameters").
#pragma once

#include <string>
#include <vector>
#include "harness/system/json.hpp"

#include "harness/candidate/candidate.hpp"

namespace plumbline {

class Mapping {
 public:
  // `candidate_parameters`: each tensor once; `tied`: groups of names that are one tensor;
  // `lines`: the mapping, or null where the candidate's names are canonical. Errors: InputError naming the
  // line, for an unknown name, a step that does not fit the shape, elements that two lines
  // name.
  Mapping(const Json& lines, std::vector<ParameterDescription> candidate_parameters,
          const std::vector<std::vector<std::string>>& tied, const std::string& where);

  // The candidate's parameters under canonical names, and unmapped ones under their own.
  const std::vector<ParameterDescription>& parameters() const { return parameters_; }
  // The candidate's tensors of which some elements are unmapped.
  const std::vector<std::string>& surplus() const { return surplus_; }

  // Converts the candidate's tensors to canonical parameters; surplus ones keep their names.
  Weights to_canonical(const Weights& own) const;

  // Converts canonical weights to all tensors of the candidate, by fit_weights (void_parameters.hpp). Of
  // unmapped tensors, biases become 0, a single matrix of the embedding's shape becomes the embedding (an
  // untied head, where `canonical` has none), and others stay as in `before`. Errors: as fit_weights.
  NamedTensors to_candidate(const Weights& canonical, const Weights& before) const;

 private:
  // A part of a canonical parameter; parts are concatenated along axis 0.
  struct Part {
    std::string candidate_name;
    std::vector<Json> steps;  // validated, {layer} replaced
  };
  struct Entry {
    std::string canonical;
    std::vector<Part> parts;
  };

  [[noreturn]] void refuse(const std::string& canonical, const std::string& complaint) const;
  static at::Tensor view(at::Tensor tensor, const Part& part);
  void add(const std::string& canonical, const Json& value);
  bool add_layer(const std::string& canonical, const Json& value, std::int64_t layer);
  const ParameterDescription* find(const std::string& name) const;
  void describe();
  std::optional<std::string> unmapped_head(const Weights& given) const;

  std::vector<ParameterDescription> candidate_parameters_;
  std::map<std::string, std::string> aliases_;  // tied name -> name in candidate_parameters_
  std::vector<Entry> entries_;
  std::vector<ParameterDescription> parameters_;
  std::vector<std::string> surplus_;
  std::string where_;
};

// Proposes a mapping from names and shapes, for a person to confirm, in the form of protocol.md with {layer}.
// Canonical names without a similar parameter are left out.
Json propose_mapping(const std::vector<ParameterDescription>& parameters, const Specification& specification);

}  // namespace plumbline
