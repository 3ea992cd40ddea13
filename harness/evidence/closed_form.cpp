#include "harness/evidence/closed_form.hpp"

#include <cmath>

namespace plumbline::closed_form {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const auto size = static_cast<double>(x.size(-1));
  return weight * x / ((x * x).sum(-1, true) / size + eps).sqrt();
}

at::Tensor frequencies(const Specification& specification) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < specification.head_size() / 2; ++i)
    values.push_back(std::exp(-2.0 * static_cast<double>(i) / static_cast<double>(specification.head_size()) *
                              std::log(specification.rope_theta)));
  return at::tensor(values, at::kDouble);
}

at::Tensor angles(const at::Tensor& positions, const Specification& specification) {
  const auto shape = positions.sizes();
  return at::outer(positions.reshape(-1).to(at::kDouble), frequencies(specification))
      .view({shape[0], shape[1], 1, -1});
}

at::Tensor as_complex(const at::Tensor& x, Rotary rotary) {
  const auto pairs =
      rotary == Rotary::halves ? x.unflatten(-1, {2, -1}).transpose(-1, -2) : x.unflatten(-1, {-1, 2});
  return at::view_as_complex(pairs.to(at::kDouble).contiguous());
}

at::Tensor from_complex(const at::Tensor& z, Rotary rotary) {
  const auto pairs = at::view_as_real(z);
  return (rotary == Rotary::halves ? pairs.transpose(-1, -2) : pairs).flatten(-2);
}

at::Tensor rotation(const at::Tensor& x, const at::Tensor& angles, Rotary rotary) {
  return from_complex(as_complex(x, rotary) * at::polar(at::ones_like(angles), angles), rotary);
}

at::Tensor activation(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return x / (1 + (-x).exp());
    case Activation::gelu:
      return x * at::erfc(x * -std::sqrt(0.5)) / 2;
    case Activation::gelu_tanh:
      return x / 2 * (1 + at::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x.pow(3))));
  }
  return {};
}

at::Tensor softmax(const at::Tensor& scores) {
  const auto exponentials = (scores - scores.amax(-1, true)).exp();
  return exponentials / exponentials.sum(-1, true);
}

at::Tensor causal_mask(std::int64_t batch, std::int64_t length) {
  return at::ones({length, length}, at::kBool).tril().expand({batch, length, length});
}

}  // namespace plumbline::closed_form
