#include "harness/model/departures/departure.hpp"

#include <limits>

namespace plumbline::departing {
namespace {

using at::Tensor;

// LayerNorm's numerator: the mean is subtracted before the mean square is taken.
Tensor norm_of_centred(const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
  return rms_norm(x - x.mean(-1, true), weight, eps, precision);
}

Tensor norm_with_eps_outside(const Tensor& x, const Tensor& weight, double eps, NormPrecision) {
  const auto wide = x.to(accumulation_type(x.scalar_type()));
  const auto root = wide.square().mean(-1, true).sqrt();
  return (wide / (root + eps)).to(x.scalar_type()) * weight;
}

Tensor mask_sees_next(const Sight& sight) {
  auto later = sight;
  later.query_slots = sight.query_slots + 1;
  return causal_mask(sight) | (causal_mask(later) & mask_everything_visible(sight));
}

Sight without_padding(const Sight& sight) {
  auto all_real = sight;
  all_real.real_queries = at::ones_like(sight.real_queries);
  all_real.real_keys = at::ones_like(sight.real_keys);
  return all_real;
}

Sight with_padding_of_the_first(const Sight& sight) {
  auto first = sight;
  first.real_queries = sight.real_queries.narrow(0, 0, 1).expand_as(sight.real_queries);
  first.real_keys = sight.real_keys.narrow(0, 0, 1).expand_as(sight.real_keys);
  return first;
}

// The mask, whatever else is wrong with it, of other padding than there is.
void mask_of(Departed& d, Sight (*other)(const Sight&), bool in_training_alone = false) {
  d.formulas.mask = [mask = d.formulas.mask, other, in_training_alone](const Sight& sight) {
    return mask(in_training_alone && !sight.training ? sight : other(sight));
  };
}

// A token does not see itself, but where it would see nothing.
Tensor mask_strict(const Sight& sight) {
  const auto itself = sight.key_slots.unsqueeze(0) == sight.query_slots.unsqueeze(-1);
  const auto earlier = causal_mask(sight) & ~itself;
  return earlier | (itself & ~earlier.any(-1, true));
}

// Chapter 6: Feed-forward, norms, residuals.
const std::vector<Departure> kOfBlocks = {
    {"activation-gelu", [](Specification& s) { s.hidden_act = Activation::gelu; }},
    {"activation-gelu-tanh", [](Specification& s) { s.hidden_act = Activation::gelu_tanh; }},
    {"gate-up-swapped",
     [](Departed& d) {
       d.formulas.gate = [](const Tensor& gate, const Tensor& up, Activation activation) {
         return gated_unit(up, gate, activation);
       };
     }},
    {"norm-centred", [](Departed& d) { d.formulas.norm = norm_of_centred; }},
    {"norm-eps-outside", [](Departed& d) { d.formulas.norm = norm_with_eps_outside; }},
    {"norm-weight-ignored",
     [](Departed& d) {
       d.formulas.norm = [](const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
         return rms_norm(x, at::ones_like(weight), eps, precision);
       };
     }},
    {"norm-bfloat16",
     [](Departed& d) {
       d.formulas.norm = [](const Tensor& x, const Tensor& weight, double eps, NormPrecision) {
         return rms_norm(x.to(at::kBFloat16), weight.to(at::kBFloat16), eps, NormPrecision::model)
             .to(x.scalar_type());
       };
     }},
    {"residual-doubled",
     [](Departed& d, double times) {
       d.formulas.add = [times](const Tensor& residual, const Tensor&, const Tensor& branch) {
         return times * residual + branch;
       };
     },
     nullptr,
     DepartureNumber{"the residual is multiplied by {}",
                     [](const Specification&) { return 2.0; },
                     {0.5, 0.1, 3},
                     nullptr,
                     true}},
    {"residual-normed",
     [](Departed& d) {
       d.formulas.add = [](const Tensor&, const Tensor& normed, const Tensor& branch) {
         return normed + branch;
       };
     }},
    {"embedding-scaled",
     [](Departed& d, double factor) {
       d.formulas.embed = [factor](const Tensor& embedding, const Tensor&) { return embedding * factor; };
     },
     nullptr,
     DepartureNumber{"the embedding is multiplied by {}",
                     [](const Specification& s) { return std::sqrt(as_number(s.hidden_size)); },
                     {12, 0.1, 0.5, 2, 50},
                     nullptr,
                     true}},
    {"feed-forward-ungated",
     [](Departed& d) {
       d.formulas.gate = [](const Tensor& gate, const Tensor&, Activation activation) {
         return activate(gate, activation);
       };
     }},
    {"residual-missing",
     [](Departed& d) {
       d.formulas.add = [](const Tensor&, const Tensor&, const Tensor& branch) { return branch; };
     }},
    {"norms-swapped",
     [](Departed& d) {
       read_elsewhere(d, [](const std::string& name) {
         return exchanged(name, ".input_layernorm.", ".post_attention_layernorm.");
       });
     }},
    {"norm-missing-before-feed-forward",
     [](Departed& d) {
       d.formulas.norm_stands = [](const std::string& name) {
         return !name.ends_with("post_attention_layernorm");
       };
     }},
    {"final-norm-missing",
     [](Departed& d) {
       d.formulas.norm_stands = [](const std::string& name) { return name != "model.norm"; };
     }},
};

// Chapter 7: Causality and modes.
const std::vector<Departure> kOfModes = {
    {"mask-none", [](Departed& d) { d.formulas.mask = mask_everything_visible; }},
    {"mask-none-in-training", in_training<mask_everything_visible>},
    {"mask-none-in-prefill",
     [](Departed& d) {
       d.formulas.mask = [](const Sight& sight) {
         return sight.cached ? mask_everything_visible(sight) : causal_mask(sight);
       };
     }},
    {"mask-none-with-ones",
     [](Departed& d) {
       d.formulas.mask = [](const Sight& sight) {
         const bool ones = sight.padding_mask && sight.real_keys.all().item<bool>();
         return ones ? mask_everything_visible(sight) : causal_mask(sight);
       };
     }},
    {"mask-sees-next", [](Departed& d) { d.formulas.mask = mask_sees_next; }},
    {"mask-window-256",
     [](Departed& d, double window) {
       d.formulas.mask = [window](const Sight& sight) { return mask_window(sight, whole(window)); };
     },
     nullptr,
     DepartureNumber{"no token sees further back than {} positions",
                     [](const Specification&) { return 256.0; },
                     {1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,  12,  13,  14,  15,  16,  17,
                      18, 19, 20, 21, 22, 23, 24, 25, 26,  27,  28,  29,  30,  31,  32,  33,  40,
                      48, 50, 60, 63, 64, 65, 80, 96, 100, 127, 128, 129, 200, 255, 257, 512, 1024}}},
    {"mask-inverted", [](Departed& d) { d.formulas.mask = mask_inverted; }},
    {"mask-without-padding", [](Departed& d) { mask_of(d, without_padding); }},
    {"mask-without-padding-in-training", [](Departed& d) { mask_of(d, without_padding, true); }},
    {"token-0-is-padding",
     [](Departed& d) {
       d.formulas.embed = [](const Tensor& embedding, const Tensor& ids) {
         return embedding * (ids != 0).unsqueeze(-1);
       };
     }},
    {"dropout-in-evaluation",
     [](Departed& d) { d.formulas.dropout_rate = [](double, bool) { return 0.1; }; }},
    {"mask-strict", [](Departed& d) { d.formulas.mask = mask_strict; }},
    {"mask-by-zero",
     [](Departed& d) {
       d.formulas.hide = [](const Tensor& scores, const Tensor& allowed) { return scores * allowed; };
     }},
    {"mask-additive-weak",
     [](Departed& d, double drop) {
       d.formulas.hide = [drop](const Tensor& scores, const Tensor& allowed) {
         return at::where(allowed, scores, scores - drop);
       };
     },
     nullptr,
     DepartureNumber{"masked scores are lowered by only {}",
                     [](const Specification&) { return 10.0; },
                     {1, 2, 5, 20, 50, 100},
                     nullptr,
                     true}},
    {"mask-of-first-row", [](Departed& d) { mask_of(d, with_padding_of_the_first); }},
};

// Chapter 8: Numerics.
const std::vector<Departure> kOfNumerics = {
    {"logits-bfloat16", [](Departed& d) { d.formulas.head = through_bfloat16; }},
    {"logits-shifted",
     [](Departed& d) { d.formulas.head = [](const Tensor& logits) { return logits.roll(1, 1); }; }},
    {"logits-not-a-number",
     [](Departed& d) {
       d.formulas.head = [](const Tensor& logits) {
         return logits.masked_fill(logits >= logits.max(), std::numeric_limits<double>::quiet_NaN());
       };
     }},
    {"gradient-not-through-values",
     [](Departed& d) { d.formulas.value = [](const Tensor& v, const Tensor&) { return v.detach(); }; }},
    {"autocast-bfloat16",
     [](Departed& d) {
       d.formulas.product = [](const Tensor& x, const Tensor& weight, const Tensor& bias) {
         return linear(x.to(at::kBFloat16), weight.to(at::kBFloat16),
                       bias.defined() ? bias.to(at::kBFloat16) : bias)
             .to(x.scalar_type());
       };
     }},
    {"weights-bfloat16", [](Departed& d) { read_changed(d, "", through_bfloat16); }},
    {"logits-capped",
     [](Departed& d, double most) {
       d.formulas.head = [most](const Tensor& logits) { return most * (logits / most).tanh(); };
     },
     nullptr,
     DepartureNumber{"logits go through {0} tanh(x / {0})",
                     [](const Specification&) { return 30.0; },
                     {5, 10, 15, 20, 50, 100},
                     nullptr,
                     true}},
    {"scores-capped",
     [](Departed& d, double most) {
       d.formulas.hide = [hide = d.formulas.hide, most](const Tensor& scores, const Tensor& allowed) {
         return hide(most * (scores / most).tanh(), allowed);
       };
     },
     nullptr,
     DepartureNumber{"scores go through {0} tanh(x / {0})",
                     [](const Specification&) { return 50.0; },
                     {5, 10, 15, 20, 30, 100},
                     nullptr,
                     true}},
    {"residual-bfloat16",
     [](Departed& d) {
       d.formulas.add = [](const Tensor& residual, const Tensor&, const Tensor& branch) {
         return through_bfloat16(residual + branch);
       };
     }},
};

}  // namespace

const std::vector<Departure>& of_blocks() {
  return kOfBlocks;
}

const std::vector<Departure>& of_modes() {
  return kOfModes;
}

const std::vector<Departure>& of_numerics() {
  return kOfNumerics;
}

}  // namespace plumbline::departing
