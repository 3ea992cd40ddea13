// Two candidates, asked the same.
#pragma once

#include <memory>

#include "harness/cli/run_header.hpp"

namespace plumbline {

// Asks two candidates the same and writes the same documents as verify(). Returns 0 where they are the same,
// 1 where they differ, 2 or 3 as for verify(). Errors: as verify().
int compare_candidates(const Circumstances& circumstances, std::unique_ptr<Candidate> one,
                       std::unique_ptr<Candidate> other);

}  // namespace plumbline
