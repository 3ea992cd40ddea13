// Text from a candidate: prompts in batches, each token by the sampler, any cache that the candidate offers.
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
  std::int64_t most_tokens = 256;  // of each sample
  std::optional<Token> end;        // ends a sample, and is not part of it; empty: none does
  std::int64_t samples = 1;        // of each prompt
  std::int64_t batch = 32;         // sequences at a time
  std::int64_t longest = 0;        // positions that the model allows
  std::int64_t vocabulary = 0;     // ids of prompts have to be below
};

struct Generated {
  std::vector<Token> tokens;
  bool ended = false;  // by the end token, and not by most_tokens
  // The least margin of its choices (sampler.hpp): with another rounding of the logits by much less, the same
  // tokens.
  double least_margin = 0;
};

// The model's logits leave nothing to choose by.
class NoChoice : public InputError {
 public:
  using InputError::InputError;
};

// `samples` of the first prompt, then of the second, ... Sample s of prompt p is drawn with the numbers of
// row p * samples + s, whatever else is in its batch. The model runs with the weights that it has. Prompts of
// unlike length share a batch where the candidate declares padded prompts before its cache; without a cache
// each token takes a full pass. `progress` is told the tokens so far and how many there may be, about once a
// step. Errors: InputError naming the prompt: empty, too long, an id that the vocabulary does not have;
// NoChoice with prompt and token, as of NaN; what the candidate throws.
std::vector<Generated> generate(Candidate& candidate, const std::vector<std::vector<Token>>& prompts,
                                const GenerationOptions& options,
                                const std::function<void(std::int64_t done, std::int64_t most)>& progress);

}  // namespace plumbline
