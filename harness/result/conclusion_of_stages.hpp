// What the stages and the passes of a localisation come to, said of its document alone.
#pragma once

#include <string>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// The situation after which those follow that are of single blocks.
constexpr const char* every_block_silenced = "every block silenced";

// Whether the model is right (of two: the same) in the situation of that name; so where there is none.
bool right_in(const std::vector<Situation>& situations, const std::string& name);

// Whether the stages alone tell where the model is wrong.
bool told_by_stages(const Localisation& found);

// The one sentence of a model that is wrong.
std::string conclusion_of(const Localisation& found);

// The one sentence of two that differ. `first_failed`: of first_failed() below.
std::string conclusion_of_two(const Localisation& found, const std::string& first_failed);

// What the first check that did not hold looked at, in the requirements' order; empty for none.
std::string first_failed(const std::vector<Requirement>& requirements);

}  // namespace plumbline::reports
