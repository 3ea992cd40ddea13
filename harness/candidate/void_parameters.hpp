// Values with which a parameter has no effect ("void"), so that a surplus or missing parameter is one failure
// and everything else can still be judged.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"

namespace plumbline {

// The specification's parameters that `parameters` lacks.
std::set<std::string> missing_parameters(const Specification& specification,
                                         const std::vector<ParameterDescription>& parameters);

// Returns `weights` with these parameters void, where a value makes them so: a bias 0, a norm's weight 1, an
// untied head the embedding, and the output projection 0 of a block (attention or feed-forward of a layer)
// that is absent as a whole. Other weights stay as they are. Names are canonical.
Weights make_void(Weights weights, const std::set<std::string>& absent);

// One of `names` that has an effect with its value; empty: a model without them computes the same.
std::optional<std::string> find_not_void(const Weights& weights, const std::set<std::string>& names);

// Fits `weights` to a model with these parameters. Surplus parameters of the model become void or, where no
// value makes them so, stay as in `before`; parameters that it lacks have to be void. An output head without
// a place is ignored. Errors: NotShown naming a parameter of another shape, one that it lacks and that has an
// effect, or a surplus one that is in neither.
Weights fit_weights(const Weights& weights, const std::vector<ParameterDescription>& parameters,
                    const Weights& before = {});

}  // namespace plumbline
