// Text that a live model writes by its own loop.
#pragma once

#include "harness/candidate/live_session.hpp"

namespace plumbline {

// Asks the candidate, which knows `vocabulary` tokens, to continue the prompts. Errors: CandidateFailed for
// tokens or probabilities that are no answer to the request.
Text ask_for_text(LiveSession& session, const Tokens& prompts, const TextRequest& request,
                  std::int64_t vocabulary);

}  // namespace plumbline
