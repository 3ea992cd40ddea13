// Text from a candidate's own generation loop, and what its logits and the sampling settings call for.
#pragma once

#include <string>
#include <vector>

#include "harness/judging/passes.hpp"

namespace plumbline {

// Sampling settings that show mistakes after given logits: few tokens share the probability, and the gap
// between what top-k and top-p keep and exclude is as large as it can be.
struct SamplingCase {
  std::string name;
  std::string needs;  // the capability that it takes: "generate.top_k"
  Sampling sampling;
  std::vector<std::string> mistakes;  // defects that it shows
};
std::vector<SamplingCase> sampling_cases(const at::Tensor& logits);  // (V)

// Prompts of one length, with repeated tokens: (rows, 7).
Tokens generation_prompts(Subject& subject, std::int64_t rows);
// Three such prompts, cut to unlike lengths and padded on that side: (3, 7).
Tokens padded_generation_prompts(Subject& subject, Padding side);
// The same prompt in every row: (rows, 7).
Tokens repeated_generation_prompt(Subject& subject, std::int64_t rows);

// Greedy sampling with a repetition penalty.
Sampling greedy(double penalty = 1);

// Continues the prompts by the candidate's own loop. Errors: as Candidate::generate.
GeneratedText generate_text(Subject& subject, const Tokens& prompts, const Sampling& sampling,
                            std::int64_t most_tokens, std::uint32_t seed = 1,
                            std::optional<std::int64_t> end = std::nullopt);

// Logits, and the largest error that rounding explains.
struct ExpectedLogits {
  at::Tensor logits;  // (1, T, V)
  double error = 0;
};

// The rounding error of logits, from two correct computations of them: four times their largest difference.
double rounding_error_between(Subject& subject, const at::Tensor& one, const at::Tensor& other);

// The candidate's own logits, and by how much those of its loop may differ: as much as a full pass from
// decoding token by token, or, without a cache, by the rounding noise.
ExpectedLogits expected_logits(Subject& subject, const Tokens& tokens);

// Whether every token of the text has the largest of the candidate's own logits, after the penalty, up to
// rounding. text: (B, n), -1 after a row's end.
bool follows_logits(Subject& subject, const Tokens& prompts, const at::Tensor& text, double penalty);

// The tolerance of probabilities where each logit may be off by `error`: a change d of all logits changes a
// probability by a factor of at most exp(2 d / T), where the penalty multiplies d.
Tolerance probability_tolerance(const at::Tensor& probabilities, const Sampling& sampling, double error);

// The candidate's probabilities of the token after generation_prompts(1): (V) float64. Errors: NotShown.
at::Tensor sampling_probabilities(Subject& subject, const Sampling& sampling);

// A token of the first row of greedy text, to be used as the end token; and the text up to the end token of
// each row, with -1 after it. text: (B, n).
std::int64_t end_token_of(const at::Tensor& text);
at::Tensor end_text_at(const at::Tensor& text, std::int64_t end);

// Greedy text of its loop that holds a token of this id: the rows of that token and of `written`, one that it
// wrote, change places in the weights. (B, 6) each.
struct TextWithToken {
  at::Tensor whole;    // with an end token that it does not write, which is neither this nor a usual one
  at::Tensor unended;  // without an end token
  at::Tensor ended;    // with this one as the end token
};
// Empty where no such text is written: equal logits may decide otherwise once rows are exchanged.
std::optional<TextWithToken> text_with_token(Subject& subject, std::int64_t id, std::int64_t written);

}  // namespace plumbline
