// What a candidate's own loop writes, and what its logits and the settings call for.
#pragma once

#include <string>
#include <vector>

#include "harness/judging/passes.hpp"

namespace plumbline {

// Settings that tell right from wrong after these logits: few tokens share the probability, and what top-k
// and top-p leave out stands as far as can be from what they keep.
struct WayOfSampling {
  std::string name;
  std::string needs;  // what a candidate has to declare: "generate.top_k"
  Sampling sampling;
  std::vector<std::string> mistakes;  // defects that would show
};
std::vector<WayOfSampling> ways_of_sampling(const at::Tensor& logits);

// Prompts of one length, some tokens in them more than once: (rows, 7).
Tokens own_prompts(Subject& subject, std::int64_t rows);
// The first so many real tokens of each, padded on that side.
Tokens own_prompts_padded(Subject& subject, Padding side);
// The same prompt in every row.
Tokens own_prompt_repeated(Subject& subject, std::int64_t rows);

// The largest logit, after a penalty.
Sampling greedy(double penalty = 1);

// What it writes after prompts. Errors: as the candidate throws them.
Text own_text(Subject& subject, const Tokens& prompts, const Sampling& sampling, std::int64_t most_tokens,
              std::uint32_t seed = 1, std::optional<std::int64_t> end = std::nullopt);

// Logits of a text, and what each may be off by.
struct Expected {
  at::Tensor logits;  // (1, T, V)
  double off = 0;
};

// Of two honest ways to the same logits: four times what they are apart is what else may be.
double off_between(Subject& subject, const at::Tensor& one, const at::Tensor& other);

// Its own logits, and how far those of its loop may be from them: as far as a full pass from one token at a
// time, or as rounding has it where there is no cache.
Expected own_expected(Subject& subject, const Tokens& tokens);

// Whether every token of its text is among those that its own logits, penalised, put first, as far as
// rounding tells them apart. text: (B, n), -1 after a row's end.
bool follows_its_logits(Subject& subject, const Tokens& prompts, const at::Tensor& text, double penalty);

// A probability moves by a factor of exp(2 d / T) at most where each logit moves by d, stretched by a
// penalty.
Tolerance drawn_within(const at::Tensor& probabilities, const Sampling& sampling, double off);

// The probabilities that it draws the next token with, after the first of own_prompts(1): (V). Errors:
// NotShown.
at::Tensor own_probabilities(Subject& subject, const Sampling& sampling);

// A token that its greedy text comes to, in other rows sooner, later or never; and what is left of the text
// where that token ends it: -1 after it.
std::int64_t token_within(const at::Tensor& text);
at::Tensor ended_at(const at::Tensor& text, std::int64_t end);

}  // namespace plumbline
