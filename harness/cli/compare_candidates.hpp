// Compares two candidates.
#pragma once

#include <memory>

#include "harness/cli/run_header.hpp"

namespace plumbline {

// Compares the candidate `after` with `before` and writes the same documents as verify(). Returns 0 where
// they agree, 1 where they differ, 2 or 3 as for verify(). Errors: as verify().
int compare_candidates(const RunContext& context, std::unique_ptr<Candidate> before,
                       std::unique_ptr<Candidate> after);

}  // namespace plumbline
