#include "harness/model/departures/departure.hpp"

#include <limits>

namespace plumbline::departures {
namespace {

using at::Tensor;

// Subtracts the mean first, as LayerNorm does (arXiv 1607.06450).
Tensor centred_rms_norm(const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
  return rms_norm(x - x.mean(-1, true), weight, eps, precision);
}

Tensor rms_norm_with_eps_outside(const Tensor& x, const Tensor& weight, double eps, NormPrecision) {
  const auto wide = x.to(accumulation_type(x.scalar_type()));
  const auto root = wide.square().mean(-1, true).sqrt();
  return (wide / (root + eps)).to(x.scalar_type()) * weight;
}

Tensor mask_with_next_key(const MaskInputs& inputs) {
  auto later = inputs;
  later.query_slots = inputs.query_slots + 1;
  return causal_mask(inputs) | (causal_mask(later) & mask_padding_only(inputs));
}

MaskInputs ignore_padding(const MaskInputs& inputs) {
  auto all_real = inputs;
  all_real.real_queries = at::ones_like(inputs.real_queries);
  all_real.real_keys = at::ones_like(inputs.real_keys);
  return all_real;
}

MaskInputs broadcast_padding_of_first_row(const MaskInputs& inputs) {
  auto first = inputs;
  first.real_queries = inputs.real_queries.narrow(0, 0, 1).expand_as(inputs.real_queries);
  first.real_keys = inputs.real_keys.narrow(0, 0, 1).expand_as(inputs.real_keys);
  return first;
}

// Computes the mask, correct or departed, from inputs with other padding.
void replace_mask_inputs(DepartedModel& d, MaskInputs (*other)(const MaskInputs&),
                         bool in_training_alone = false) {
  d.formulas.attention_mask = [mask = d.formulas.attention_mask, other,
                               in_training_alone](const MaskInputs& inputs) {
    return mask(in_training_alone && !inputs.training ? inputs : other(inputs));
  };
}

// Hides each query's own key, except where no other would be left.
Tensor mask_strict(const MaskInputs& inputs) {
  const auto itself = inputs.key_slots.unsqueeze(0) == inputs.query_slots.unsqueeze(-1);
  const auto earlier = causal_mask(inputs) & ~itself;
  return earlier | (itself & ~earlier.any(-1, true));
}

void limit_window(DepartedModel& d, double window) {
  d.formulas.attention_mask = [window](const MaskInputs& inputs) {
    return mask_window(inputs, round_to_count(window));
  };
}

// Chapter 6: Feed-forward, norms, residuals.
const std::vector<Departure> kBlockDepartures = {
    {"activation-gelu", [](Specification& s) { s.hidden_act = Activation::gelu; }},
    {"activation-gelu-tanh", [](Specification& s) { s.hidden_act = Activation::gelu_tanh; }},
    {"gate-up-swapped",
     [](DepartedModel& d) {
       d.formulas.gated_unit = [](const Tensor& gate, const Tensor& up, Activation activation) {
         return gated_unit(up, gate, activation);
       };
     }},
    {"norm-centred", [](DepartedModel& d) { d.formulas.norm = centred_rms_norm; }},
    {"norm-eps-outside", [](DepartedModel& d) { d.formulas.norm = rms_norm_with_eps_outside; }},
    {"norm-weight-ignored",
     [](DepartedModel& d) {
       d.formulas.norm = [](const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
         return rms_norm(x, at::ones_like(weight), eps, precision);
       };
     }},
    {"norm-bfloat16",
     [](DepartedModel& d) {
       d.formulas.norm = [](const Tensor& x, const Tensor& weight, double eps, NormPrecision) {
         return rms_norm(x.to(at::kBFloat16), weight.to(at::kBFloat16), eps, NormPrecision::model)
             .to(x.scalar_type());
       };
     }},
    {"residual-doubled",
     [](DepartedModel& d, double times) {
       d.formulas.add_residual = [times](const Tensor& residual, const Tensor&, const Tensor& branch) {
         return times * residual + branch;
       };
     },
     nullptr,
     DepartureParameter{"the residual is multiplied by {}",
                        [](const Specification&) { return 2.0; },
                        {0.5, 0.1, 3},
                        nullptr,
                        true}},
    {"residual-normed",
     [](DepartedModel& d) {
       d.formulas.add_residual = [](const Tensor&, const Tensor& normed, const Tensor& branch) {
         return normed + branch;
       };
     }},
    {"embedding-scaled",
     [](DepartedModel& d, double factor) {
       d.formulas.transform_embedding = [factor](const Tensor& embedding, const Tensor&) {
         return embedding * factor;
       };
     },
     nullptr,
     DepartureParameter{"the embedding is multiplied by {}",
                        [](const Specification& s) { return std::sqrt(to_double(s.hidden_size)); },
                        {12, 0.1, 0.5, 2, 50},
                        nullptr,
                        true}},
    {"feed-forward-ungated",
     [](DepartedModel& d) {
       d.formulas.gated_unit = [](const Tensor& gate, const Tensor&, Activation activation) {
         return activate(gate, activation);
       };
     }},
    {"residual-missing",
     [](DepartedModel& d) {
       d.formulas.add_residual = [](const Tensor&, const Tensor&, const Tensor& branch) { return branch; };
     }},
    {"norms-swapped",
     [](DepartedModel& d) {
       read_other_parameter(d, [](const std::string& name) {
         return swap_name_parts(name, ".input_layernorm.", ".post_attention_layernorm.");
       });
     }},
    {"norm-missing-before-feed-forward",
     [](DepartedModel& d) {
       d.formulas.has_norm = [](const std::string& name) {
         return !name.ends_with("post_attention_layernorm");
       };
     }},
    {"final-norm-missing",
     [](DepartedModel& d) {
       d.formulas.has_norm = [](const std::string& name) { return name != "model.norm"; };
     }},
};

void lower_masked_scores(DepartedModel& d, double penalty) {
  d.formulas.apply_mask = [penalty](const Tensor& scores, const Tensor& mask) {
    return at::where(mask, scores, scores - penalty);
  };
}

// Chapter 7: Causality and modes.
const std::vector<Departure> kModeDepartures = {
    {"mask-none", [](DepartedModel& d) { d.formulas.attention_mask = mask_padding_only; }},
    {"mask-none-in-training", mask_in_training<mask_padding_only>},
    {"mask-none-in-prefill",
     [](DepartedModel& d) {
       d.formulas.attention_mask = [](const MaskInputs& inputs) {
         return inputs.cached ? mask_padding_only(inputs) : causal_mask(inputs);
       };
     }},
    {"mask-none-with-ones",
     [](DepartedModel& d) {
       d.formulas.attention_mask = [](const MaskInputs& inputs) {
         const bool ones = inputs.padding_mask && inputs.real_keys.all().item<bool>();
         return ones ? mask_padding_only(inputs) : causal_mask(inputs);
       };
     }},
    {"mask-without-padding-alone",
     [](DepartedModel& d) {
       d.formulas.attention_mask = [](const MaskInputs& inputs) {
         auto seen = inputs;
         if (inputs.real_keys.size(0) == 1) seen.real_keys = at::ones_like(inputs.real_keys);
         return causal_mask(seen);
       };
     }},
    {"mask-sees-next", [](DepartedModel& d) { d.formulas.attention_mask = mask_with_next_key; }},
    {"mask-window-256", limit_window, nullptr,
     DepartureParameter{"no token sees further back than {} positions",
                        [](const Specification&) { return 256.0; },
                        {1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,  12,  13,  14,  15,  16, 17,
                         18, 19, 20, 21, 22, 23, 24, 25, 26,  27,  28,  29,  30,  31,  32,  33, 40,
                         48, 50, 60, 63, 64, 65, 80, 96, 100, 127, 128, 129, 200, 255, 257, 512}}},
    {"mask-window-1024", limit_window, nullptr,
     DepartureParameter{"no token sees further back than {} positions",
                        [](const Specification&) { return 1024.0; },
                        {1023, 1025, 2047, 2048, 2049, 4095, 4096}}},
    {"mask-inverted", [](DepartedModel& d) { d.formulas.attention_mask = mask_inverted; }},
    {"mask-without-padding", [](DepartedModel& d) { replace_mask_inputs(d, ignore_padding); }},
    {"mask-without-padding-in-training",
     [](DepartedModel& d) { replace_mask_inputs(d, ignore_padding, true); }},
    {"weights-of-first-load",
     [](DepartedModel& d) {
       d.formulas.loaded_weights = [](const Weights& first, const Weights&) { return first; };
     }},
    {"token-0-is-padding",
     [](DepartedModel& d) {
       d.formulas.transform_embedding = [](const Tensor& embedding, const Tensor& ids) {
         return embedding * (ids != 0).unsqueeze(-1);
       };
     }},
    {"dropout-in-evaluation",
     [](DepartedModel& d) { d.formulas.dropout_rate = [](double, bool) { return 0.1; }; }},
    {"mask-strict", [](DepartedModel& d) { d.formulas.attention_mask = mask_strict; }},
    {"mask-by-zero",
     [](DepartedModel& d) {
       d.formulas.apply_mask = [](const Tensor& scores, const Tensor& mask) { return scores * mask; };
     }},
    {"mask-additive-weak", lower_masked_scores, nullptr,
     DepartureParameter{"masked scores are lowered by only {}",
                        [](const Specification&) { return 10.0; },
                        {1, 2, 5, 20, 50, 100},
                        nullptr,
                        true}},
    {"mask-additive-10000", lower_masked_scores, nullptr,
     DepartureParameter{"masked scores are lowered by only {}",
                        [](const Specification&) { return 1e4; },
                        {1e3, 2e3, 5e3, 2e4},
                        nullptr,
                        true}},
    {"mask-of-first-row", [](DepartedModel& d) { replace_mask_inputs(d, broadcast_padding_of_first_row); }},
};

// Chapter 8: Numerics.
const std::vector<Departure> kNumericsDepartures = {
    {"logits-bfloat16", [](DepartedModel& d) { d.formulas.transform_logits = round_to_bfloat16; }},
    {"logits-shifted",
     [](DepartedModel& d) {
       d.formulas.transform_logits = [](const Tensor& logits) { return logits.roll(1, 1); };
     }},
    {"logits-not-a-number",
     [](DepartedModel& d) {
       d.formulas.transform_logits = [](const Tensor& logits) {
         return logits.masked_fill(logits >= logits.max(), std::numeric_limits<double>::quiet_NaN());
       };
     }},
    {"gradient-not-through-values",
     [](DepartedModel& d) {
       d.formulas.transform_value = [](const Tensor& v, const Tensor&) { return v.detach(); };
     }},
    {"autocast-bfloat16",
     [](DepartedModel& d) {
       d.formulas.linear = [](const Tensor& x, const Tensor& weight, const Tensor& bias) {
         return linear(x.to(at::kBFloat16), weight.to(at::kBFloat16),
                       bias.defined() ? bias.to(at::kBFloat16) : bias)
             .to(x.scalar_type());
       };
     }},
    {"weights-bfloat16", [](DepartedModel& d) { transform_parameters(d, "", round_to_bfloat16); }},
    {"logits-capped",
     [](DepartedModel& d, double cap) {
       d.formulas.transform_logits = [cap](const Tensor& logits) { return cap * (logits / cap).tanh(); };
     },
     nullptr,
     DepartureParameter{"logits go through {0} tanh(x / {0})",
                        [](const Specification&) { return 30.0; },
                        {5, 10, 15, 20, 50, 100},
                        nullptr,
                        true}},
    {"scores-capped",
     [](DepartedModel& d, double cap) {
       d.formulas.apply_mask = [apply_mask = d.formulas.apply_mask, cap](const Tensor& scores,
                                                                         const Tensor& mask) {
         return apply_mask(cap * (scores / cap).tanh(), mask);
       };
     },
     nullptr,
     DepartureParameter{"scores go through {0} tanh(x / {0})",
                        [](const Specification&) { return 50.0; },
                        {5, 10, 15, 20, 30, 100},
                        nullptr,
                        true}},
    {"residual-bfloat16",
     [](DepartedModel& d) {
       d.formulas.add_residual = [](const Tensor& residual, const Tensor&, const Tensor& branch) {
         return round_to_bfloat16(residual + branch);
       };
     }},
    {"residual-clipped",
     [](DepartedModel& d, double most) {
       d.formulas.add_residual = [most](const Tensor& residual, const Tensor&, const Tensor& branch) {
         return (residual + branch).clamp(-most, most);
       };
     },
     nullptr,
     DepartureParameter{"the residual stream is clipped to {}",
                        [](const Specification&) { return 1000.0; },
                        {100, 200, 500, 2000},
                        nullptr,
                        true}},
    {"embedding-max-norm",
     [](DepartedModel& d) {
       d.formulas.transform_embedding = [](const Tensor& embedding, const Tensor&) {
         const auto norm = embedding.norm(2, -1, /*keepdim=*/true);
         return embedding / norm.clamp_min(1);
       };
     }},
};

}  // namespace

const std::vector<Departure>& block_departures() {
  return kBlockDepartures;
}

const std::vector<Departure>& mode_departures() {
  return kModeDepartures;
}

const std::vector<Departure>& numerics_departures() {
  return kNumericsDepartures;
}

}  // namespace plumbline::departures
