// CPU kernels of the engine, for operations where LibTorch's are slow: its product of one row reads weights
// at half the memory's bandwidth, and its norms and rotations pass over memory many times.
//
// All are for float32 and bfloat16, with sums in float32, on contiguous tensors of `supported` sizes.
#pragma once

#include <ATen/ATen.h>

#include "harness/model/specification.hpp"

namespace plumbline::kernels {

// Whether the kernels handle a model of this shape and type on this device.
bool supported(const Specification& specification, at::ScalarType type, at::Device device);

// The most rows of x for which `product` is faster than LibTorch's blocked matrix product.
constexpr std::int64_t kMostKernelRows = 8;

// x W^T + bias in one pass over the weights: (R, I), (O, I), (O) or undefined -> (R, O), R <=
// kMostKernelRows.
at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// Adds branch, if it is defined, to x in place and returns the RMS norm of the sum, as rms_norm in float32:
// (R, D).
at::Tensor add_and_norm(const at::Tensor& x, const at::Tensor& branch, const at::Tensor& weight, double eps);

// Rotates the first `heads` heads of each row in place. rows: (B * T, >= heads * Dh), cos and sin: float32
// (1 or B, T, Dh/2).
void rotate(const at::Tensor& rows, std::int64_t heads, const at::Tensor& cos, const at::Tensor& sin,
            Rotary rotary);

// softmax(q k^T / sqrt(Dh)) v with a causal mask, where the queries are the last T of the S slots. Computes
// only the scores that blocks of queries need. float32 only. q: (B, T, H, Dh), k and v: (B, S, K, Dh), each
// with a dense last axis -> (B, T, H, Dh).
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// Uninitialised CPU memory, (elements), in huge pages where the system has them: page walks through small
// ones cost a third of the bandwidth.
at::Tensor empty_in_huge_pages(std::int64_t elements, at::ScalarType type);

}  // namespace plumbline::kernels
