#include "harness/model/departures/departure.hpp"

namespace plumbline::departing {
namespace {

using at::Tensor;

const char* where_heads_are_one(const Specification& s) {
  return s.num_attention_heads == 1 ? "with one head there is nothing to broadcast over" : nullptr;
}

// Angles that broadcast over heads instead of positions wherever the two counts agree and nothing complains.
Tensor rotate_over_heads(const Tensor& x, const Tensor& angles, Rotary rotary) {
  return rotate(x, x.size(1) == x.size(2) ? angles.transpose(1, 2) : angles, rotary);
}

Tensor rotate_nothing(const Tensor& x, const Tensor&, Rotary) {
  return x;
}

Tensor mask_with_unwritten(const Sight& sight) {
  const auto unwritten = sight.key_slots.unsqueeze(0) > sight.query_slots.max();
  return causal_mask(sight) | unwritten;
}

Tensor mask_window_in_cache(const Sight& sight, std::int64_t window) {
  return sight.cached ? mask_window(sight, window) : causal_mask(sight);
}

// Chapter 4: KV cache.
const std::vector<Departure> kOfCache = {
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
    {"cache-refuses-last-slot",
     [](Departed& d) {
       d.formulas.fits = [](std::int64_t length, std::int64_t capacity) { return length < capacity; };
     }},
    {"cache-shared-by-layers", [](Departed& d) { d.formulas.cache_of = [](std::int64_t) { return 0; }; },
     where_one_layer_is_all},
    {"cache-shared-by-rows",
     [](Departed& d) {
       d.formulas.keep = [](const Tensor& kept, const Tensor&, std::int64_t) {
         return kept.narrow(0, 0, 1).expand_as(kept);
       };
     }},
    {"cache-bfloat16",
     [](Departed& d) {
       d.formulas.keep = [](const Tensor& kept, const Tensor&, std::int64_t) {
         return through_bfloat16(kept);
       };
     }},
};

// Chapter 5: RoPE.
const std::vector<Departure> kOfRotation = {
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
     [](Departed& d) { d.formulas.next_position = [](const Tensor& seen) { return at::zeros_like(seen); }; }},
    {"rotary-from-position-1",
     [](Departed& d) {
       d.formulas.angles = [](const Tensor& positions, const Tensor& frequencies) {
         return rotary_angles(positions + 1, frequencies);
       };
     }},
    {"rotary-twice",
     [](Departed& d) {
       d.formulas.rotate_query =
           d.formulas.rotate_key = [](const Tensor& x, const Tensor& angles, Rotary rotary) {
             return rotate(rotate(x, angles, rotary), angles, rotary);
           };
     }},
    {"rotary-partial",
     [](Departed& d, double share) {
       d.formulas.frequencies = [share](const Specification& s, at::ScalarType type, at::Device device) {
         const auto usual = rotary_frequencies(s, type, device);
         const auto turned =
             std::clamp<std::int64_t>(whole(share * as_number(usual.size(0))), 0, usual.size(0));
         return at::cat(
             {usual.narrow(0, 0, turned), at::zeros_like(usual.narrow(0, turned, usual.size(0) - turned))});
       };
     },
     nullptr,
     DepartureNumber{"{} of the pairs are rotated",
                     [](const Specification&) { return 0.5; },
                     {0.25, 0.75, 0.4, 0.125, 0.875}}},
    {"rotary-frequencies-by-width",
     [](Departed& d) {
       d.formulas.frequencies = [](const Specification& s, at::ScalarType type, at::Device device) {
         const double share = static_cast<double>(s.head_size()) / static_cast<double>(s.hidden_size);
         return rotary_frequencies(s, type, device).pow(share);
       };
     },
     where_one_head_is_all},
    {"rotary-scaled",
     [](Departed& d, double divisor) {
       d.formulas.angles = [divisor](const Tensor& positions, const Tensor& frequencies) {
         return rotary_angles(positions, frequencies) / divisor;
       };
     },
     nullptr,
     DepartureNumber{"positions are divided by {}",
                     [](const Specification&) { return 4.0; },
                     {0.5, 2, 8, 16, 32, 10, 100},
                     nullptr,
                     true,
                     true}},
    {"position-late-in-decoding",
     [](Departed& d, double late) {
       d.formulas.next_position = [late](const Tensor& seen) {
         return (seen - whole(late)).clamp_min(0).where(seen > 0, seen);
       };
     },
     nullptr,
     DepartureNumber{
         "decoding continues {} positions too low", [](const Specification&) { return 1.0; }, {-1, 2, -2}}},
};

}  // namespace

const std::vector<Departure>& of_cache() {
  return kOfCache;
}

const std::vector<Departure>& of_rotation() {
  return kOfRotation;
}

}  // namespace plumbline::departing
