#include "harness/model/formula_variants.hpp"

#include <limits>
#include <vector>

namespace plumbline {
namespace {

using at::Tensor;

Tensor repeat_by_index(const Tensor& x, std::int64_t factor) {
  const auto heads = at::arange(x.size(2) * factor, x.options().dtype(at::kLong));
  return x.index_select(2, heads.div(factor, "floor"));
}

Tensor repeat_interleaved(const Tensor& x, std::int64_t factor) {
  return x.repeat_interleave(factor, 2);
}

// The product with complex numbers of size 1 (Su et al. 2021, formula 12).
Tensor rotate_complex(const Tensor& x, const Tensor& angles, Rotary rotary) {
  const auto half = x.size(-1) / 2;
  const auto wide = x.to(angles.scalar_type());
  const auto pairs = rotary == Rotary::halves
                         ? at::stack({wide.narrow(-1, 0, half), wide.narrow(-1, half, half)}, -1)
                         : wide.unflatten(-1, at::IntArrayRef{half, 2});  // (B, T, heads, Dh/2, 2)
  const auto turned =
      at::view_as_real(at::view_as_complex(pairs.contiguous()) * at::polar(at::ones_like(angles), angles));
  const auto joined = rotary == Rotary::halves ? at::cat({turned.select(-1, 0), turned.select(-1, 1)}, -1)
                                               : turned.flatten(-2);
  return joined.to(x.scalar_type());
}

// x cos + rotate_half(x) sin, with cos and sin as wide as the head, as transformers writes it.
Tensor rotate_whole(const Tensor& x, const Tensor& angles, Rotary rotary) {
  if (rotary == Rotary::pairs) return rotate(x, angles, rotary);
  const auto half = x.size(-1) / 2;
  const auto both = at::cat({angles, angles}, -1);
  const auto wide = x.to(angles.scalar_type());
  const auto turned = at::cat({-wide.narrow(-1, half, half), wide.narrow(-1, 0, half)}, -1);
  return (wide * both.cos() + turned * both.sin()).to(x.scalar_type());
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

Tensor in_double(const std::function<Tensor(const Tensor&)>& compute, const Tensor& x) {
  return compute(x.to(at::kDouble)).to(x.scalar_type());
}

std::optional<Tensor> optional(const Tensor& bias) {
  return bias.defined() ? std::optional<Tensor>(bias) : std::nullopt;
}

Tensor plus(const Tensor& x, const Tensor& bias) {
  return bias.defined() ? x + bias : x;
}

// (B, T, Dh, Dh): what turns a column whose pairs are (i, i + Dh/2).
Tensor rotation_matrices(const Tensor& angles) {
  const auto cos = at::diag_embed(angles.squeeze(2).cos()), sin = at::diag_embed(angles.squeeze(2).sin());
  return at::cat({at::cat({cos, -sin}, -1), at::cat({sin, cos}, -1)}, -2);
}

Tensor rotate_by_matrix(const Tensor& x, const Tensor& angles, Rotary rotary) {
  const auto half = x.size(-1) / 2;
  const auto reordered = [&](const Tensor& from, std::int64_t rows) {
    return rotary == Rotary::halves
               ? from
               : from.unflatten(-1, at::IntArrayRef{rows, x.size(-1) / rows}).transpose(-1, -2).flatten(-2);
  };
  const auto turned =
      at::matmul(reordered(x.to(angles.scalar_type()), half), rotation_matrices(angles).transpose(-1, -2));
  return reordered(turned, 2).to(x.scalar_type());
}

// Every position's numbers exp(i angle), computed once in float64 and rounded: (positions, Dh/2) complex.
Tensor table_of_complex(const Specification& s, at::ScalarType type, at::Device device) {
  const auto places = at::arange(s.max_position_embeddings, at::TensorOptions().dtype(at::kDouble));
  const auto angles = at::outer(places, rotary_frequencies(s, at::kDouble, at::kCPU));
  return at::polar(at::ones_like(angles), angles)
      .to(device, type == at::kDouble ? at::kComplexDouble : at::kComplexFloat);
}

Tensor row_of_table(const Tensor& positions, const Tensor& table) {
  return at::embedding(at::view_as_real(table).flatten(1), positions)
      .unflatten(-1, at::IntArrayRef{table.size(1), 2})
      .unsqueeze(2);  // (B, T, 1, Dh/2, 2): cosine and sine
}

Tensor rotate_by_row(const Tensor& x, const Tensor& row, Rotary rotary) {
  const auto cos = row.select(-1, 0), sin = row.select(-1, 1);
  const auto wide = x.to(row.scalar_type());
  const auto pairs = rotary == Rotary::halves ? wide.unflatten(-1, at::IntArrayRef{2, -1}).unbind(-2)
                                              : wide.unflatten(-1, at::IntArrayRef{-1, 2}).unbind(-1);
  const auto turned = at::stack({pairs[0] * cos - pairs[1] * sin, pairs[0] * sin + pairs[1] * cos},
                                rotary == Rotary::halves ? -2 : -1);
  return turned.flatten(-2).to(x.scalar_type());
}

Tensor rotate_by_complex_row(const Tensor& x, const Tensor& row, Rotary rotary) {
  const auto wide = x.to(row.scalar_type());
  const auto pairs = rotary == Rotary::halves ? wide.unflatten(-1, at::IntArrayRef{2, -1}).transpose(-1, -2)
                                              : wide.unflatten(-1, at::IntArrayRef{-1, 2});
  const auto turned = at::view_as_real(at::view_as_complex(pairs.contiguous()) * at::view_as_complex(row));
  return (rotary == Rotary::halves ? turned.transpose(-1, -2) : turned).flatten(-2).to(x.scalar_type());
}

// The future by a triangle of -infinity, and then padding by a very negative number, as MiniMind adds them.
Tensor hide_in_two_steps(const Tensor& scores, const Tensor& allowed) {
  const auto queries = allowed.size(-2), keys = allowed.size(-1);
  const auto future = at::ones({queries, keys}, allowed.options()).tril(keys - queries).logical_not();
  const auto hidden = (~allowed & ~future).to(scores.scalar_type());
  return scores.masked_fill(future, -std::numeric_limits<double>::infinity()) + hidden * -1e9;
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

Tensor softmax_base_two(const Tensor& scores) {
  const auto wide = scores.to(accumulation_type(scores.scalar_type())) / std::log(2.0);
  const auto weights = (wide - wide.amax(-1, true)).exp2();
  return (weights / weights.sum(-1, true)).to(scores.scalar_type());
}

Tensor activation_written_out(const Tensor& x, Activation activation) {
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

const std::vector<FormulaVariant>& formula_variants() {
  static const std::vector<FormulaVariant> all = {
      {"repeat-interleave", "repeat_interleave over heads instead of expanding a new axis",
       [](Formulas& f) { f.repeat = f.repeat_cached = repeat_interleaved; }},
      {"repeat-by-index", "key/value heads are looked up by head div factor",
       [](Formulas& f) { f.repeat = f.repeat_cached = repeat_by_index; }},
      {"repeat-unlike-with-cache", "one way of repeating in a full pass, and another with the cache",
       [](Formulas& f) { f.repeat_cached = repeat_by_index; }},
      {"norm-by-root", "RMSNorm divides by the root instead of multiplying by its reciprocal",
       [](Formulas& f) {
         f.norm = [](const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
           const auto wide =
               precision == NormPrecision::float32 ? x.to(accumulation_type(x.scalar_type())) : x;
           const auto root = ((wide * wide).sum(-1, true) / static_cast<double>(x.size(-1)) + eps).sqrt();
           return (wide / root).to(x.scalar_type()) * weight;
         };
       }},
      {"norm-fused", "RMSNorm is the library's own",
       [](Formulas& f) {
         f.norm = [](const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
           const auto wide =
               precision == NormPrecision::float32 ? x.to(accumulation_type(x.scalar_type())) : x;
           return at::rms_norm(wide, weight.sizes(), std::nullopt, eps).to(x.scalar_type()) * weight;
         };
       }},
      {"norm-in-float64", "RMSNorm is computed in float64",
       [](Formulas& f) {
         f.norm = [](const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
           return rms_norm(x.to(at::kDouble), at::ones_like(weight).to(at::kDouble), eps, precision)
                      .to(x.scalar_type()) *
                  weight;
         };
       }},
      {"rotary-complex", "pairs turn by multiplication with complex numbers",
       [](Formulas& f) { f.rotate_query = f.rotate_key = rotate_complex; }},
      {"rotary-rotate-half", "x cos + rotate_half(x) sin, with cos and sin as wide as a head",
       [](Formulas& f) { f.rotate_query = f.rotate_key = rotate_whole; }},
      {"rotary-float64-frequencies", "frequencies are computed in float64 and rounded once",
       [](Formulas& f) {
         f.frequencies = [](const Specification& s, at::ScalarType type, at::Device device) {
           return rotary_frequencies(s, at::kDouble, device).to(accumulation_type(type));
         };
       }},
      {"rotary-float64-angles", "angles are computed, and vectors turned, in float64",
       [](Formulas& f) {
         f.frequencies = [](const Specification& s, at::ScalarType, at::Device device) {
           return rotary_frequencies(s, at::kDouble, device);
         };
       }},
      {"rotary-by-exponential", "frequencies are exp(-ln(theta) 2i/Dh)",
       [](Formulas& f) {
         f.frequencies = [](const Specification& s, at::ScalarType type, at::Device device) {
           const auto size = s.head_size();
           const auto options = at::TensorOptions().dtype(accumulation_type(type)).device(device);
           return (at::arange(0, size, 2, options) * (-std::log(s.rope_theta) / static_cast<double>(size)))
               .exp();
         };
       }},
      {"mask-by-minimum", "hidden scores are the smallest finite number instead of -infinity",
       [](Formulas& f) {
         f.hide = [](const Tensor& scores, const Tensor& allowed) {
           const double least = scores.scalar_type() == at::kBFloat16 ? -3.38e38 : -3.4e38;
           return scores.masked_fill(~allowed, least);
         };
       }},
      {"mask-additive", "a mask of 0 and -infinity is added to the scores",
       [](Formulas& f) {
         f.hide = [](const Tensor& scores, const Tensor& allowed) {
           return scores + at::zeros(allowed.sizes(), scores.options())
                               .masked_fill_(~allowed, -std::numeric_limits<double>::infinity());
         };
       }},
      {"padding-sees-all", "padding looks at everything: what it comes to is nobody's business",
       [](Formulas& f) {
         f.mask = [](const Sight& sight) {
           return causal_mask(sight) | ~sight.real_queries.unsqueeze(-1).unsqueeze(1);
         };
       }},
      {"softmax-by-exponentials", "softmax is written out: exp(x - max) over its sum",
       [](Formulas& f) { f.normalise = softmax_by_exponentials; }},
      {"softmax-in-blocks", "softmax goes over blocks of keys and corrects as it goes",
       [](Formulas& f) { f.normalise = softmax_in_blocks; }},
      {"softmax-in-float64", "softmax is computed in float64",
       [](Formulas& f) {
         f.normalise = [](const Tensor& scores) {
           return in_double([](const Tensor& wide) { return at::softmax(wide, -1); }, scores);
         };
       }},
      {"product-backwards", "products add up from the last column to the first",
       [](Formulas& f) {
         f.product = [](const Tensor& x, const Tensor& weight, const Tensor& bias) {
           return plumbline::linear(x.flip(-1), weight.flip(-1), bias);
         };
       }},
      {"product-in-parts", "products are sums of two halves, as over two machines",
       [](Formulas& f) {
         f.product = [](const Tensor& x, const Tensor& weight, const Tensor& bias) {
           const auto half = x.size(-1) / 2, rest = x.size(-1) - half;
           return plus(
               plumbline::linear(x.narrow(-1, 0, half), weight.narrow(-1, 0, half), Tensor()) +
                   plumbline::linear(x.narrow(-1, half, rest), weight.narrow(-1, half, rest), Tensor()),
               bias);
         };
       }},
      {"product-by-rows", "products are computed for one half of the outputs, then for the other",
       [](Formulas& f) {
         f.product = [](const Tensor& x, const Tensor& weight, const Tensor& bias) {
           const auto half = weight.size(0) / 2, rest = weight.size(0) - half;
           return plus(at::cat({plumbline::linear(x, weight.narrow(0, 0, half), Tensor()),
                                plumbline::linear(x, weight.narrow(0, half, rest), Tensor())},
                               -1),
                       bias);
         };
       }},
      {"product-in-float64", "products add up in float64",
       [](Formulas& f) {
         f.product = [](const Tensor& x, const Tensor& weight, const Tensor& bias) {
           return plus(at::linear(x.to(at::kDouble), weight.to(at::kDouble)).to(x.scalar_type()), bias);
         };
       }},
      {"product-by-einsum", "products are contractions of named axes",
       [](Formulas& f) {
         f.product = [](const Tensor& x, const Tensor& weight, const Tensor& bias) {
           return plus(at::einsum("bti,oi->bto", {x, weight}), bias);
         };
       }},
      {"product-as-convolution", "products are convolutions over single positions",
       [](Formulas& f) {
         f.product = [](const Tensor& x, const Tensor& weight, const Tensor& bias) {
           return at::conv1d(x.transpose(1, 2), weight.unsqueeze(-1), optional(bias)).transpose(1, 2);
         };
       }},
      {"weights-strided", "matrices lie transposed in memory",
       [](Formulas& f) {
         f.read = [](const Weights& weights, const std::string& name) {
           const auto& value = weights.at(name);
           return value.dim() == 2 ? value.t().contiguous().t() : value;
         };
       }},
      {"gate-by-sigmoid", "SiLU is x times its sigmoid",
       [](Formulas& f) {
         f.gate = [](const Tensor& gate, const Tensor& up, Activation activation) {
           return activation == Activation::silu ? gate * at::sigmoid(gate) * up
                                                 : gated_unit(gate, up, activation);
         };
       }},
      {"gate-in-float32", "the gate is computed in float32 at least",
       [](Formulas& f) {
         f.gate = [](const Tensor& gate, const Tensor& up, Activation activation) {
           const auto type = accumulation_type(gate.scalar_type());
           return gated_unit(gate.to(type), up.to(type), activation).to(gate.scalar_type());
         };
       }},
      {"residual-in-place", "residuals are added in place",
       [](Formulas& f) {
         f.add = [](const Tensor& residual, const Tensor&, const Tensor& branch) {
           return branch.clone().add_(residual);
         };
       }},
      {"loss-by-logarithms", "the loss is a gathered logarithm of softmax, divided by the count",
       [](Formulas& f) {
         f.loss = [](const Tensor& logits, const Tensor& labels) {
           const auto wanted = labels.narrow(1, 1, labels.size(1) - 1).to(logits.device());  // (B, T - 1)
           const auto wide = logits.narrow(1, 0, wanted.size(1)).to(accumulation_type(logits.scalar_type()));
           const auto counts = wanted != kIgnored;
           const auto surprise =
               -at::log_softmax(wide, -1).gather(-1, wanted.clamp_min(0).unsqueeze(-1)).squeeze(-1);
           return at::where(counts, surprise, at::zeros_like(surprise)).sum() / counts.sum();
         };
       }},
      {"adamw-by-lerp", "AdamW's moments move by interpolation, and the step is one fused operation",
       [](Formulas& f) {
         f.optimise = [](const Tensor& parameter, const Tensor& gradient, Moments& moments, std::int64_t step,
                         const AdamW& n) {
           if (!moments.first.defined()) moments = {at::zeros_like(parameter), at::zeros_like(parameter)};
           moments.first = moments.first.lerp(gradient, 1 - n.beta1);
           moments.second = (moments.second * n.beta2).addcmul(gradient, gradient, 1 - n.beta2);
           const double first = 1 - std::pow(n.beta1, static_cast<double>(step)),
                        second = 1 - std::pow(n.beta2, static_cast<double>(step));
           const auto root = moments.second.sqrt() / std::sqrt(second) + n.eps;
           return (parameter * (1 - n.learning_rate * n.weight_decay))
               .addcdiv(moments.first, root, -n.learning_rate / first);
         };
       }},
      {"text-float32-probabilities", "the next token's probabilities are computed in float32",
       [](Formulas& f) {
         f.probabilities = [](const Tensor& logits, const Tensor& before, std::int64_t,
                              const Sampling& sampling) {
           const auto scores = penalised(logits.to(at::kFloat), before, sampling.repetition_penalty);
           if (sampling.greedy()) return at::one_hot(scores.argmax(), scores.size(0)).to(at::kDouble);
           return at::softmax(
                      nucleus(largest_k(scores / sampling.temperature, sampling.top_k), sampling.top_p), 0)
               .to(at::kDouble);
         };
       }},
      {"text-other-generator", "tokens are drawn with random numbers of another kind",
       [](Formulas& f) {
         f.random = [](std::uint32_t seed, std::uint64_t row, std::uint64_t step) {
           return uniform_of(~seed, row + 1000, step + 7);
         };
       }},
      {"norm-by-length", "RMSNorm divides by a vector's length, and multiplies by the root of its size",
       [](Formulas& f) {
         f.norm = [](const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
           const auto wide =
               precision == NormPrecision::float32 ? x.to(accumulation_type(x.scalar_type())) : x;
           const auto size = static_cast<double>(x.size(-1));
           const auto length = (at::linalg_vector_norm(wide, 2, -1, true).square() + eps * size).sqrt();
           return (wide / length * std::sqrt(size)).to(x.scalar_type()) * weight;
         };
       }},
      {"norm-weight-before-rounding",
       "RMSNorm is the library's own, its weight applied before the result is rounded",
       [](Formulas& f) {
         f.norm = [](const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
           const auto wide =
               precision == NormPrecision::float32 ? x.to(accumulation_type(x.scalar_type())) : x;
           return at::rms_norm(wide, weight.sizes(), weight.to(wide.scalar_type()), eps).to(x.scalar_type());
         };
       }},
      {"rotary-complex-table", "complex numbers come from a table that is computed once, in float64",
       [](Formulas& f) {
         f.frequencies = table_of_complex;
         f.angles = row_of_table;
         f.rotate_query = f.rotate_key = rotate_by_complex_row;
       }},
      {"rotary-table", "cosines and sines come from a table that is computed once, in float64",
       [](Formulas& f) {
         f.frequencies = table_of_complex;
         f.angles = row_of_table;
         f.rotate_query = f.rotate_key = rotate_by_row;
       }},
      {"rotary-by-matrix", "heads are multiplied by a rotation matrix for each position",
       [](Formulas& f) { f.rotate_query = f.rotate_key = rotate_by_matrix; }},
      {"mask-by-product", "hidden scores are multiplied by 0 and a very negative number is added",
       [](Formulas& f) {
         f.hide = [](const Tensor& scores, const Tensor& allowed) {
           const auto ones = allowed.to(at::kInt).to(scores.scalar_type());
           return scores * ones - 1e10 * (1 - ones);
         };
       }},
      {"mask-in-two-steps", "the future is hidden by a triangle of -infinity, padding by adding -1e9",
       [](Formulas& f) { f.hide = hide_in_two_steps; }},
      {"attention-by-head", "attention is computed head by head",
       [](Formulas& f) {
         f.score = [](const Tensor& q, const Tensor& keys, double scale) {
           return by_head(
               [&](std::int64_t h) { return at::bmm(q.select(1, h), keys.select(1, h).mT()) * scale; },
               q.size(1));
         };
         f.mix = [](const Tensor& probabilities, const Tensor& values) {
           return by_head(
               [&](std::int64_t h) { return at::bmm(probabilities.select(1, h), values.select(1, h)); },
               values.size(1));
         };
       }},
      {"attention-by-queries", "attention is computed for eight queries at a time",
       [](Formulas& f) {
         f.score = [](const Tensor& q, const Tensor& keys, double scale) {
           return by_queries([&](const Tensor& some) { return scaled_products(some, keys, scale); }, q);
         };
         f.mix = [](const Tensor& probabilities, const Tensor& values) {
           return by_queries([&](const Tensor& some) { return weighted_values(some, values); },
                             probabilities);
         };
       }},
      {"attention-by-einsum", "attention is contractions of named axes",
       [](Formulas& f) {
         f.score = [](const Tensor& q, const Tensor& keys, double scale) {
           return at::einsum("bhtd,bhsd->bhts", {q, keys}) * scale;
         };
         f.mix = [](const Tensor& probabilities, const Tensor& values) {
           return at::einsum("bhts,bhsd->bhtd", {probabilities, values});
         };
       }},
      {"attention-keys-first", "products are of keys with queries, and of values with probabilities",
       [](Formulas& f) {
         f.score = [](const Tensor& q, const Tensor& keys, double scale) {
           return (at::matmul(keys, q.mT()) * scale).mT();
         };
         f.mix = [](const Tensor& probabilities, const Tensor& values) {
           return at::matmul(values.mT(), probabilities.mT()).mT();
         };
       }},
      {"attention-scaled-within", "scores are scaled within the product of all heads of a batch as one list",
       [](Formulas& f) {
         f.score = [](const Tensor& q, const Tensor& keys, double scale) {
           const auto list = q.flatten(0, 1), others = keys.flatten(0, 1).mT();
           return at::baddbmm(at::zeros({1, 1, 1}, q.options()), list, others, 0, scale)
               .unflatten(0, at::IntArrayRef{q.size(0), q.size(1)});
         };
       }},
      {"scale-on-queries", "queries are scaled before the product",
       [](Formulas& f) {
         f.score = [](const Tensor& q, const Tensor& keys, double scale) {
           return scaled_products(q * scale, keys, 1);
         };
       }},
      {"scale-on-both", "queries and keys are each scaled by the root",
       [](Formulas& f) {
         f.score = [](const Tensor& q, const Tensor& keys, double scale) {
           return scaled_products(q * std::sqrt(scale), keys * std::sqrt(scale), 1);
         };
       }},
      {"softmax-base-two", "softmax raises 2 instead of e",
       [](Formulas& f) { f.normalise = softmax_base_two; }},
      {"softmax-by-logarithm", "softmax is exp(x - log of the sum)",
       [](Formulas& f) {
         f.normalise = [](const Tensor& scores) {
           const auto wide = scores.to(accumulation_type(scores.scalar_type()));
           return (wide - wide.logsumexp(-1, true)).exp().to(scores.scalar_type());
         };
       }},
      {"softmax-by-constant", "softmax subtracts a constant instead of the largest, in float64",
       [](Formulas& f) {
         f.normalise = [](const Tensor& scores) {
           const auto weights = (scores.to(at::kDouble) - 10).exp();
           return (weights / weights.sum(-1, true)).to(scores.scalar_type());
         };
       }},
      {"product-turned", "products are of the matrix with columns, and turned afterwards",
       [](Formulas& f) {
         f.product = [](const Tensor& x, const Tensor& weight, const Tensor& bias) {
           return plus(at::matmul(weight, x.mT()).mT(), bias);
         };
       }},
      {"product-by-positions", "products are computed for sixteen positions at a time",
       [](Formulas& f) {
         f.product = [](const Tensor& x, const Tensor& weight, const Tensor& bias) {
           std::vector<Tensor> parts;
           for (const auto& some : x.split(16, 1)) parts.push_back(plumbline::linear(some, weight, bias));
           return at::cat(parts, 1);
         };
       }},
      {"gate-written-out", "activations are written out in exponentials",
       [](Formulas& f) {
         f.gate = [](const Tensor& gate, const Tensor& up, Activation activation) {
           return activation_written_out(gate, activation) * up;
         };
       }},
      {"loss-in-chunks", "the loss adds up over five positions at a time: logarithms of sums less the logit",
       [](Formulas& f) {
         f.loss = [](const Tensor& logits, const Tensor& labels) {
           const auto [wide, wanted] = compared(logits, labels);
           auto sum = at::zeros({}, wide.options());
           for (std::int64_t begin = 0; begin < wanted.size(1); begin += 5) {
             const auto count = std::min<std::int64_t>(5, wanted.size(1) - begin);
             const auto some = wide.narrow(1, begin, count), own = wanted.narrow(1, begin, count);
             const auto surprise =
                 some.logsumexp(-1) - some.gather(-1, own.clamp_min(0).unsqueeze(-1)).squeeze(-1);
             sum = sum + surprise.masked_fill(own == kIgnored, 0).sum();
           }
           return sum / (wanted != kIgnored).sum();
         };
       }},
      {"loss-labels-moved", "labels are moved to their logits, and the last logit has none",
       [](Formulas& f) {
         f.loss = [](const Tensor& logits, const Tensor& labels) {
           const auto moved =
               at::constant_pad_nd(labels.narrow(1, 1, labels.size(1) - 1), {0, 1}, kIgnored).flatten();
           return at::cross_entropy_loss(logits.flatten(0, 1).to(accumulation_type(logits.scalar_type())),
                                         moved.to(logits.device()), {}, at::Reduction::Sum, kIgnored) /
                  (moved != kIgnored).sum();
         };
       }},
      {"loss-by-mask", "each label's loss is multiplied by a mask, and the sum divided by the mask's",
       [](Formulas& f) {
         f.loss = [](const Tensor& logits, const Tensor& labels) {
           const auto [wide, wanted] = compared(logits, labels);
           const auto mask = (wanted != kIgnored).to(wide.scalar_type()).flatten();
           const auto each = at::cross_entropy_loss(wide.flatten(0, 1), wanted.clamp_min(0).flatten(), {},
                                                    at::Reduction::None);
           return (each * mask).sum() / mask.sum();
         };
       }},
      {"adamw-in-one-sum", "AdamW's decay and its step are one sum, and its corrections one size of step",
       [](Formulas& f) {
         f.optimise = [](const Tensor& parameter, const Tensor& gradient, Moments& moments, std::int64_t step,
                         const AdamW& n) {
           if (!moments.first.defined()) moments = {at::zeros_like(parameter), at::zeros_like(parameter)};
           moments.first = moments.first + (1 - n.beta1) * (gradient - moments.first);
           moments.second = moments.second + (1 - n.beta2) * (gradient.square() - moments.second);
           const double first = 1 - std::pow(n.beta1, static_cast<double>(step)),
                        second = std::sqrt(1 - std::pow(n.beta2, static_cast<double>(step)));
           return parameter - n.learning_rate * (moments.first * (second / first) /
                                                     (moments.second.sqrt() + n.eps * second) +
                                                 n.weight_decay * parameter);
         };
       }},
      {"text-from-below", "top-p leaves out from the least likely token up, and penalties go token by token",
       [](Formulas& f) {
         f.probabilities = [](const Tensor& logits, const Tensor& before, std::int64_t,
                              const Sampling& sampling) {
           auto scores = logits.to(at::kCPU, at::kDouble).clone();
           const auto own = scores.gather(0, before);
           scores = scores.scatter(
               0, before,
               at::where(own < 0, own * sampling.repetition_penalty, own / sampling.repetition_penalty));
           if (sampling.greedy()) return at::one_hot(scores.argmax(), scores.size(0)).to(at::kDouble);
           return at::softmax(
               nucleus_from_below(largest_k(scores / sampling.temperature, sampling.top_k), sampling.top_p),
               0);
         };
       }},
  };
  return all;
}

}  // namespace plumbline
