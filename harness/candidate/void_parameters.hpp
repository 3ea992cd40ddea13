// Parameters that only one of two architectures has, and the values with which they do nothing: so that a
// parameter too many or too few is one failure, by name, and what else there is can still be judged.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"

namespace plumbline {

// The specification's parameters that a model with parameters `own` does not have.
std::set<std::string> lacking_parameters(const Specification& specification,
                                         const std::vector<ParameterDescription>& own);

// `weights` with these parameters void, wherever a value makes them so: a bias 0, a norm's weight 1, a head
// of its own the embedding, and of a block that is `absent` whole (the attention or the feed-forward of a
// layer, canonical names) the output projection 0. The others stay as they are.
Weights with_void(Weights weights, const std::set<std::string>& absent);

// One of `names` that does something with the value it has; empty: a model without them computes the same.
std::optional<std::string> not_void(const Weights& weights, const std::set<std::string>& names);

// Values for a model whose parameters are `own`, from `given` ones. What it has beyond them becomes void, or
// stays as it was `before` where no value makes it so; what it lacks has to be void. An output head that it
// has no place for is no concern of this. Errors: NotShown naming the parameter, where one of another shape
// was given, where what it lacks does something, or where nothing is known for what it has beyond.
Weights fitted(const Weights& given, const std::vector<ParameterDescription>& own,
               const Weights& before = {});

}  // namespace plumbline
