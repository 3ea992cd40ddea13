#include "harness/model/equivalent_formulas.hpp"

#include <cmath>
#include <optional>
#include <vector>

namespace plumbline::equivalent {
namespace {

using at::Tensor;

std::optional<Tensor> optional(const Tensor& bias) {
  return bias.defined() ? std::optional<Tensor>(bias) : std::nullopt;
}

Tensor add_bias(const Tensor& x, const Tensor& bias) {
  return bias.defined() ? x + bias : x;
}

Tensor activate_by_exponentials(const Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return x / ((-x).exp() + 1);
    case Activation::gelu:
      return 0.5 * x * (1 + at::erf(x / std::sqrt(2.0)));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + at::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
  }
  return {};
}

}  // namespace

Tensor norm_by_division(const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
  const auto wide = precision == NormPrecision::float32 ? x.to(accumulation_type(x.scalar_type())) : x;
  const auto root = ((wide * wide).sum(-1, true) / static_cast<double>(x.size(-1)) + eps).sqrt();
  return (wide / root).to(x.scalar_type()) * weight;
}

Tensor norm_fused(const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
  const auto wide = precision == NormPrecision::float32 ? x.to(accumulation_type(x.scalar_type())) : x;
  return at::rms_norm(wide, weight.sizes(), std::nullopt, eps).to(x.scalar_type()) * weight;
}

Tensor norm_in_float64(const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
  return rms_norm(x.to(at::kDouble), at::ones_like(weight).to(at::kDouble), eps, precision)
             .to(x.scalar_type()) *
         weight;
}

Tensor linear_in_reverse_order(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return plumbline::linear(x.flip(-1), weight.flip(-1), bias);
}

Tensor linear_in_two_sums(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const auto half = x.size(-1) / 2, rest = x.size(-1) - half;
  return add_bias(plumbline::linear(x.narrow(-1, 0, half), weight.narrow(-1, 0, half), Tensor()) +
                      plumbline::linear(x.narrow(-1, half, rest), weight.narrow(-1, half, rest), Tensor()),
                  bias);
}

Tensor linear_by_output_halves(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const auto half = weight.size(0) / 2, rest = weight.size(0) - half;
  return add_bias(at::cat({plumbline::linear(x, weight.narrow(0, 0, half), Tensor()),
                           plumbline::linear(x, weight.narrow(0, half, rest), Tensor())},
                          -1),
                  bias);
}

Tensor linear_in_float64(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return add_bias(at::linear(x.to(at::kDouble), weight.to(at::kDouble)).to(x.scalar_type()), bias);
}

Tensor linear_by_einsum(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return add_bias(at::einsum("bti,oi->bto", {x, weight}), bias);
}

Tensor linear_by_convolution(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return at::conv1d(x.transpose(1, 2), weight.unsqueeze(-1), optional(bias)).transpose(1, 2);
}

Tensor read_parameter_transposed(const Weights& weights, const std::string& name) {
  const auto& value = weights.at(name);
  return value.dim() == 2 ? value.t().contiguous().t() : value;
}

Tensor gated_unit_by_sigmoid(const Tensor& gate, const Tensor& up, Activation activation) {
  return activation == Activation::silu ? gate * at::sigmoid(gate) * up : gated_unit(gate, up, activation);
}

Tensor gated_unit_in_float32(const Tensor& gate, const Tensor& up, Activation activation) {
  const auto type = accumulation_type(gate.scalar_type());
  return gated_unit(gate.to(type), up.to(type), activation).to(gate.scalar_type());
}

Tensor add_residual_in_place(const Tensor& residual, const Tensor&, const Tensor& branch) {
  return branch.clone().add_(residual);
}

Tensor norm_by_vector_length(const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
  const auto wide = precision == NormPrecision::float32 ? x.to(accumulation_type(x.scalar_type())) : x;
  const auto size = static_cast<double>(x.size(-1));
  const auto length = (at::linalg_vector_norm(wide, 2, -1, true).square() + eps * size).sqrt();
  return (wide / length * std::sqrt(size)).to(x.scalar_type()) * weight;
}

Tensor norm_weight_before_rounding(const Tensor& x, const Tensor& weight, double eps,
                                   NormPrecision precision) {
  const auto wide = precision == NormPrecision::float32 ? x.to(accumulation_type(x.scalar_type())) : x;
  return at::rms_norm(wide, weight.sizes(), weight.to(wide.scalar_type()), eps).to(x.scalar_type());
}

Tensor linear_transposed(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return add_bias(at::matmul(weight, x.mT()).mT(), bias);
}

Tensor linear_by_position_block(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  std::vector<Tensor> parts;
  for (const auto& block : x.split(16, 1)) parts.push_back(plumbline::linear(block, weight, bias));
  return at::cat(parts, 1);
}

Tensor gated_unit_by_exponentials(const Tensor& gate, const Tensor& up, Activation activation) {
  return activate_by_exponentials(gate, activation) * up;
}

}  // namespace plumbline::equivalent
