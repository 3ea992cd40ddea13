// Where canonical parameters lie in a candidate's own tensors (protocol.md, "Mapping parameters").
#pragma once

#include <string>
#include <vector>
#include "harness/system/json.hpp"

#include "harness/candidate/candidate.hpp"

namespace plumbline {

class Mapping {
 public:
  // `own`: the candidate's parameters, each tensor once; `tied`: groups of names that are one tensor;
  // `lines`: the mapping, or null where the candidate's names are canonical. Errors: InputError naming the
  // line, for a name that the candidate does not have, a step that does not fit its shape, elements that two
  // lines name.
  Mapping(const Json& lines, std::vector<ParameterDescription> own,
          const std::vector<std::vector<std::string>>& tied, const std::string& where);

  // What the candidate has: canonical names, and under its own names what no line names.
  const std::vector<ParameterDescription>& parameters() const { return parameters_; }
  // Names of its own tensors of which some elements are surplus.
  const std::vector<std::string>& surplus() const { return surplus_; }

  // The candidate's tensors under canonical names; surplus ones under their own.
  Weights canonical(const Weights& own) const;

  // Every tensor of the candidate, filled from canonical weights as `fitted` (void_parameters.hpp) has it; of
  // what no line names, a bias is 0, the one matrix of the embedding's shape is the embedding (a head of its
  // own, where `canonical` has none) and anything else as in `before`. Errors: NotShown, likewise.
  NamedTensors own(const Weights& canonical, const Weights& before) const;

 private:
  // A canonical parameter: parts of the candidate's tensors, one after the other along axis 0.
  struct Part {
    std::string own;
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

  std::vector<ParameterDescription> own_;
  std::map<std::string, std::string> aliases_;  // tied name -> the name that stands in own_
  std::vector<Entry> entries_;
  std::vector<ParameterDescription> parameters_;
  std::vector<std::string> surplus_;
  std::string where_;
};

// A first mapping, guessed from names and shapes, for a person to confirm: as protocol.md has it, with
// {layer}. Canonical names that nothing resembles are left out.
Json propose_mapping(const std::vector<ParameterDescription>& own, const Specification& specification);

}  // namespace plumbline
