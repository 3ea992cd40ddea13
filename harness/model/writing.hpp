// Text as a model writes it by itself: the loop that calls it again and again with what it has written.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>

#include "harness/model/formulas.hpp"
#include "harness/model/model.hpp"

namespace plumbline {

struct TextRequest {
  Sampling sampling;
  std::int64_t most_tokens = 1;     // of each row
  std::optional<std::int64_t> end;  // ends a row; empty: nothing does
  std::uint32_t seed = 1;
};

struct Text {
  at::Tensor tokens;         // (B, most_tokens) int64: the end token where it was written, -1 after it
  at::Tensor probabilities;  // (B, most_tokens, V) that each was drawn with; undefined: not shown
};

// Continues every prompt, with the KV cache. Errors: as Model::extend.
Text write(const Model& model, const Tokens& prompts, const TextRequest& request);

}  // namespace plumbline
