#include "harness/model/equivalent_formulas.hpp"

#include <functional>
#include <limits>
#include <vector>

namespace plumbline::equivalent {
namespace {

using at::Tensor;

Tensor in_double(const std::function<Tensor(const Tensor&)>& compute, const Tensor& x) {
  return compute(x.to(at::kDouble)).to(x.scalar_type());
}

Tensor by_head(const std::function<Tensor(std::int64_t head)>& one, std::int64_t heads) {
  std::vector<Tensor> all;
  for (std::int64_t head = 0; head < heads; ++head) all.push_back(one(head));
  return at::stack(all, 1);
}

// Eight queries at a time.
Tensor by_queries(const std::function<Tensor(const Tensor& some)>& compute, const Tensor& queries) {
  std::vector<Tensor> all;
  for (const auto& some : queries.split(8, 2)) all.push_back(compute(some));
  return at::cat(all, 2);
}

}  // namespace

Tensor repeat_by_index(const Tensor& x, std::int64_t factor) {
  const auto heads = at::arange(x.size(2) * factor, x.options().dtype(at::kLong));
  return x.index_select(2, heads.div(factor, "floor"));
}

Tensor repeat_interleaved(const Tensor& x, std::int64_t factor) {
  return x.repeat_interleave(factor, 2);
}

Tensor softmax_by_exponentials(const Tensor& scores) {
  const auto wide = scores.to(accumulation_type(scores.scalar_type()));
  const auto weights = (wide - std::get<0>(wide.max(-1, true))).exp();
  return (weights / weights.sum(-1, true)).to(scores.scalar_type());
}

// Seven keys at a time, each block's sum corrected when a larger score turns up (Milakov & Gimelshein 2018,
// algorithm 3).
Tensor softmax_in_blocks(const Tensor& scores) {
  const auto wide = scores.to(accumulation_type(scores.scalar_type()));
  auto most = at::full_like(wide.narrow(-1, 0, 1), -std::numeric_limits<double>::infinity());
  auto sum = at::zeros_like(most);
  std::vector<Tensor> weights, at_most;
  for (const auto& block : wide.split(7, -1)) {
    const auto larger = at::maximum(most, std::get<0>(block.max(-1, true)));
    const auto known = larger.clamp_min(-1e30);  // a block of which nothing is seen
    sum = sum * (most.clamp_min(-1e30) - known).exp() + (block - known).exp().sum(-1, true);
    weights.push_back((block - known).exp());
    at_most.push_back(known);
    most = larger;
  }
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] = weights[i] * (at_most[i] - at_most.back()).exp();
  return (at::cat(weights, -1) / sum).to(scores.scalar_type());
}

// The future by a triangle of -infinity, and then padding by a very negative number, as MiniMind adds them.
Tensor hide_in_two_steps(const Tensor& scores, const Tensor& allowed) {
  const auto queries = allowed.size(-2), keys = allowed.size(-1);
  const auto future = at::ones({queries, keys}, allowed.options()).tril(keys - queries).logical_not();
  const auto hidden = (~allowed & ~future).to(scores.scalar_type());
  return scores.masked_fill(future, -std::numeric_limits<double>::infinity()) + hidden * -1e9;
}

Tensor softmax_base_two(const Tensor& scores) {
  const auto wide = scores.to(accumulation_type(scores.scalar_type())) / std::log(2.0);
  const auto weights = (wide - wide.amax(-1, true)).exp2();
  return (weights / weights.sum(-1, true)).to(scores.scalar_type());
}

Tensor hide_by_minimum(const Tensor& scores, const Tensor& allowed) {
  const double least = scores.scalar_type() == at::kBFloat16 ? -3.38e38 : -3.4e38;
  return scores.masked_fill(~allowed, least);
}

Tensor hide_by_addition(const Tensor& scores, const Tensor& allowed) {
  return scores + at::zeros(allowed.sizes(), scores.options())
                      .masked_fill_(~allowed, -std::numeric_limits<double>::infinity());
}

Tensor mask_where_padding_sees_all(const Sight& sight) {
  return causal_mask(sight) | ~sight.real_queries.unsqueeze(-1).unsqueeze(1);
}

Tensor softmax_in_float64(const Tensor& scores) {
  return in_double([](const Tensor& wide) { return at::softmax(wide, -1); }, scores);
}

Tensor hide_by_product(const Tensor& scores, const Tensor& allowed) {
  const auto ones = allowed.to(at::kInt).to(scores.scalar_type());
  return scores * ones - 1e10 * (1 - ones);
}

Tensor score_by_head(const Tensor& q, const Tensor& keys, double scale) {
  return by_head([&](std::int64_t h) { return at::bmm(q.select(1, h), keys.select(1, h).mT()) * scale; },
                 q.size(1));
}

Tensor mix_by_head(const Tensor& probabilities, const Tensor& values) {
  return by_head([&](std::int64_t h) { return at::bmm(probabilities.select(1, h), values.select(1, h)); },
                 values.size(1));
}

Tensor score_by_queries(const Tensor& q, const Tensor& keys, double scale) {
  return by_queries([&](const Tensor& some) { return scaled_products(some, keys, scale); }, q);
}

Tensor mix_by_queries(const Tensor& probabilities, const Tensor& values) {
  return by_queries([&](const Tensor& some) { return weighted_values(some, values); }, probabilities);
}

Tensor score_by_einsum(const Tensor& q, const Tensor& keys, double scale) {
  return at::einsum("bhtd,bhsd->bhts", {q, keys}) * scale;
}

Tensor mix_by_einsum(const Tensor& probabilities, const Tensor& values) {
  return at::einsum("bhts,bhsd->bhtd", {probabilities, values});
}

Tensor score_keys_first(const Tensor& q, const Tensor& keys, double scale) {
  return (at::matmul(keys, q.mT()) * scale).mT();
}

Tensor mix_keys_first(const Tensor& probabilities, const Tensor& values) {
  return at::matmul(values.mT(), probabilities.mT()).mT();
}

Tensor score_scaled_within(const Tensor& q, const Tensor& keys, double scale) {
  const auto list = q.flatten(0, 1), others = keys.flatten(0, 1).mT();
  return at::baddbmm(at::zeros({1, 1, 1}, q.options()), list, others, 0, scale)
      .unflatten(0, at::IntArrayRef{q.size(0), q.size(1)});
}

Tensor score_of_scaled_queries(const Tensor& q, const Tensor& keys, double scale) {
  return scaled_products(q * scale, keys, 1);
}

Tensor score_of_both_scaled(const Tensor& q, const Tensor& keys, double scale) {
  return scaled_products(q * std::sqrt(scale), keys * std::sqrt(scale), 1);
}

Tensor softmax_by_logarithm(const Tensor& scores) {
  const auto wide = scores.to(accumulation_type(scores.scalar_type()));
  return (wide - wide.logsumexp(-1, true)).exp().to(scores.scalar_type());
}

Tensor softmax_by_constant(const Tensor& scores) {
  const auto weights = (scores.to(at::kDouble) - 10).exp();
  return (weights / weights.sum(-1, true)).to(scores.scalar_type());
}

}  // namespace plumbline::equivalent
