#include "harness/model/departures/departure.hpp"

namespace plumbline::departures {
namespace {

using at::Tensor;

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

MaskInputs invert_padding(const MaskInputs& inputs) {
  auto inverted = inputs;
  if (inputs.padding_mask) inverted.real_keys = ~inputs.real_keys;
  return inverted;
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
    {"mask-after-softmax",
     [](DepartedModel& d) {
       d.formulas.apply_mask = [](const Tensor& scores, const Tensor&) { return scores; };
       compose(d.formulas.mask_probabilities,
               [](const auto& keep, const Tensor& probabilities, const Tensor& mask) {
                 return keep(probabilities, mask) * mask;
               });
     }},
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
    {"mask-padding-inverted", [](DepartedModel& d) { replace_mask_inputs(d, invert_padding); }},
    {"mask-none-with-padding-mask",
     [](DepartedModel& d) { show_future(d, [](const MaskInputs& inputs) { return inputs.padding_mask; }); }},
};

}  // namespace

const std::vector<Departure>& mode_departures() {
  return kModeDepartures;
}

}  // namespace plumbline::departures
