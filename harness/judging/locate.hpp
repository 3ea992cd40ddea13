// Locates the error of a model that failed: the first divergent and the first locally wrong stage or, without
// stages, the modes that fail.
#pragma once

#include "harness/judging/subject.hpp"
#include "harness/result/result.hpp"

namespace plumbline {

// `subject`: of a candidate that can be run. Its errors become findings.
reports::Localisation localise(Subject& subject);

}  // namespace plumbline
