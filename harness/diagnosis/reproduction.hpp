// Holds a diagnosis to the requirements that failed: whether the reference fails them, too, with the causes
// that were found, and by which of these.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "harness/judging/subject.hpp"
#include "harness/result/result.hpp"

namespace plumbline {

// Judges one requirement of a subject, and returns what it found.
using JudgeOne = std::function<reports::Requirement(Subject&, const std::string& id)>;

// Fills in what each cause fails, what is not reproduced, and what was not asked: for want of `seconds` of
// WorkClock, which the quickest requirements get first, or because the reference cannot be made with
// these causes. Of a defect as it is catalogued, the catalogue says what it fails. A diagnosis is not
// complete where a failed must is not reproduced; of several explanations those go that do not reproduce one,
// where another does.
void attribute_failures(Subject& subject, reports::Diagnosis& diagnosis, double seconds,
                        const JudgeOne& judge);

}  // namespace plumbline
