// The generation loop: samples token by token, with the KV cache.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>

#include "harness/model/formulas.hpp"
#include "harness/model/model.hpp"

namespace plumbline {

struct TextRequest {
  Sampling sampling;
  std::int64_t most_tokens = 1;     // new tokens in each row
  std::optional<std::int64_t> end;  // the token that ends a row; empty: none does
  std::uint32_t seed = 1;
};

struct GeneratedText {
  at::Tensor tokens;         // (B, most_tokens) int64: the end token where it was written, -1 after it
  at::Tensor probabilities;  // (B, most_tokens, V) float64, of each draw; undefined: not shown
};

// Continues every prompt. Errors: as Model::extend.
GeneratedText generate(const Model& model, const Tokens& prompts, const TextRequest& request);

}  // namespace plumbline
