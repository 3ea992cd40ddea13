// Why a model that failed is wrong: known defects, run on its own weights and probes, that make of them what
// it makes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/judging/subject.hpp"
#include "harness/result/result.hpp"

namespace plumbline {

// Of a subject which failed or has no code. What has none shows its names, shapes and settings
// alone: defects that change none of them are listed as undecided. Defects are tried singly, then together,
// as far as `seconds` of WorkClock go; those that a failed requirement points to are tried alone
// whatever it takes. One explains the candidate where everything that was seen of it is what the reference
// with that defect shows, up to rounding, which is measured on that reference. Errors of the candidate become
// the conclusion. `localisation`: what was found of its stages, which says in which layers to look.
// `without`: defects that are left out of account.
reports::Diagnosis diagnose(Subject& subject, double seconds,
                            const std::optional<reports::Localisation>& localisation = {},
                            const std::vector<std::string>& without = {});

}  // namespace plumbline
