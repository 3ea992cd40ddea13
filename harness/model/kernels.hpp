// The few loops that the engine runs itself on the CPU, because the library's own leave speed on the table:
// its one-row product streams weights at half the memory's bandwidth, and norms and rotations pass over
// memory many times.
//
// Everything here is for float32 and bfloat16 with sums in float32, on contiguous tensors of `supported`
// sizes.
#pragma once

#include <ATen/ATen.h>

#include "harness/model/specification.hpp"

namespace plumbline::kernels {

// Whether the loops below can serve a model of this shape and type.
bool supported(const Specification& specification, at::ScalarType type, at::Device device);

// At most so many rows are worth `product`; above that a blocked matrix product wins.
constexpr std::int64_t kFewRows = 8;

// x W^T + bias (which may be undefined), one pass over the weights: (R, I), (O, I), (O) -> (R, O), R <=
// kFewRows.
at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// x += branch (where defined), in place; returns the RMS norm of the sum, as rms_norm in float32 does: (R,
// D).
at::Tensor add_and_norm(const at::Tensor& x, const at::Tensor& branch, const at::Tensor& weight, double eps);

// Rotates the first `heads` heads of each row in place. rows: (B * T, >= heads * Dh), cos and sin: float32
// (1 or B, T, Dh/2).
void rotate(const at::Tensor& rows, std::int64_t heads, const at::Tensor& cos, const at::Tensor& sin,
            Rotary rotary);

// Softmax(q k^T / sqrt(Dh)) v where the queries are the last of the keys' places and see up to their own:
// blocks of queries, each against no more keys than it sees. float32 only. q: (B, T, H, Dh), k and v: (B, S,
// K, Dh), each with dense last axis -> (B, T, H, Dh).
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// Uninitialised memory in huge pages where the system has them: streaming through small ones costs a third of
// the bandwidth in page walks. (elements), CPU.
at::Tensor empty_in_huge_pages(std::int64_t elements, at::ScalarType type);

}  // namespace plumbline::kernels
