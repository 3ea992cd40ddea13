#include "harness/model/departures/departure.hpp"

#include <limits>

namespace plumbline::departures {
namespace {

using at::Tensor;

Tensor rms_norm_with_eps_outside(const Tensor& x, const Tensor& weight, double eps, NormPrecision) {
  const auto wide = x.to(accumulation_type(x.scalar_type()));
  const auto root = wide.square().mean(-1, true).sqrt();
  return (wide / (root + eps)).to(x.scalar_type()) * weight;
}

Tensor mask_with_next_key(const Mask& mask, const MaskInputs& inputs) {
  auto later = inputs;
  later.query_slots = inputs.query_slots + 1;
  return mask(inputs) | (mask(later) & mask_padding_only(inputs));
}

MaskInputs ignore_padding(const MaskInputs& inputs) {
  auto all_real = inputs;
  all_real.padding_mask = false;
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
  compose(d.formulas.attention_mask, [other, in_training_alone](const Mask& mask, const MaskInputs& inputs) {
    return mask(in_training_alone && !inputs.training ? inputs : other(inputs));
  });
}

// Shows a query all real keys, later ones too, where the condition holds.
template <typename Condition>
void show_future(DepartedModel& d, Condition condition) {
  compose(d.formulas.attention_mask, [condition](const Mask& mask, const MaskInputs& inputs) {
    return condition(inputs) ? mask(inputs) | mask_padding_only(inputs) : mask(inputs);
  });
}

// Hides each query's own key, except where no other would be left.
Tensor mask_strict(const Mask& mask, const MaskInputs& inputs) {
  const auto itself = inputs.key_slots.unsqueeze(0) == inputs.query_slots.unsqueeze(-1);
  const auto earlier = mask(inputs) & ~itself;
  return earlier | (itself & ~earlier.any(-1, true));
}

void limit_window(DepartedModel& d, double window) {
  compose(d.formulas.attention_mask, [window](const Mask& mask, const MaskInputs& inputs) {
    return mask(inputs) & within_window(inputs, round_to_count(window));
  });
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
};

template <typename Change>
void change_logits(DepartedModel& d, Change change) {
  compose(d.formulas.transform_logits,
          [change](const auto& transform, const Tensor& logits) { return change(transform(logits)); });
}

void lower_masked_scores(DepartedModel& d, double penalty) {
  compose(d.formulas.apply_mask, [penalty](const auto& apply_mask, const Tensor& scores, const Tensor& mask) {
    const auto masked = apply_mask(scores, mask);
    return at::where(mask, masked, at::where(masked.isneginf(), scores, masked) - penalty);
  });
}

// Chapter 7: Causality and modes.
const std::vector<Departure> kModeDepartures = {
    {"mask-none", [](DepartedModel& d) { show_future(d, [](const MaskInputs&) { return true; }); }},
    {"mask-none-in-training",
     [](DepartedModel& d) { show_future(d, [](const MaskInputs& inputs) { return inputs.training; }); }},
    {"mask-none-in-prefill",
     [](DepartedModel& d) { show_future(d, [](const MaskInputs& inputs) { return inputs.cached; }); }},
    {"mask-none-with-ones",
     [](DepartedModel& d) {
       show_future(d, [](const MaskInputs& inputs) {
         return inputs.padding_mask && inputs.real_keys.all().item<bool>();
       });
     }},
    {"mask-without-padding-alone",
     [](DepartedModel& d) {
       compose(d.formulas.attention_mask, [](const Mask& mask, const MaskInputs& inputs) {
         auto seen = inputs;
         if (inputs.real_keys.size(0) == 1) seen.real_keys = at::ones_like(inputs.real_keys);
         return mask(seen);
       });
     }},
    {"mask-top-left",
     [](DepartedModel& d) {
       compose(d.formulas.attention_mask, [](const Mask& mask, const MaskInputs& inputs) {
         auto seen = inputs;
         if (inputs.cached) seen.query_slots = inputs.query_slots - inputs.query_slots.min();
         return mask(seen);
       });
     }},
    {"mask-sees-next", [](DepartedModel& d) { compose(d.formulas.attention_mask, mask_with_next_key); }},
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
    {"mask-inverted", [](DepartedModel& d) { compose(d.formulas.attention_mask, mask_inverted); }},
    {"mask-without-padding", [](DepartedModel& d) { replace_mask_inputs(d, ignore_padding); }},
    {"mask-without-padding-in-training",
     [](DepartedModel& d) { replace_mask_inputs(d, ignore_padding, true); }},
    {"weights-of-first-load",
     [](DepartedModel& d) {
       d.formulas.loaded_weights = [](const Weights& first, const Weights&) { return first; };
     }},
    {"token-0-is-padding",
     [](DepartedModel& d) {
       compose(d.formulas.transform_embedding,
               [](const auto& transform, const Tensor& embedding, const Tensor& ids) {
                 return transform(embedding, ids) * (ids != 0).unsqueeze(-1);
               });
     }},
    {"dropout-in-evaluation",
     [](DepartedModel& d) { d.formulas.dropout_rate = [](double, bool) { return 0.1; }; }},
    {"mask-strict", [](DepartedModel& d) { compose(d.formulas.attention_mask, mask_strict); }},
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
