// Text from a live model's own generation loop.
#pragma once

#include "harness/candidate/live_session.hpp"

namespace plumbline {

// Requests continuations of the prompts; `vocabulary`: exclusive bound of token ids. Errors: CandidateFailed
// for a malformed reply.
GeneratedText request_text(LiveSession& session, const Tokens& prompts, const TextRequest& request,
                           std::int64_t vocabulary);

}  // namespace plumbline
