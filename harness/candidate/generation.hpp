// Generates text with a candidate's logits and our own sampler, in batches and with the candidate's cache.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/system/error.hpp"
#include "harness/text/sampler.hpp"

namespace plumbline {

struct GenerationOptions {
  Sampling sampling;
  std::uint32_t seed = 1;
  std::int64_t most_tokens = 256;   // new tokens of each sample
  std::optional<Token> end;         // ends a sample, and is not part of it; empty: none does
  std::int64_t samples = 1;         // of each prompt
  std::int64_t batch = 32;          // sequences at a time
  std::int64_t most_positions = 0;  // of the model, prompt and new tokens together
  std::int64_t vocabulary = 0;      // exclusive bound of ids in prompts
};

struct GeneratedSample {
  std::vector<Token> tokens;
  bool ended = false;  // by the end token, and not by most_tokens
  // The least margin of its choices (sampler.hpp): rounding of the logits by much less changes no token.
  double least_margin = 0;
};

// The model's logits define no distribution.
class NoChoice : public InputError {
 public:
  using InputError::InputError;
};

// Returns options.samples samples of the first prompt, then of the second, and so on. Sample s of prompt p
// uses the random numbers of row p * samples + s, whatever else is in its batch. The model runs with its
// current weights. Prompts of unlike length share a batch where the candidate declares padded prefills;
// without a cache each token takes a full pass. `progress` is called about once a step. Errors: InputError
// naming an empty or too long prompt or an id beyond the vocabulary; NoChoice with prompt and token, for
// example for NaN; what the candidate throws.
std::vector<GeneratedSample> generate(
    Candidate& candidate, const std::vector<std::vector<Token>>& prompts, const GenerationOptions& options,
    const std::function<void(std::int64_t done, std::int64_t most)>& progress);

}  // namespace plumbline
