#include "harness/model/departures.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <variant>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

using at::Tensor;

Tensor through_bfloat16(const Tensor& x) {
  return x.to(at::kBFloat16).to(x.scalar_type());
}

// LayerNorm's numerator: the mean is subtracted before the mean square is taken.
Tensor norm_of_centred(const Tensor& x, const Tensor& weight, double eps, NormPrecision precision) {
  return rms_norm(x - x.mean(-1, true), weight, eps, precision);
}

Tensor norm_with_eps_outside(const Tensor& x, const Tensor& weight, double eps, NormPrecision) {
  const auto wide = x.to(accumulation_type(x.scalar_type()));
  const auto root = wide.square().mean(-1, true).sqrt();
  return (wide / (root + eps)).to(x.scalar_type()) * weight;
}

// Angles that broadcast over heads instead of positions wherever the two counts agree and nothing complains.
Tensor rotate_over_heads(const Tensor& x, const Tensor& angles, Rotary rotary) {
  return rotate(x, x.size(1) == x.size(2) ? angles.transpose(1, 2) : angles, rotary);
}

Tensor rotate_nothing(const Tensor& x, const Tensor&, Rotary) {
  return x;
}

Tensor mask_everything_visible(const Sight& sight) {
  return (sight.real_queries.unsqueeze(-1) & sight.real_keys.unsqueeze(1)).unsqueeze(1) | causal_mask(sight);
}

Tensor mask_sees_next(const Sight& sight) {
  auto later = sight;
  later.query_slots = sight.query_slots + 1;
  return causal_mask(sight) | (causal_mask(later) & mask_everything_visible(sight));
}

Tensor mask_inverted(const Sight& sight) {
  return (mask_everything_visible(sight) & ~causal_mask(sight)) |
         (sight.key_slots.unsqueeze(0) == sight.query_slots.unsqueeze(-1));
}

Tensor mask_without_padding(const Sight& sight) {
  auto all_real = sight;
  all_real.real_queries = at::ones_like(sight.real_queries);
  all_real.real_keys = at::ones_like(sight.real_keys);
  return causal_mask(all_real);
}

Tensor mask_with_unwritten(const Sight& sight) {
  const auto unwritten = sight.key_slots.unsqueeze(0) > sight.query_slots.max();
  return causal_mask(sight) | unwritten;
}

// Keys further back than so many slots are hidden.
Tensor mask_window(const Sight& sight, std::int64_t window) {
  return causal_mask(sight) & (sight.key_slots.unsqueeze(0) > sight.query_slots.unsqueeze(-1) - window);
}
Tensor mask_window_in_cache(const Sight& sight, std::int64_t window) {
  return sight.cached ? mask_window(sight, window) : causal_mask(sight);
}

// -log p of each label by the logits `shift` places before it, 0 where it counts for nothing: (B, T - shift).
Tensor surprises(const Tensor& logits, const Tensor& labels, std::int64_t shift) {
  const auto length = labels.size(1);
  const auto predicted = logits.narrow(1, 0, length - shift).flatten(0, 1);
  const auto wanted = labels.narrow(1, shift, length - shift).to(logits.device());
  return at::cross_entropy_loss(predicted.to(accumulation_type(logits.scalar_type())), wanted.flatten(), {},
                                at::Reduction::None, kIgnored)
      .view_as(wanted);
}

Tensor mean_over_labels(const Tensor& logits, const Tensor& labels, std::int64_t shift) {
  const auto counted = (labels != kIgnored).narrow(1, shift, labels.size(1) - shift).sum();
  return surprises(logits, labels, shift).sum() / counted.to(logits.device());
}

// A mask that is wrong in training mode alone.
template <Tensor (*wrong)(const Sight&)>
void in_training(Departed& d) {
  d.formulas.mask = [](const Sight& sight) { return sight.training ? wrong(sight) : causal_mask(sight); };
}

// AdamW that takes every step for the one of this number.
template <std::int64_t number>
void corrected_as_at_step(Departed& d) {
  d.formulas.optimise = [](const Tensor& parameter, const Tensor& gradient, Moments& moments, std::int64_t,
                           const AdamW& numbers) {
    return adamw(parameter, gradient, moments, number, numbers);
  };
}

struct Departure {
  const char* name;
  std::variant<void (*)(Specification&), void (*)(Departed&)> apply;  // other numbers, or other formulas
  // Why other formulas compute the same in such a model; null where they do not.
  const char* (*idle)(const Specification&) = nullptr;
};

const char* where_nothing_repeats(const Specification& s) {
  return s.repeat_factor() == 1 ? "each query head has a key/value head of its own, so nothing is repeated"
                                : nullptr;
}

const char* where_one_is_repeated(const Specification& s) {
  return s.num_key_value_heads == 1 ? "with one key/value head both ways of repeating give the same"
                                    : where_nothing_repeats(s);
}

const char* where_one_head_is_all(const Specification& s) {
  return s.num_attention_heads == 1 ? "with one head, the head is as wide as the model" : nullptr;
}

const char* where_heads_are_one(const Specification& s) {
  return s.num_attention_heads == 1 ? "with one head there is nothing to broadcast over" : nullptr;
}

// One line or a few for each: what is not what the specification says. Ordered by chapter.
const std::vector<Departure>& catalogue() {
  static const std::vector<Departure> all = {
      // 1 Configuration
      {"layers-23", [](Specification& s) { s.num_hidden_layers += 15; }},
      {"feed-forward-4x", [](Specification& s) { s.intermediate_size = 4 * s.hidden_size; }},
      {"theta-1e4", [](Specification& s) { s.rope_theta /= 100; }},
      {"eps-1e-6", [](Specification& s) { s.rms_norm_eps /= 10; }},
      {"dropout-0.5", [](Specification& s) { s.dropout = 0.5; }},
      {"embedding-standard-normal",
       [](Specification& s) { s.initialization = Initialization::standard_normal; }},
      {"embedding-zero-row",
       [](Departed& d) {
         d.formulas.initial_embedding = [](const Tensor& matrix) {
           auto changed = matrix.clone();
           changed[0].zero_();
           return changed;
         };
       }},
      // 2 Parameters
      {"untied-head", [](Specification& s) { s.tie_word_embeddings = false; }},
      {"feed-forward-bias", [](Specification& s) { s.mlp_bias = true; }},
      {"attention-bias", [](Specification& s) { s.attention_bias = true; }},
      // 3 Grouped-query attention
      {"multi-head", [](Specification& s) { s.num_key_value_heads = s.num_attention_heads; }},
      {"repeat-tiled",
       [](Departed& d) {
         d.formulas.repeat = [](const Tensor& x, std::int64_t factor) { return x.repeat({1, 1, factor, 1}); };
       },
       where_one_is_repeated},
      {"repeat-one-gradient",
       [](Departed& d) {
         d.formulas.repeat = [](const Tensor& x, std::int64_t factor) {
           const auto copies = repeat_kv(x.detach(), factor);
           return factor == 1
                      ? x
                      : copies + at::constant_pad_nd((x - x.detach()).unsqueeze(3), {0, 0, 0, factor - 1})
                                     .flatten(2, 3);
         };
       },
       where_nothing_repeats},
      {"scale-missing", [](Departed& d) { d.formulas.scale = [](const Specification&) { return 1.0; }; }},
      {"scale-by-width",
       [](Departed& d) {
         d.formulas.scale = [](const Specification& s) {
           return 1.0 / std::sqrt(static_cast<double>(s.hidden_size));
         };
       },
       where_one_head_is_all},
      {"softmax-over-queries",
       [](Departed& d) {
         d.formulas.normalise = [](const Tensor& scores) { return at::softmax(scores, -2).nan_to_num(0); };
       }},
      {"softmax-bfloat16",
       [](Departed& d) {
         d.formulas.normalise = [](const Tensor& scores) {
           return at::softmax(scores.to(at::kBFloat16), -1).to(scores.scalar_type());
         };
       }},
      // 4 KV cache
      {"cache-repeated",
       [](Departed& d) {
         d.formulas.keep = [](const Tensor& kept, const Tensor&, std::int64_t factor) {
           return repeat_kv(kept, factor);
         };
       },
       where_nothing_repeats},
      {"cache-unrotated",
       [](Departed& d) {
         d.formulas.keep = [](const Tensor&, const Tensor& before, std::int64_t) { return before; };
       }},
      {"cache-slot-late",
       [](Departed& d) {
         d.formulas.slot = [](std::int64_t length) { return std::max<std::int64_t>(length - 1, 0); };
       }},
      {"cache-reads-unwritten",
       [](Departed& d) {
         d.formulas.readable = [](std::int64_t length, std::int64_t capacity) {
           return std::min(length + 1, capacity);
         };
         d.formulas.mask = mask_with_unwritten;
       }},
      {"cache-window-64",
       [](Departed& d) {
         d.formulas.mask = [](const Sight& sight) { return mask_window_in_cache(sight, 64); };
       }},
      {"cache-window-256",
       [](Departed& d) {
         d.formulas.mask = [](const Sight& sight) { return mask_window_in_cache(sight, 256); };
       }},
      // 5 RoPE
      {"rotary-other-pairing",
       [](Specification& s) { s.rotary = s.rotary == Rotary::halves ? Rotary::pairs : Rotary::halves; }},
      {"rotary-backwards",
       [](Departed& d) {
         d.formulas.angles = [](const Tensor& positions, const Tensor& frequencies) {
           return -rotary_angles(positions, frequencies);
         };
       }},
      {"rotary-keys-unrotated", [](Departed& d) { d.formulas.rotate_key = rotate_nothing; }},
      {"rotary-on-values",
       [](Departed& d) {
         const auto rotary = d.specification.rotary;
         d.formulas.value = [rotary](const Tensor& v, const Tensor& angles) {
           return rotate(v, angles, rotary);
         };
       }},
      {"rotary-bfloat16-angles",
       [](Departed& d) {
         d.formulas.angles = [](const Tensor& positions, const Tensor& frequencies) {
           return through_bfloat16(rotary_angles(positions, frequencies));
         };
       }},
      {"rotary-over-heads",
       [](Departed& d) { d.formulas.rotate_query = d.formulas.rotate_key = rotate_over_heads; },
       where_heads_are_one},
      {"position-restarts",
       [](Departed& d) {
         d.formulas.next_position = [](const Tensor& seen) { return at::zeros_like(seen); };
       }},
      // 6 Feed-forward, norms, residuals
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
       [](Departed& d) {
         d.formulas.add = [](const Tensor& residual, const Tensor&, const Tensor& branch) {
           return 2 * residual + branch;
         };
       }},
      {"residual-normed",
       [](Departed& d) {
         d.formulas.add = [](const Tensor&, const Tensor& normed, const Tensor& branch) {
           return normed + branch;
         };
       }},
      {"embedding-scaled",
       [](Departed& d) {
         const auto factor = std::sqrt(static_cast<double>(d.specification.hidden_size));
         d.formulas.embed = [factor](const Tensor& embedding, const Tensor&) { return embedding * factor; };
       }},
      // 7 Causality and modes
      {"mask-none", [](Departed& d) { d.formulas.mask = mask_everything_visible; }},
      {"mask-none-in-training", in_training<mask_everything_visible>},
      {"mask-none-in-prefill",
       [](Departed& d) {
         d.formulas.mask = [](const Sight& sight) {
           return sight.cached ? mask_everything_visible(sight) : causal_mask(sight);
         };
       }},
      {"mask-sees-next", [](Departed& d) { d.formulas.mask = mask_sees_next; }},
      {"mask-window-256",
       [](Departed& d) { d.formulas.mask = [](const Sight& sight) { return mask_window(sight, 256); }; }},
      {"mask-inverted", [](Departed& d) { d.formulas.mask = mask_inverted; }},
      {"mask-without-padding", [](Departed& d) { d.formulas.mask = mask_without_padding; }},
      {"mask-without-padding-in-training", in_training<mask_without_padding>},
      {"token-0-is-padding",
       [](Departed& d) {
         d.formulas.embed = [](const Tensor& embedding, const Tensor& ids) {
           return embedding * (ids != 0).unsqueeze(-1);
         };
       }},
      {"dropout-in-evaluation",
       [](Departed& d) { d.formulas.dropout_rate = [](double, bool) { return 0.1; }; }},
      // 8 Numerics
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
      // 9 Training
      {"loss-unshifted",
       [](Departed& d) {
         d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
           return mean_over_labels(logits, labels, 0);
         };
       }},
      {"loss-shifted-twice",
       [](Departed& d) {
         d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
           return mean_over_labels(logits, labels, std::min<std::int64_t>(2, labels.size(1) - 1));
         };
       }},
      {"loss-over-ignored",
       [](Departed& d) {
         d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
           return surprises(logits, labels, 1).mean();
         };
       }},
      {"loss-ignored-as-token-0",
       [](Departed& d) {
         d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
           return next_token_loss(logits, labels.clamp_min(0));
         };
       }},
      {"loss-mean-of-means",
       [](Departed& d) {
         d.formulas.loss = [](const Tensor& logits, const Tensor& labels) {
           const auto counted = (labels != kIgnored).narrow(1, 1, labels.size(1) - 1).sum(1).clamp_min(1);
           return (surprises(logits, labels, 1).sum(1) / counted.to(logits.device())).mean();
         };
       }},
      {"gradient-not-through-embedding",
       [](Departed& d) {
         d.formulas.embed = [](const Tensor& embedding, const Tensor&) { return embedding.detach(); };
       }},
      {"mask-inverted-in-training", in_training<mask_inverted>},
      {"adamw-decay-in-gradient",
       [](Departed& d) {
         d.formulas.optimise = [](const Tensor& parameter, const Tensor& gradient, Moments& moments,
                                  std::int64_t step, const AdamW& numbers) {
           auto without = numbers;
           without.weight_decay = 0;
           return adamw(parameter, gradient + numbers.weight_decay * parameter, moments, step, without);
         };
       }},
      {"adamw-uncorrected", corrected_as_at_step<1'000'000>},
      {"adamw-step-stays-1", corrected_as_at_step<1>},
      {"optimiser-of-other-parameters",
       [](Departed& d) {
         d.formulas.optimise = [](const Tensor& parameter, const Tensor&, Moments&, std::int64_t,
                                  const AdamW&) { return parameter; };
       }},
  };
  return all;
}

// The names that contain it, or else the place where all of them stand.
std::string nearest_names(const std::string& name) {
  std::vector<std::string> near;
  for (const auto& departure : catalogue())
    if (!name.empty() && std::string(departure.name).find(name) != std::string::npos)
      near.emplace_back(departure.name);
  if (near.empty()) return "the known ones stand in fixtures/defects.json";
  return fmt::format("did you mean {}?", fmt::join(near, " or "));
}

}  // namespace

std::vector<std::string> departure_names() {
  std::vector<std::string> names;
  for (const auto& departure : catalogue()) names.emplace_back(departure.name);
  return names;
}

Departed depart(const Specification& specification, const std::string& names) {
  Departed departed{specification, {}};
  for (std::size_t begin = 0; begin <= names.size();) {
    const auto end = std::min(names.find('+', begin), names.size());
    const auto name = names.substr(begin, end - begin);
    const auto found = std::find_if(catalogue().begin(), catalogue().end(),
                                    [&](const Departure& departure) { return departure.name == name; });
    if (found == catalogue().end())
      throw InputError(fmt::format("defect:{}: no defect '{}'; {}", printable(names), printable(name),
                                   nearest_names(name)));
    const auto before = departed.specification;
    if (const auto* change = std::get_if<void (*)(Specification&)>(&found->apply)) {
      (*change)(departed.specification);
      if (departed.specification == before)
        departed.idle.push_back(fmt::format("{} changes nothing here: the model is like that already", name));
    } else {
      std::get<void (*)(Departed&)>(found->apply)(departed);
      if (const auto* why = found->idle != nullptr ? found->idle(before) : nullptr)
        departed.idle.push_back(fmt::format("{} changes nothing here: {}", name, why));
    }
    begin = end + 1;
  }
  require_possible(departed.specification, "defect:" + names);
  return departed;
}

}  // namespace plumbline
