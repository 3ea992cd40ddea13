// Passes of a candidate, and probe tokens for them.
#pragma once

#include <string>
#include <vector>

#include "harness/judging/subject.hpp"

namespace plumbline {

// Deterministic token batches: (batch, length), without padding.
Tokens probe(Subject& subject, const std::string& name, std::int64_t batch, std::int64_t length);
Tokens standard_probe(Subject& subject);  // (1, 24); 24 is no dimension of any specification
Tokens row_of_batch(const Tokens& tokens, std::int64_t row);  // (1, T), of a batch without padding

// `length`, or as many tokens as the specification has positions.
std::int64_t fitting_length(Subject& subject, std::int64_t length);
// Positions from which a pass of 24 tokens fits: 300, and as far from the start as it can be.
std::vector<std::int64_t> far_positions(const Specification& specification);

// Training mode with dropout 0.
PassOptions training_options();

at::Tensor logits(Subject& subject, const Tokens& tokens, PassOptions options = {});  // (B, T, V)
Stages observe(Subject& subject, const Tokens& tokens, PassOptions options = {});
// The same through the cache, in chunks of these sizes; logits and stages are concatenated to those of one
// full pass.
at::Tensor cached_logits(Subject& subject, const Tokens& tokens, const std::vector<std::int64_t>& chunks);
Stages observe_cached(Subject& subject, const Tokens& tokens, const std::vector<std::int64_t>& chunks);
// Chunk sizes: `prefill`, then 1 up to `length`.
std::vector<std::int64_t> prefill_then_single_tokens(std::int64_t prefill, std::int64_t length);
// The logits of `sequence` in a padded batch of width `width`, between a shorter row and one of full width:
// (1, T, V).
at::Tensor padded_logits(Subject& subject, const Tokens& sequence, std::int64_t width, Padding side,
                         PassOptions options = {});

// By how much two correct evaluations of these logits may differ, measured on these tokens where they are
// more than those of the standard probe or begin far from the start: rounding grows with both.
Tolerance noise_of_pass(Subject& subject, const Tokens& tokens, const PassOptions& options,
                        const at::Tensor& logits);

// The causal mask of a batch without padding: (B, 1, T, T) bool.
at::Tensor causal_mask_of(const Tokens& tokens);

// A stage in float64. Errors: NotShown where the candidate did not show it.
at::Tensor shown(const Stages& stages, const Stage& stage);

// The same tokens with a padding mask that hides none of them, as tokenizers give one with every batch.
Tokens with_mask_of_ones(const Tokens& tokens, Padding side);

// Leaves the current requirement not assessed: throws NotShown.
[[noreturn]] void not_assessed(const std::string& reason);

}  // namespace plumbline
