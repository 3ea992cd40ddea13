// Passes of a candidate, and the tokens that they are of.
#pragma once

#include <string>
#include <vector>

#include "harness/judging/subject.hpp"

namespace plumbline {

// Token batches of the specification, deterministic.
Tokens probe(Subject& subject, const std::string& name, std::int64_t batch, std::int64_t length);
Tokens standard_probe(Subject& subject);  // 1 x 24, no dimension of any specification
Tokens rows(const Tokens& tokens, std::int64_t row);

// A pass in training mode, dropout 0.
PassOptions in_training();

// Running the candidate.
at::Tensor logits(Subject& subject, const Tokens& tokens, PassOptions options = {});  // (B, T, V)
Stages observe(Subject& subject, const Tokens& tokens, PassOptions options = {});
// The same tokens through the cache, in chunks of the given sizes: the logits of all, and the stages joined
// so that they read like those of one full pass.
at::Tensor cached_logits(Subject& subject, const Tokens& tokens, const std::vector<std::int64_t>& chunks);
Stages observe_cached(Subject& subject, const Tokens& tokens, const std::vector<std::int64_t>& chunks);
std::vector<std::int64_t> one_by_one(std::int64_t prefill, std::int64_t length);
// `sequence` in the middle of two others, of which one is as long as `width` and the other a little shorter,
// padded to that on one side; its own logits.
at::Tensor padded_logits(Subject& subject, const Tokens& sequence, std::int64_t width, Padding side,
                         PassOptions options = {});

// Which keys each query of a batch without padding may see: (B, 1, T, T) bool.
at::Tensor allowed_in(const Tokens& tokens);

// A stage in float64. Errors: NotShown when it was not shown.
at::Tensor shown(const Stages& stages, const std::string& name);

// The requirement could have been shown and was not. Errors: NotShown, always.
// The same tokens with a padding mask that hides none of them, as tokenizers give one with every batch.
Tokens with_mask_of_ones(const Tokens& tokens, Padding side);

[[noreturn]] void not_assessed(const std::string& reason);

}  // namespace plumbline
