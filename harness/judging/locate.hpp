// Where a model that failed goes wrong: the first divergent and the first locally wrong stage and, where no
// stages are shown, what the ways to run it tell.
#pragma once

#include "harness/judging/subject.hpp"
#include "harness/result/result.hpp"

namespace plumbline {

// Of a subject whose code can be run. Errors of the candidate become findings.
reports::Localisation localise(Subject& subject);

}  // namespace plumbline
