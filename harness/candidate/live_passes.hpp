// Passes through a live model, without its KV cache and with it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "harness/candidate/live_session.hpp"

namespace plumbline {

const char* name_of(Padding padding);

// The fields of a request for a pass over these tokens (protocol.md).
Json pass_fields(const Tokens& tokens, const PassOptions& options);

// Requests a pass and returns its logits (B, T, V); passes the shown stages of `layers` layers to the
// observer. Errors: CandidateFailed for logits of another shape or type.
at::Tensor run_pass(LiveSession& session, const std::string& request, Json fields, const Tokens& tokens,
                    const PassOptions& options, std::int64_t layers,
                    RequestedWeights weights = RequestedWeights::loaded);

// Opens a KV cache in the candidate; the destructor of the result closes it. `cache_axes`: see Hello.
std::unique_ptr<Decoding> open_live_cache(LiveSession& session, std::int64_t batch, std::int64_t capacity,
                                          std::vector<std::int64_t> cache_axes, std::int64_t layers);

}  // namespace plumbline
