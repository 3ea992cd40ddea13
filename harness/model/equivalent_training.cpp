#include "harness/model/equivalent_formulas.hpp"

#include <cmath>
#include <limits>
#include <utility>

namespace plumbline::equivalent {
namespace {

using at::Tensor;

// Logits and the labels that they are compared with: (B, T - 1, V) in the type of losses, (B, T - 1).
std::pair<Tensor, Tensor> compared(const Tensor& logits, const Tensor& labels) {
  const auto wanted = labels.narrow(1, 1, labels.size(1) - 1).to(logits.device());
  return {logits.narrow(1, 0, wanted.size(1)).to(accumulation_type(logits.scalar_type())), wanted};
}

// From the least likely token up, those that together have no more than 1 - p are left out, as transformers
// does it.
Tensor nucleus_from_below(const Tensor& scores, double p) {
  if (p >= 1) return scores;
  const auto [sorted, order] = scores.sort(0, /*descending=*/false);
  auto out = at::softmax(sorted, 0).cumsum(0) <= 1 - p;
  out[-1] = false;
  return scores.masked_fill(at::zeros_like(out).scatter(0, order, out),
                            -std::numeric_limits<double>::infinity());
}

}  // namespace

Tensor loss_by_logarithms(const Tensor& logits, const Tensor& labels) {
  const auto wanted = labels.narrow(1, 1, labels.size(1) - 1).to(logits.device());  // (B, T - 1)
  const auto wide = logits.narrow(1, 0, wanted.size(1)).to(accumulation_type(logits.scalar_type()));
  const auto counts = wanted != kIgnored;
  const auto surprise = -at::log_softmax(wide, -1).gather(-1, wanted.clamp_min(0).unsqueeze(-1)).squeeze(-1);
  return at::where(counts, surprise, at::zeros_like(surprise)).sum() / counts.sum();
}

Tensor adamw_by_lerp(const Tensor& parameter, const Tensor& gradient, Moments& moments, std::int64_t step,
                     const AdamW& n) {
  if (!moments.first.defined()) moments = {at::zeros_like(parameter), at::zeros_like(parameter)};
  moments.first = moments.first.lerp(gradient, 1 - n.beta1);
  moments.second = (moments.second * n.beta2).addcmul(gradient, gradient, 1 - n.beta2);
  const double first = 1 - std::pow(n.beta1, static_cast<double>(step)),
               second = 1 - std::pow(n.beta2, static_cast<double>(step));
  const auto root = moments.second.sqrt() / std::sqrt(second) + n.eps;
  return (parameter * (1 - n.learning_rate * n.weight_decay))
      .addcdiv(moments.first, root, -n.learning_rate / first);
}

Tensor probabilities_in_float32(const Tensor& logits, const Tensor& before, std::int64_t,
                                const Sampling& sampling) {
  const auto scores = penalised(logits.to(at::kFloat), before, sampling.repetition_penalty);
  if (sampling.greedy()) return at::one_hot(scores.argmax(), scores.size(0)).to(at::kDouble);
  return at::softmax(nucleus(largest_k(scores / sampling.temperature, sampling.top_k), sampling.top_p), 0)
      .to(at::kDouble);
}

double random_of_another_kind(std::uint32_t seed, std::uint64_t row, std::uint64_t step) {
  return uniform_of(~seed, row + 1000, step + 7);
}

Tensor loss_in_chunks(const Tensor& logits, const Tensor& labels) {
  const auto [wide, wanted] = compared(logits, labels);
  auto sum = at::zeros({}, wide.options());
  for (std::int64_t begin = 0; begin < wanted.size(1); begin += 5) {
    const auto count = std::min<std::int64_t>(5, wanted.size(1) - begin);
    const auto some = wide.narrow(1, begin, count), own = wanted.narrow(1, begin, count);
    const auto surprise = some.logsumexp(-1) - some.gather(-1, own.clamp_min(0).unsqueeze(-1)).squeeze(-1);
    sum = sum + surprise.masked_fill(own == kIgnored, 0).sum();
  }
  return sum / (wanted != kIgnored).sum();
}

Tensor loss_labels_moved(const Tensor& logits, const Tensor& labels) {
  const auto moved = at::constant_pad_nd(labels.narrow(1, 1, labels.size(1) - 1), {0, 1}, kIgnored).flatten();
  return at::cross_entropy_loss(logits.flatten(0, 1).to(accumulation_type(logits.scalar_type())),
                                moved.to(logits.device()), {}, at::Reduction::Sum, kIgnored) /
         (moved != kIgnored).sum();
}

Tensor loss_by_mask(const Tensor& logits, const Tensor& labels) {
  const auto [wide, wanted] = compared(logits, labels);
  const auto mask = (wanted != kIgnored).to(wide.scalar_type()).flatten();
  const auto each =
      at::cross_entropy_loss(wide.flatten(0, 1), wanted.clamp_min(0).flatten(), {}, at::Reduction::None);
  return (each * mask).sum() / mask.sum();
}

Tensor adamw_in_one_sum(const Tensor& parameter, const Tensor& gradient, Moments& moments, std::int64_t step,
                        const AdamW& n) {
  if (!moments.first.defined()) moments = {at::zeros_like(parameter), at::zeros_like(parameter)};
  moments.first = moments.first + (1 - n.beta1) * (gradient - moments.first);
  moments.second = moments.second + (1 - n.beta2) * (gradient.square() - moments.second);
  const double first = 1 - std::pow(n.beta1, static_cast<double>(step)),
               second = std::sqrt(1 - std::pow(n.beta2, static_cast<double>(step)));
  return parameter -
         n.learning_rate * (moments.first * (second / first) / (moments.second.sqrt() + n.eps * second) +
                            n.weight_decay * parameter);
}

Tensor probabilities_from_below(const Tensor& logits, const Tensor& before, std::int64_t,
                                const Sampling& sampling) {
  auto scores = logits.to(at::kCPU, at::kDouble).clone();
  const auto own = scores.gather(0, before);
  scores = scores.scatter(
      0, before, at::where(own < 0, own * sampling.repetition_penalty, own / sampling.repetition_penalty));
  if (sampling.greedy()) return at::one_hot(scores.argmax(), scores.size(0)).to(at::kDouble);
  return at::softmax(
      nucleus_from_below(largest_k(scores / sampling.temperature, sampling.top_k), sampling.top_p), 0);
}

}  // namespace plumbline::equivalent
