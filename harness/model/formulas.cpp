#include "harness/model/formulas.hpp"

#include <limits>

#include "harness/model/philox.hpp"

namespace plumbline {

Formulas::Formulas() = default;  // out of line: constructing the entries anew in each file costs compile time

at::ScalarType accumulation_type(at::ScalarType model_type) {
  return model_type == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, NormPrecision precision) {
  const auto wide = precision == NormPrecision::float32 ? x.to(accumulation_type(x.scalar_type())) : x;
  const auto mean_square = wide.square().mean(-1, /*keepdim=*/true);  // (..., 1)
  const auto normed = wide * at::rsqrt(mean_square + eps);            // (..., D)
  return normed.to(x.scalar_type()) * weight;
}

at::Tensor rotary_frequencies(const Specification& specification, at::ScalarType type, at::Device device) {
  const auto options = at::TensorOptions().dtype(accumulation_type(type)).device(device);
  const auto head_size = specification.head_size();
  const auto exponents = at::arange(0, head_size, 2, options) / static_cast<double>(head_size);  // (Dh/2)
  return at::reciprocal(at::pow(specification.rope_theta, exponents));
}

at::Tensor rotary_angles(const at::Tensor& positions, const at::Tensor& frequencies) {
  return positions.to(frequencies.scalar_type()).unsqueeze(-1).unsqueeze(-1) *
         frequencies;  // (B, T, 1, Dh/2)
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& angles, Rotary rotary) {
  const auto half = x.size(-1) / 2;
  const auto cos = angles.cos(), sin = angles.sin();
  const auto wide = x.to(angles.scalar_type());
  if (rotary == Rotary::halves) {
    const auto first = wide.narrow(-1, 0, half), second = wide.narrow(-1, half, half);
    return at::cat({first * cos - second * sin, second * cos + first * sin}, -1).to(x.scalar_type());
  }
  const auto even = wide.slice(-1, 0, at::nullopt, 2), odd = wide.slice(-1, 1, at::nullopt, 2);
  return at::stack({even * cos - odd * sin, odd * cos + even * sin}, -1).flatten(-2).to(x.scalar_type());
}

at::Tensor repeat_kv(const at::Tensor& x, std::int64_t factor) {
  if (factor == 1) return x;
  const auto batch = x.size(0), keys = x.size(1), heads = x.size(2), head_size = x.size(3);
  return x.unsqueeze(3)
      .expand({batch, keys, heads, factor, head_size})
      .reshape({batch, keys, heads * factor, head_size});
}

at::Tensor causal_mask(const MaskInputs& inputs) {
  const auto queries = inputs.query_slots.unsqueeze(-1), keys = inputs.key_slots.unsqueeze(0);
  const auto real = inputs.real_queries.unsqueeze(-1) & inputs.real_keys.unsqueeze(1);  // (B, T, S)
  return ((real & (keys <= queries)) | (keys == queries)).unsqueeze(1);
}

namespace {

// In which products of matrices are computed before they are rounded to `x`'s type. Processors sum bfloat16
// products in float32; where they have no instructions for it, LibTorch takes eight times as long as in
// float32.
at::ScalarType product_type(const at::Tensor& x) {
  return x.is_cpu() ? accumulation_type(x.scalar_type()) : x.scalar_type();
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  const auto type = product_type(a);
  return at::matmul(a.to(type), b.to(type)).to(a.scalar_type());
}

}  // namespace

at::Tensor scaled_scores(const at::Tensor& q, const at::Tensor& keys, double scale) {
  return product(q, keys.transpose(2, 3)) * scale;
}

at::Tensor weighted_values(const at::Tensor& probabilities, const at::Tensor& values) {
  return product(probabilities, values);
}

at::Tensor hide_masked_scores(const at::Tensor& scores, const at::Tensor& mask) {
  return scores.masked_fill(~mask, -std::numeric_limits<double>::infinity());
}

at::Tensor softmax(const at::Tensor& scores) {
  return at::softmax(scores, -1, accumulation_type(scores.scalar_type())).to(scores.scalar_type());
}

at::Tensor activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return at::silu(x);
    case Activation::gelu:
      return at::gelu(x, "none");
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
  }
  return {};
}

at::Tensor gated_unit(const at::Tensor& gate, const at::Tensor& up, Activation activation) {
  return activate(gate, activation) * up;
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const auto type = product_type(x);
  const auto added = bias.defined() ? std::optional<at::Tensor>(bias.to(type)) : std::nullopt;
  return at::linear(x.to(type), weight.to(type), added).to(x.scalar_type());
}

at::Tensor dropout(const at::Tensor& x, double p) {
  return p == 0 ? x : at::dropout(x, p, /*train=*/true);
}

at::Tensor next_token_loss(const at::Tensor& logits, const at::Tensor& labels) {
  const auto predicted = logits.narrow(1, 0, logits.size(1) - 1).flatten(0, 1);  // (B (T - 1), V)
  const auto targets = labels.narrow(1, 1, labels.size(1) - 1).flatten();        // (B (T - 1))
  return at::cross_entropy_loss(predicted.to(accumulation_type(logits.scalar_type())),
                                targets.to(logits.device()), {}, at::Reduction::Mean, kIgnoredLabel);
}

at::Tensor adamw(const at::Tensor& parameter, const at::Tensor& gradient, Moments& moments, std::int64_t step,
                 const AdamW& h) {
  if (!moments.first.defined()) moments = {at::zeros_like(parameter), at::zeros_like(parameter)};
  // In place: allocating the intermediate tensors of a full-size model takes most of the time.
  moments.first.mul_(h.beta1).add_(gradient, 1 - h.beta1);
  moments.second.mul_(h.beta2).addcmul_(gradient, gradient, 1 - h.beta2);
  const double correction1 = 1 - std::pow(h.beta1, static_cast<double>(step)),
               correction2 = 1 - std::pow(h.beta2, static_cast<double>(step));
  const auto denominator = (moments.second / correction2).sqrt_().add_(h.eps);
  return ((1 - h.learning_rate * h.weight_decay) * parameter)
      .addcdiv_(moments.first, denominator, -h.learning_rate / correction1);
}

at::Tensor penalise_repetition(const at::Tensor& logits, const at::Tensor& previous, double penalty) {
  const auto tokens = std::get<0>(at::unique_consecutive(std::get<0>(previous.sort())));
  const auto scores = logits.index_select(0, tokens);
  return logits.index_copy(0, tokens, at::where(scores > 0, scores / penalty, scores * penalty));
}

at::Tensor keep_top_k(const at::Tensor& scores, std::int64_t k) {
  if (k == 0 || k >= scores.size(0)) return scores;
  const auto kth_largest = std::get<0>(scores.topk(k))[k - 1];
  return scores.masked_fill(scores < kth_largest, -std::numeric_limits<double>::infinity());
}

at::Tensor keep_top_p(const at::Tensor& scores, double p) {
  if (p >= 1) return scores;
  const auto [sorted, order] = scores.sort(/*stable=*/true, 0, /*descending=*/true);
  const auto probabilities = at::softmax(sorted, 0);
  const auto preceding_mass = probabilities.cumsum(0) - probabilities;
  const auto excluded = order.masked_select(preceding_mass >= p);
  return scores.index_fill(0, excluded, -std::numeric_limits<double>::infinity());
}

at::Tensor next_probabilities(const at::Tensor& logits, const at::Tensor& previous,
                              const Sampling& sampling) {
  const auto scores =
      penalise_repetition(logits.to(at::kCPU, at::kDouble), previous, sampling.repetition_penalty);
  if (sampling.greedy()) return at::one_hot(scores.argmax(), scores.size(0)).to(at::kDouble);
  return at::softmax(keep_top_p(keep_top_k(scores / sampling.temperature, sampling.top_k), sampling.top_p),
                     0);
}

double uniform_of(std::uint32_t seed, std::uint64_t row, std::uint64_t step) {
  const auto words = PhiloxStream("sampling", seed).block(row << 24 | step);
  return uniform(words[0], words[1]);
}

at::Tensor last_logits(const at::Tensor& logits, const at::Tensor& real) {
  const auto indices = at::arange(real.size(1), real.options().dtype(at::kLong)) * real;  // (B, T)
  const auto last = std::get<0>(indices.max(1)).view({-1, 1, 1});
  return logits.gather(1, last.expand({-1, 1, logits.size(2)})).squeeze(1);
}

}  // namespace plumbline
