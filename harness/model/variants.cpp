#include "harness/model/variants.hpp"

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
  };
  return all;
}

}  // namespace plumbline
