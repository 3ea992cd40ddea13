// What more than one suite asks of a subject.
#pragma once

#include "harness/judging/passes.hpp"

namespace plumbline {

// A pass with labels, and the relative error that the reference itself makes of its gradients in the
// candidate's type.
struct GradientProbe {
  std::string name;
  Tokens tokens;
  at::Tensor labels;
  PassOptions options;
  double noise = 0, whole = 0;  // relative to each gradient's largest element, and to its root mean square
  std::string reason;
  Tolerance allowed(const at::Tensor& gradient) const;
  Gradients exact;  // of the specification, in float64
};
// Those of which `wanted` holds, by what a candidate has to declare for them ("training", "padding.right").
void for_each_gradient_probe(Subject& subject, const std::function<bool(const std::string&)>& can,
                             const std::function<void(const GradientProbe&)>& body);

// Steps of AdamW, each on a batch of two sequences of nine tokens.
TrainingRun some_steps(Subject& subject, std::int64_t steps);
// The same with labels that are ignored, of unlike number in the two sequences.
TrainingRun some_steps_with_ignored_labels(Subject& subject, std::int64_t steps);

// The golden tensors of the specification. Golden tensors are judged in float32; in bfloat16 rounding swamps
// what accumulates over a pass, and NUM-4's replay of each stage takes their place. Not assessed: there are
// none.
const Golden& golden(Subject& subject);
// Those of weights that the candidate has loaded. Not assessed: it lacks a parameter of them.
const Golden& golden_of_its_weights(Subject& subject);

// What a head of its own adds to the tied matrix's gradient, where only one of the two has a head.
void as_one_matrix(Weights& one, Weights& other);

// Tokens with what tokenizers use for padding, beginning, end and unknown, each where it begins and where it
// follows.
Tokens special_tokens(Subject& subject);

// A batch of prompts of several lengths, padded and decoded through the cache: the logits of each row's real
// tokens.
std::vector<at::Tensor> padded_and_decoded(Subject& subject, Padding side);
// Logits of tokens (B, 19) through the cache, thirteen of them in a prefill with a padding mask of ones.
at::Tensor decoded_with_mask_of_ones(Subject& subject, const Tokens& tokens, Padding side);
// The sequences of which these are the rows.
std::vector<Tokens> padded_and_decoded_alone(Subject& subject);

// These chunks, or where the candidate declares none, the first and then one token at a time.
std::vector<std::int64_t> chunks_it_takes(Subject& subject, const std::vector<std::int64_t>& chunks);

// Logits through the cache with a value in every slot that was not written.
at::Tensor logits_beside(Subject& subject, const Tokens& tokens, double value);

// What writing one token too many into a cache comes to, after all but two that fit, and the logits of these
// two. Where a prompt alone may have several tokens: a prompt that does not fit, and a token after all that
// do.
struct Overrun {
  std::int64_t capacity = 0;  // 12 were asked for; the cache may have room for more, and shows it
  Tokens tokens;              // (1, capacity + 1) or more
  std::string answer;         // "refused", "13 tokens were accepted"
  at::Tensor logits;          // undefined unless it was refused
};
Overrun overrun(Subject& subject);

// What a cache of capacity 29 holds of the first 24 positions of a batch of 3.
struct Filled {
  std::unique_ptr<Decoding> decoding;
  CacheView view;
  Stages stages;
  Tokens tokens;
};
Filled fill_cache(Subject& subject);

// Some key/value heads to repeat: (B, L, K, Dh), lengths and batch unlike any head count; and a gradient from
// above.
at::Tensor some_heads(Subject& subject);
at::Tensor some_upstream(Subject& subject, std::int64_t factor);

}  // namespace plumbline
