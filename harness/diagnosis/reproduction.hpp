// Holds a diagnosis to the requirements that failed: whether the reference fails them, too, with the causes
// that were found, and by which of these.
#pragma once

#include <ATen/core/ScalarType.h>

#include <functional>
#include <string>
#include <vector>

#include "harness/judging/subject.hpp"
#include "harness/result/result.hpp"

namespace plumbline {

// Judges one requirement of a subject, in its recorder.
using JudgeOne = std::function<void(Subject&, const std::string& id)>;

// Fills in what each cause fails, what is not reproduced, and what was not asked after `seconds` of processor
// time, the quickest requirements first. A cause that the catalogue lists for a requirement need not be
// asked. A diagnosis is not complete where a failed must is not reproduced. `type`: the candidate's.
void attribute_failures(Subject& subject, reports::Diagnosis& diagnosis, at::ScalarType type, double seconds,
                        const JudgeOne& judge);

}  // namespace plumbline
