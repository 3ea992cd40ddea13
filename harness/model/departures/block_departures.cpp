#include "harness/model/departures/departure.hpp"

#include <limits>

namespace plumbline::departures {
namespace {

using at::Tensor;

// Divides by the root of the variance in place of the mean square.
template <typename Norm>
Tensor norm_by_variance(const Norm& norm, const Tensor& x, const Tensor& weight, double eps,
                        NormPrecision precision) {
  const auto wide = x.to(accumulation_type(x.scalar_type()));
  const auto right = wide.square().mean(-1, true) + eps, wrong = wide.var(-1, /*unbiased=*/true, true) + eps;
  return norm(x, weight, eps, precision) * (right / wrong).sqrt().to(x.scalar_type());
}

Tensor rms_norm_with_eps_outside(const Tensor& x, const Tensor& weight, double eps, NormPrecision) {
  const auto wide = x.to(accumulation_type(x.scalar_type()));
  const auto root = wide.square().mean(-1, true).sqrt();
  return (wide / (root + eps)).to(x.scalar_type()) * weight;
}

// Chapter 6: Feed-forward, norms, residuals.
const std::vector<Departure> kBlockDepartures = {
    {"activation-gelu", [](Specification& s) { s.hidden_act = Activation::gelu; }},
    {"activation-gelu-tanh", [](Specification& s) { s.hidden_act = Activation::gelu_tanh; }},
    {"activation-relu",
     [](DepartedModel& d) {
       d.formulas.gated_unit = [](const Tensor& gate, const Tensor& up, Activation) {
         return gate.relu() * up;
       };
     }},
    {"gate-up-swapped",
     [](DepartedModel& d) {
       compose(d.formulas.gated_unit, [](const auto& unit, const Tensor& gate, const Tensor& up,
                                         Activation activation) { return unit(up, gate, activation); });
     }},
    {"norm-centred",  // as LayerNorm does (arXiv 1607.06450)
     [](DepartedModel& d) {
       compose(d.formulas.norm,
               [](const auto& norm, const Tensor& x, const Tensor& weight, double eps,
                  NormPrecision precision) { return norm(x - x.mean(-1, true), weight, eps, precision); });
     }},
    {"norm-eps-outside", [](DepartedModel& d) { d.formulas.norm = rms_norm_with_eps_outside; }},
    {"norm-weight-ignored",
     [](DepartedModel& d) {
       compose(d.formulas.norm,
               [](const auto& norm, const Tensor& x, const Tensor& weight, double eps,
                  NormPrecision precision) { return norm(x, at::ones_like(weight), eps, precision); });
     }},
    {"norm-one-plus-weight",
     [](DepartedModel& d) {
       compose(d.formulas.norm, [](const auto& norm, const Tensor& x, const Tensor& weight, double eps,
                                   NormPrecision precision) { return norm(x, 1 + weight, eps, precision); });
     }},
    {"norm-over-tokens",
     [](DepartedModel& d) {
       compose(d.formulas.norm, [](const auto& norm, const Tensor& x, const Tensor& weight, double eps,
                                   NormPrecision precision) {
         const auto squares = x.to(accumulation_type(x.scalar_type())).square();
         const auto own = squares.mean(-1, true) + eps, all = squares.mean({-2, -1}, true) + eps;
         return norm(x, weight, eps, precision) * (own / all).sqrt().to(x.scalar_type());
       });
     }},
    {"norm-bfloat16",
     [](DepartedModel& d) {
       compose(d.formulas.norm,
               [](const auto& norm, const Tensor& x, const Tensor& weight, double eps, NormPrecision) {
                 return norm(x.to(at::kBFloat16), weight.to(at::kBFloat16), eps, NormPrecision::model)
                     .to(x.scalar_type());
               });
     }},
    {"residual-doubled",
     [](DepartedModel& d, double times) {
       compose(d.formulas.add_residual,
               [times](const auto& add, const Tensor& residual, const Tensor& normed, const Tensor& branch) {
                 return add(times * residual, normed, branch);
               });
     },
     nullptr,
     DepartureParameter{"the residual is multiplied by {}",
                        [](const Specification&) { return 2.0; },
                        {0.5, 0.1, 3},
                        nullptr,
                        true}},
    {"branch-scaled",
     [](DepartedModel& d, double times) {
       compose(d.formulas.add_residual,
               [times](const auto& add, const Tensor& residual, const Tensor& normed, const Tensor& branch) {
                 return add(residual, normed, times * branch);
               });
     },
     nullptr,
     DepartureParameter{
         "what attention and feed-forward add is multiplied by {}",
         [](const Specification& s) { return 1.4 / std::sqrt(to_double(s.num_hidden_layers)); },
         {0.1, 0.5, 0.9, 2},
         nullptr,
         true}},
    {"residual-normed",
     [](DepartedModel& d) {
       compose(d.formulas.add_residual, [](const auto& add, const Tensor&, const Tensor& normed,
                                           const Tensor& branch) { return add(normed, normed, branch); });
     }},
    {"embedding-scaled",
     [](DepartedModel& d, double factor) {
       compose(d.formulas.transform_embedding,
               [factor](const auto& transform, const Tensor& embedding, const Tensor& ids) {
                 return transform(embedding, ids) * factor;
               });
     },
     nullptr,
     DepartureParameter{"the embedding is multiplied by {}",
                        [](const Specification& s) { return std::sqrt(to_double(s.hidden_size)); },
                        {12, 0.1, 0.5, 2, 50},
                        nullptr,
                        true}},
    {"feed-forward-ungated",
     [](DepartedModel& d) {
       compose(d.formulas.gated_unit,
               [](const auto& unit, const Tensor& gate, const Tensor& up, Activation activation) {
                 return unit(gate, at::ones_like(up), activation);
               });
     }},
    {"residual-missing",
     [](DepartedModel& d) {
       compose(d.formulas.add_residual,
               [](const auto& add, const Tensor& residual, const Tensor& normed, const Tensor& branch) {
                 return add(at::zeros_like(residual), normed, branch);
               });
     }},
    {"norms-swapped",
     [](DepartedModel& d) {
       read_other_parameter(d, [](const std::string& name) {
         return swap_name_parts(name, ".input_layernorm.", ".post_attention_layernorm.");
       });
     }},
    {"norm-missing-before-feed-forward",
     [](DepartedModel& d) {
       compose(d.formulas.has_norm, [](const auto& has_norm, const std::string& name) {
         return has_norm(name) && !name.ends_with("post_attention_layernorm");
       });
     }},
    {"final-norm-missing",
     [](DepartedModel& d) {
       compose(d.formulas.has_norm, [](const auto& has_norm, const std::string& name) {
         return has_norm(name) && name != "model.norm";
       });
     }},
    {"norm-by-variance",
     [](DepartedModel& d) {
       compose(d.formulas.norm,
               [](const auto& norm, const Tensor& x, const Tensor& weight, double eps,
                  NormPrecision precision) { return norm_by_variance(norm, x, weight, eps, precision); });
     }},
    {"norm-by-sum",
     [](DepartedModel& d) {
       compose(d.formulas.norm, [](const auto& norm, const Tensor& x, const Tensor& weight, double eps,
                                   NormPrecision precision) {
         const auto width = to_double(x.size(-1));
         return norm(x, weight, eps / width, precision) / std::sqrt(width);
       });
     }},
    {"activation-sigmoid",
     [](DepartedModel& d) {
       d.formulas.gated_unit = [](const Tensor& gate, const Tensor& up, Activation) {
         return gate.sigmoid() * up;
       };
     }},
};

template <typename Change>
void change_logits(DepartedModel& d, Change change) {
  compose(d.formulas.transform_logits,
          [change](const auto& transform, const Tensor& logits) { return change(transform(logits)); });
}

// Chapter 8: Numerics.
const std::vector<Departure> kNumericsDepartures = {
    {"logits-bfloat16", [](DepartedModel& d) { change_logits(d, round_to_bfloat16); }},
    {"logits-shifted",
     [](DepartedModel& d) { change_logits(d, [](const Tensor& logits) { return logits.roll(1, 1); }); }},
    {"logits-not-a-number",
     [](DepartedModel& d) {
       change_logits(d, [](const Tensor& logits) {
         return logits.masked_fill(logits >= logits.max(), std::numeric_limits<double>::quiet_NaN());
       });
     }},
    {"gradient-not-through-values",
     [](DepartedModel& d) {
       compose(d.formulas.transform_value, [](const auto& transform, const Tensor& v, const Tensor& angles) {
         return transform(v, angles).detach();
       });
     }},
    {"autocast-bfloat16",
     [](DepartedModel& d) {
       compose(d.formulas.linear,
               [](const auto& linear, const Tensor& x, const Tensor& weight, const Tensor& bias) {
                 return linear(x.to(at::kBFloat16), weight.to(at::kBFloat16),
                               bias.defined() ? bias.to(at::kBFloat16) : bias)
                     .to(x.scalar_type());
               });
     }},
    {"weights-bfloat16", [](DepartedModel& d) { transform_parameters(d, "", round_to_bfloat16); }},
    {"logits-scaled",
     [](DepartedModel& d, double times) {
       change_logits(d, [times](const Tensor& logits) { return logits * times; });
     },
     nullptr,
     DepartureParameter{"logits are multiplied by {}",
                        [](const Specification&) { return 0.0625; },
                        {0.1, 0.25, 0.5, 2, 4, 8, 16},
                        nullptr,
                        true}},
    {"logits-capped",
     [](DepartedModel& d, double cap) {
       change_logits(d, [cap](const Tensor& logits) { return cap * (logits / cap).tanh(); });
     },
     nullptr,
     DepartureParameter{"logits go through {0} tanh(x / {0})",
                        [](const Specification&) { return 30.0; },
                        {5, 10, 15, 20, 50, 100},
                        nullptr,
                        true}},
    {"scores-capped",
     [](DepartedModel& d, double cap) {
       compose(d.formulas.apply_mask,
               [cap](const auto& apply_mask, const Tensor& scores, const Tensor& mask) {
                 return apply_mask(cap * (scores / cap).tanh(), mask);
               });
     },
     nullptr,
     DepartureParameter{"scores go through {0} tanh(x / {0})",
                        [](const Specification&) { return 50.0; },
                        {5, 10, 15, 20, 30, 100},
                        nullptr,
                        true}},
    {"residual-bfloat16",
     [](DepartedModel& d) {
       compose(d.formulas.add_residual,
               [](const auto& add, const Tensor& residual, const Tensor& normed, const Tensor& branch) {
                 return round_to_bfloat16(add(residual, normed, branch));
               });
     }},
    {"residual-clipped",
     [](DepartedModel& d, double most) {
       compose(d.formulas.add_residual,
               [most](const auto& add, const Tensor& residual, const Tensor& normed, const Tensor& branch) {
                 return add(residual, normed, branch).clamp(-most, most);
               });
     },
     nullptr,
     DepartureParameter{"the residual stream is clipped to {}",
                        [](const Specification&) { return 1000.0; },
                        {100, 200, 500, 2000},
                        nullptr,
                        true}},
    {"embedding-max-norm",
     [](DepartedModel& d) {
       compose(d.formulas.transform_embedding,
               [](const auto& transform, const Tensor& embedding, const Tensor& ids) {
                 const auto norm = embedding.norm(2, -1, /*keepdim=*/true);
                 return transform(embedding / norm.clamp_min(1), ids);
               });
     }},
    {"attention-bfloat16",
     [](DepartedModel& d) {
       compose(d.formulas.attention_scores,
               [](const auto& scores_of, const Tensor& q, const Tensor& keys, double scale) {
                 return scores_of(q.to(at::kBFloat16), keys.to(at::kBFloat16), scale).to(q.scalar_type());
               });
       compose(
           d.formulas.weigh_values, [](const auto& weigh, const Tensor& probabilities, const Tensor& values) {
             return weigh(probabilities.to(at::kBFloat16), values.to(at::kBFloat16)).to(values.scalar_type());
           });
     }},
};

}  // namespace

const std::vector<Departure>& block_departures() {
  return kBlockDepartures;
}

const std::vector<Departure>& numerics_departures() {
  return kNumericsDepartures;
}

}  // namespace plumbline::departures
