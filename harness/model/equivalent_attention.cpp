#include "harness/model/equivalent_formulas.hpp"

#include <functional>
#include <limits>
#include <vector>

namespace plumbline::equivalent {
namespace {

using at::Tensor;

Tensor compute_in_float64(const std::function<Tensor(const Tensor&)>& compute, const Tensor& x) {
  return compute(x.to(at::kDouble)).to(x.scalar_type());
}

Tensor stack_heads(const std::function<Tensor(std::int64_t head)>& compute, std::int64_t heads) {
  std::vector<Tensor> results;
  for (std::int64_t head = 0; head < heads; ++head) results.push_back(compute(head));
  return at::stack(results, 1);
}

Tensor concatenate_query_blocks(const std::function<Tensor(const Tensor& block)>& compute,
                                const Tensor& queries) {
  constexpr std::int64_t kQueries = 8;
  std::vector<Tensor> results;
  for (const auto& block : queries.split(kQueries, 2)) results.push_back(compute(block));
  return at::cat(results, 2);
}

}  // namespace

Tensor repeat_kv_by_index(const Tensor& x, std::int64_t factor) {
  const auto heads = at::arange(x.size(2) * factor, x.options().dtype(at::kLong));
  return x.index_select(2, heads.div(factor, "floor"));
}

Tensor repeat_kv_interleaved(const Tensor& x, std::int64_t factor) {
  return x.repeat_interleave(factor, 2);
}

Tensor softmax_by_exponentials(const Tensor& scores) {
  const auto wide = scores.to(accumulation_type(scores.scalar_type()));
  const auto weights = (wide - std::get<0>(wide.max(-1, true))).exp();
  return (weights / weights.sum(-1, true)).to(scores.scalar_type());
}

// Online softmax over blocks of seven keys: earlier sums are rescaled when the running maximum grows (Milakov
// & Gimelshein 2018, algorithm 3).
Tensor softmax_in_blocks(const Tensor& scores) {
  const auto wide = scores.to(accumulation_type(scores.scalar_type()));
  auto maximum = at::full_like(wide.narrow(-1, 0, 1), -std::numeric_limits<double>::infinity());
  auto sum = at::zeros_like(maximum);
  std::vector<Tensor> weights, subtracted;
  for (const auto& block : wide.split(7, -1)) {
    const auto new_maximum = at::maximum(maximum, std::get<0>(block.max(-1, true)));
    const auto finite = new_maximum.clamp_min(-1e30);  // -infinity where all keys so far are hidden
    sum = sum * (maximum.clamp_min(-1e30) - finite).exp() + (block - finite).exp().sum(-1, true);
    weights.push_back((block - finite).exp());
    subtracted.push_back(finite);
    maximum = new_maximum;
  }
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] = weights[i] * (subtracted[i] - subtracted.back()).exp();
  return (at::cat(weights, -1) / sum).to(scores.scalar_type());
}

// Hides later keys by a triangle of -infinity, and padding by adding a large negative number, as MiniMind
// does.
Tensor apply_mask_in_two_steps(const Tensor& scores, const Tensor& mask) {
  const auto queries = mask.size(-2), keys = mask.size(-1);
  const auto future = at::ones({queries, keys}, mask.options()).tril(keys - queries).logical_not();
  const auto hidden = (~mask & ~future).to(scores.scalar_type());
  return scores.masked_fill(future, -std::numeric_limits<double>::infinity()) + hidden * -1e9;
}

Tensor softmax_base_two(const Tensor& scores) {
  const auto wide = scores.to(accumulation_type(scores.scalar_type())) / std::log(2.0);
  const auto weights = (wide - wide.amax(-1, true)).exp2();
  return (weights / weights.sum(-1, true)).to(scores.scalar_type());
}

Tensor apply_mask_by_minimum(const Tensor& scores, const Tensor& mask) {
  const double minimum = scores.scalar_type() == at::kBFloat16 ? -3.38e38 : -3.4e38;
  return scores.masked_fill(~mask, minimum);
}

Tensor apply_mask_by_addition(const Tensor& scores, const Tensor& mask) {
  return scores + at::zeros(mask.sizes(), scores.options())
                      .masked_fill_(~mask, -std::numeric_limits<double>::infinity());
}

Tensor mask_with_unmasked_padding(const MaskInputs& inputs) {
  return causal_mask(inputs) | ~inputs.real_queries.unsqueeze(-1).unsqueeze(1);
}

Tensor softmax_in_float64(const Tensor& scores) {
  return compute_in_float64([](const Tensor& wide) { return at::softmax(wide, -1); }, scores);
}

Tensor apply_mask_by_product(const Tensor& scores, const Tensor& mask) {
  const auto visible = mask.to(at::kInt).to(scores.scalar_type());
  return scores * visible - 1e10 * (1 - visible);
}

Tensor scores_by_head(const Tensor& q, const Tensor& keys, double scale) {
  return stack_heads([&](std::int64_t h) { return at::bmm(q.select(1, h), keys.select(1, h).mT()) * scale; },
                     q.size(1));
}

Tensor weigh_values_by_head(const Tensor& probabilities, const Tensor& values) {
  return stack_heads([&](std::int64_t h) { return at::bmm(probabilities.select(1, h), values.select(1, h)); },
                     values.size(1));
}

Tensor scores_by_query_block(const Tensor& q, const Tensor& keys, double scale) {
  return concatenate_query_blocks([&](const Tensor& block) { return scaled_scores(block, keys, scale); }, q);
}

Tensor weigh_values_by_query_block(const Tensor& probabilities, const Tensor& values) {
  return concatenate_query_blocks([&](const Tensor& block) { return weighted_values(block, values); },
                                  probabilities);
}

Tensor scores_by_einsum(const Tensor& q, const Tensor& keys, double scale) {
  return at::einsum("bhtd,bhsd->bhts", {q, keys}) * scale;
}

Tensor weigh_values_by_einsum(const Tensor& probabilities, const Tensor& values) {
  return at::einsum("bhts,bhsd->bhtd", {probabilities, values});
}

Tensor scores_by_keys_times_queries(const Tensor& q, const Tensor& keys, double scale) {
  return (at::matmul(keys, q.mT()) * scale).mT();
}

Tensor weigh_values_transposed(const Tensor& probabilities, const Tensor& values) {
  return at::matmul(values.mT(), probabilities.mT()).mT();
}

Tensor scores_by_baddbmm(const Tensor& q, const Tensor& keys, double scale) {
  const auto queries = q.flatten(0, 1), transposed_keys = keys.flatten(0, 1).mT();
  return at::baddbmm(at::zeros({1, 1, 1}, q.options()), queries, transposed_keys, 0, scale)
      .unflatten(0, at::IntArrayRef{q.size(0), q.size(1)});
}

Tensor scores_of_scaled_queries(const Tensor& q, const Tensor& keys, double scale) {
  return scaled_scores(q * scale, keys, 1);
}

Tensor scores_of_scaled_queries_and_keys(const Tensor& q, const Tensor& keys, double scale) {
  return scaled_scores(q * std::sqrt(scale), keys * std::sqrt(scale), 1);
}

Tensor softmax_by_logsumexp(const Tensor& scores) {
  const auto wide = scores.to(accumulation_type(scores.scalar_type()));
  return (wide - wide.logsumexp(-1, true)).exp().to(scores.scalar_type());
}

}  // namespace plumbline::equivalent
