// The pictures of a result's document, read strictly.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "harness/result/json_place.hpp"
#include "harness/result/result.hpp"

namespace plumbline::reports {

// Those of the document `root`, of requirements with these ids alone. Errors: InputError.
std::vector<Plot> plots_of(const JsonPlace& root, const std::set<std::string>& ids);
std::vector<Matrix> matrices_of(const JsonPlace& root, const std::set<std::string>& ids);

}  // namespace plumbline::reports
