#include "harness/model/equivalent_formulas.hpp"

#include <cmath>
#include <limits>
#include <utility>

namespace plumbline::equivalent {
namespace {

using at::Tensor;

// Logits in the accumulation type and the labels that they predict: (B, T - 1, V), (B, T - 1).
std::pair<Tensor, Tensor> predictions_and_targets(const Tensor& logits, const Tensor& labels) {
  const auto targets = labels.narrow(1, 1, labels.size(1) - 1).to(logits.device());
  return {logits.narrow(1, 0, targets.size(1)).to(accumulation_type(logits.scalar_type())), targets};
}

// Excludes tokens from the least likely one up, as long as their total is at most 1 - p, as transformers
// does.
Tensor keep_top_p_ascending(const Tensor& scores, double p) {
  if (p >= 1) return scores;
  const auto [sorted, order] = scores.sort(0, /*descending=*/false);
  auto excluded = at::softmax(sorted, 0).cumsum(0) <= 1 - p;
  excluded[-1] = false;
  return scores.masked_fill(at::zeros_like(excluded).scatter(0, order, excluded),
                            -std::numeric_limits<double>::infinity());
}

}  // namespace

Tensor loss_by_log_softmax(const Tensor& logits, const Tensor& labels) {
  const auto targets = labels.narrow(1, 1, labels.size(1) - 1).to(logits.device());  // (B, T - 1)
  const auto wide = logits.narrow(1, 0, targets.size(1)).to(accumulation_type(logits.scalar_type()));
  const auto counted = targets != kIgnoredLabel;
  const auto label_losses =
      -at::log_softmax(wide, -1).gather(-1, targets.clamp_min(0).unsqueeze(-1)).squeeze(-1);
  return at::where(counted, label_losses, at::zeros_like(label_losses)).sum() / counted.sum();
}

Tensor adamw_by_lerp(const Tensor& parameter, const Tensor& gradient, Moments& moments, std::int64_t step,
                     const AdamW& h) {
  if (!moments.first.defined()) moments = {at::zeros_like(parameter), at::zeros_like(parameter)};
  moments.first = moments.first.lerp(gradient, 1 - h.beta1);
  moments.second = (moments.second * h.beta2).addcmul(gradient, gradient, 1 - h.beta2);
  const double correction1 = 1 - std::pow(h.beta1, static_cast<double>(step)),
               correction2 = 1 - std::pow(h.beta2, static_cast<double>(step));
  const auto denominator = moments.second.sqrt() / std::sqrt(correction2) + h.eps;
  return (parameter * (1 - h.learning_rate * h.weight_decay))
      .addcdiv(moments.first, denominator, -h.learning_rate / correction1);
}

Tensor probabilities_in_float32(const Tensor& logits, const Tensor& previous, std::int64_t,
                                const Sampling& sampling) {
  const auto scores = penalise_repetition(logits.to(at::kFloat), previous, sampling.repetition_penalty);
  if (sampling.greedy()) return at::one_hot(scores.argmax(), scores.size(0)).to(at::kDouble);
  return at::softmax(keep_top_p(keep_top_k(scores / sampling.temperature, sampling.top_k), sampling.top_p), 0)
      .to(at::kDouble);
}

double random_number_of_other_stream(std::uint32_t seed, std::uint64_t row, std::uint64_t step) {
  return uniform_of(~seed, row + 1000, step + 7);
}

Tensor loss_in_chunks(const Tensor& logits, const Tensor& labels) {
  const auto [wide, targets] = predictions_and_targets(logits, labels);
  auto sum = at::zeros({}, wide.options());
  for (std::int64_t begin = 0; begin < targets.size(1); begin += 5) {
    const auto count = std::min<std::int64_t>(5, targets.size(1) - begin);
    const auto chunk = wide.narrow(1, begin, count), chunk_targets = targets.narrow(1, begin, count);
    const auto label_losses =
        chunk.logsumexp(-1) - chunk.gather(-1, chunk_targets.clamp_min(0).unsqueeze(-1)).squeeze(-1);
    sum = sum + label_losses.masked_fill(chunk_targets == kIgnoredLabel, 0).sum();
  }
  return sum / (targets != kIgnoredLabel).sum();
}

Tensor loss_by_shifted_labels(const Tensor& logits, const Tensor& labels) {
  const auto shifted =
      at::constant_pad_nd(labels.narrow(1, 1, labels.size(1) - 1), {0, 1}, kIgnoredLabel).flatten();
  return at::cross_entropy_loss(logits.flatten(0, 1).to(accumulation_type(logits.scalar_type())),
                                shifted.to(logits.device()), {}, at::Reduction::Sum, kIgnoredLabel) /
         (shifted != kIgnoredLabel).sum();
}

Tensor loss_by_mask(const Tensor& logits, const Tensor& labels) {
  const auto [wide, targets] = predictions_and_targets(logits, labels);
  const auto mask = (targets != kIgnoredLabel).to(wide.scalar_type()).flatten();
  const auto label_losses =
      at::cross_entropy_loss(wide.flatten(0, 1), targets.clamp_min(0).flatten(), {}, at::Reduction::None);
  return (label_losses * mask).sum() / mask.sum();
}

Tensor adamw_in_one_expression(const Tensor& parameter, const Tensor& gradient, Moments& moments,
                               std::int64_t step, const AdamW& h) {
  if (!moments.first.defined()) moments = {at::zeros_like(parameter), at::zeros_like(parameter)};
  moments.first = moments.first + (1 - h.beta1) * (gradient - moments.first);
  moments.second = moments.second + (1 - h.beta2) * (gradient.square() - moments.second);
  const double correction1 = 1 - std::pow(h.beta1, static_cast<double>(step)),
               root_correction2 = std::sqrt(1 - std::pow(h.beta2, static_cast<double>(step)));
  return parameter - h.learning_rate * (moments.first * (root_correction2 / correction1) /
                                            (moments.second.sqrt() + h.eps * root_correction2) +
                                        h.weight_decay * parameter);
}

Tensor probabilities_by_ascending_top_p(const Tensor& logits, const Tensor& previous, std::int64_t,
                                        const Sampling& sampling) {
  auto scores = logits.to(at::kCPU, at::kDouble).clone();
  const auto previous_scores = scores.gather(0, previous);
  scores = scores.scatter(0, previous,
                          at::where(previous_scores < 0, previous_scores * sampling.repetition_penalty,
                                    previous_scores / sampling.repetition_penalty));
  if (sampling.greedy()) return at::one_hot(scores.argmax(), scores.size(0)).to(at::kDouble);
  return at::softmax(
      keep_top_p_ascending(keep_top_k(scores / sampling.temperature, sampling.top_k), sampling.top_p), 0);
}

}  // namespace plumbline::equivalent
