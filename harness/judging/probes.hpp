// Probes that several suites share.
#pragma once

#include "harness/judging/passes.hpp"

namespace plumbline {

// A pass with labels, its exact gradients, and the rounding error of the reference's gradients in the
// candidate's type.
struct GradientProbe {
  std::string name;
  Tokens tokens;
  at::Tensor labels;
  PassOptions options;
  double noise = 0,
         root_mean_square_noise = 0;  // relative to a gradient's largest element, and to its root mean square
  std::string reason;
  Tolerance allowed(const at::Tensor& gradient) const;
  Gradients exact;  // of the specification's model, in float64
};
// Calls `body` with each probe whose capabilities ("training", "padding.right") satisfy `can`.
void for_each_gradient_probe(Subject& subject, const std::function<bool(const std::string&)>& can,
                             const std::function<void(const GradientProbe&)>& body);

// AdamW steps on batches of two sequences of nine tokens.
TrainingRun short_training_run(Subject& subject, std::int64_t steps);
// The same with unlike numbers of ignored labels in the two sequences.
TrainingRun training_run_with_ignored_labels(Subject& subject, std::int64_t steps);

// The golden tensors of the specification. They are compared in float32 only: in bfloat16 the rounding of a
// whole pass swamps them, and NUM-4 replays each stage instead. Errors: NotShown where there are none.
const Golden& golden(Subject& subject);
// Calls `body` with the weights loaded that the golden tensors were computed with. Errors: NotShown where the
// candidate lacks one of their parameters.
void with_golden_weights(Subject& subject, const std::function<void(const Golden&)>& body);

// Where only one of the two has an untied head, adds its gradient to the embedding's, as tying would.
void merge_untied_head(Weights& one, Weights& other);

// Whether the logits of the standard probe are the specification's. Where they are not, a comparison with
// exact logits of other weights would only say so again.
bool is_right_on_standard_probe(Subject& subject);

// All pairs of the ids that tokenizers use for padding, beginning, end and unknown, each pair followed by an
// ordinary token: (1, 75).
Tokens special_tokens(Subject& subject);

// Decodes a batch of prompts of three lengths, padded on `side`, and six tokens more through the cache, in
// chunks of these sizes. Returns the logits of each row's real tokens: (1, T, V) each.
std::vector<at::Tensor> decode_padded_batch(Subject& subject, Padding side,
                                            const std::vector<std::int64_t>& chunks = {1, 1, 1, 1, 1, 1});
// The same, with `row` (1, 11) as the shortest of the three sequences. Returns its logits (1, 11, V).
at::Tensor decode_in_padded_batch(Subject& subject, const Tokens& row, Padding side);
// Logits of tokens (B, 19) through the cache, thirteen of them in a prefill with a padding mask of ones.
at::Tensor decoded_with_mask_of_ones(Subject& subject, const Tokens& tokens, Padding side);
// The same sequences, each without padding.
std::vector<Tokens> unpadded_sequences(Subject& subject);

// `chunks` or, for a candidate without "cache.chunks", the first chunk and then single tokens.
std::vector<std::int64_t> supported_chunks(Subject& subject, const std::vector<std::int64_t>& chunks);

// Logits through the cache, with every unwritten slot set to `value` before each chunk.
at::Tensor logits_with_filled_slots(Subject& subject, const Tokens& tokens, double value);

// The outcome of writing more tokens into a cache than it has room for. With "cache.chunks": all but two that
// fit, a chunk of three that does not, and the two. Else: a prompt that does not fit, one that does, single
// tokens to the end, and one too many.
struct Overrun {
  std::int64_t capacity = 0;  // 12 are requested; the cache may allocate more
  Tokens tokens;              // (1, capacity + 1) or more
  std::string answer;         // "refused", "13 tokens were accepted"
  at::Tensor logits;          // of the last two tokens that fit; undefined unless the overrun was refused
};
Overrun overrun_cache(Subject& subject);

// A cache of capacity 29 after a prefill of 24 tokens in a batch of 3.
struct FilledCache {
  std::unique_ptr<Decoding> decoding;
  CacheView view;
  Stages stages;
  Tokens tokens;
};
FilledCache fill_cache(Subject& subject);

// Key/value heads for repeat_kv, (3, 7, K, Dh) float64, and an upstream gradient of the result,
// (3, 7, K * factor, Dh).
at::Tensor repeat_kv_input(Subject& subject);
at::Tensor repeat_kv_upstream(Subject& subject, std::int64_t factor);

}  // namespace plumbline
