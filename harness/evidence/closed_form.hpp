// The model's formulas in float64, written in other forms than in harness/model/formulas.cpp.
//
// They are independent of the reference, so that a wrong sign in the reference is not what a replay expects.
#pragma once

#include <ATen/ATen.h>

#include "harness/model/specification.hpp"

namespace plumbline::closed_form {

// w x / sqrt(mean(x^2) + eps) over the last axis (Zhang & Sennrich 2019, formula 4).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// exp(-(2i/Dh) ln theta): (Dh/2) (Su et al. 2021, formula 15).
at::Tensor frequencies(const Specification& specification);

// positions (B, T) -> angles (B, T, 1, Dh/2).
at::Tensor angles(const at::Tensor& positions, const Specification& specification);

// The pairs of x (B, T, heads, Dh) as complex numbers (B, T, heads, Dh/2), and back.
at::Tensor as_complex(const at::Tensor& x, Rotary rotary);
at::Tensor from_complex(const at::Tensor& z, Rotary rotary);

// Each pair, a complex number, times e^(i angle) (Su et al. 2021, formula 12).
at::Tensor rotation(const at::Tensor& x, const at::Tensor& angles, Rotary rotary);

// x / (1 + e^-x); x Phi(x); or x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks & Gimpel 2016).
at::Tensor activation(const at::Tensor& x, Activation activation);

// e^s / sum e^s over the last axis; 0 for -infinity.
at::Tensor softmax(const at::Tensor& scores);

// The causal mask: true where s <= t. (B, T, T) bool.
at::Tensor causal_mask(std::int64_t batch, std::int64_t length);

}  // namespace plumbline::closed_form
