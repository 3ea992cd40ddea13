// Where a model that failed goes wrong: the first divergent and the first locally wrong stage and, where no
// stages are shown, what the ways to run it tell.
#pragma once

#include "harness/result/result.hpp"

namespace plumbline {

// Of the running subject, whose code can be run. Errors of the candidate become findings.
reports::Localisation localise();

}  // namespace plumbline
