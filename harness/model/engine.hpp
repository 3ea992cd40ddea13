// A fast implementation of Model for inference, verified against Model.
//
// Matrices with the same input are packed into one, rotations come from a table, attention is LibTorch's
// fused kernel, and products of a few rows use harness/model/kernels.hpp.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "harness/model/model.hpp"
#include "harness/model/specification.hpp"
#include "harness/model/weights.hpp"

namespace plumbline {

// A KVCache whose tensors (B, capacity, K, Dh) are views of (B, K, capacity, Dh), the layout of decoding.
struct EngineCache : KVCache {
  bool padded = false;  // whether any row holds padding
};

class Engine {
 public:
  // Copies the weights, which have to be of one floating type on one device.
  // Errors: InputError naming a missing parameter or a wrong shape.
  Engine(const Specification& specification, const Weights& weights);

  // One full pass: (B, T) -> logits (B, T, V). first_position: of a row's first real token.
  at::Tensor forward(const Tokens& tokens, std::int64_t first_position = 0) const;

  EngineCache make_cache(std::int64_t batch, std::int64_t capacity) const;

  // Prefill or decode: appends the tokens to the cache and returns their logits (B, T, V), or those of each
  // row's last token (B, 1, V). Errors: CacheOverrun when they do not fit; the cache is then unchanged.
  at::Tensor extend(EngineCache& cache, const Tokens& tokens, std::int64_t first_position = 0,
                    bool last_only = false) const;

  const Specification& specification() const { return specification_; }
  at::ScalarType type() const { return head_.weight.scalar_type(); }
  at::Device device() const { return head_.weight.device(); }

 private:
  struct Matrix {
    at::Tensor weight, bias;  // (out, in), (out) or undefined
  };
  struct Layer {
    at::Tensor attention_norm, feed_forward_norm;  // (D)
    Matrix qkv;                                    // ((H + 2K) * Dh, D)
    Matrix out;                                    // (D, H * Dh)
    Matrix gate_up;                                // (2F, D)
    Matrix down;                                   // (D, F)
  };
  struct Pass;

  at::Tensor run(const Tokens& tokens, EngineCache* cache, std::int64_t first_position, bool last_only) const;
  Pass plan_pass(const Tokens& tokens, EngineCache* cache, std::int64_t first_position) const;
  at::Tensor attention(const Layer& layer, const at::Tensor& x, const Pass& pass,
                       KVCache::Layer* layer_cache) const;
  at::Tensor feed_forward(const Layer& layer, const at::Tensor& x) const;
  at::Tensor product(const Matrix& matrix, const at::Tensor& x) const;
  at::Tensor add_and_norm(at::Tensor& x, const at::Tensor& branch, const at::Tensor& weight) const;

  Specification specification_;
  bool uses_kernels_;     // harness/model/kernels.hpp supports the model
  at::Tensor embedding_;  // (V, D)
  std::vector<Layer> layers_;
  at::Tensor norm_;         // (D)
  Matrix head_;             // (V, D); the embedding where the model ties them
  at::Tensor cos_, sin_;    // (positions, Dh/2), float32 (float64 for a float64 model)
  at::Tensor frequencies_;  // (Dh/2)
};

}  // namespace plumbline
