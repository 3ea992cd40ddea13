#include "harness/model/departures/departure.hpp"

namespace plumbline::departures {
namespace {

using at::Tensor;

const char* idle_without_broadcast(const Specification& s) {
  return s.num_attention_heads == 1 ? "with one head there is nothing to broadcast over" : nullptr;
}

// Broadcasts angles over heads instead of positions wherever the counts agree, so that no error is raised.
Tensor rotate_over_heads(const Tensor& x, const Tensor& angles, Rotary rotary) {
  return rotate(x, x.size(1) == x.size(2) ? angles.transpose(1, 2) : angles, rotary);
}

Tensor leave_unrotated(const Tensor& x, const Tensor&, Rotary) {
  return x;
}

Tensor mask_with_unwritten_slots(const MaskInputs& inputs) {
  const auto unwritten = inputs.key_slots.unsqueeze(0) > inputs.query_slots.max();
  return causal_mask(inputs) | unwritten;
}

Tensor mask_window_in_cache(const MaskInputs& inputs, std::int64_t window) {
  return inputs.cached ? mask_window(inputs, window) : causal_mask(inputs);
}

// Chapter 4: KV cache.
const std::vector<Departure> kCacheDepartures = {
    {"cache-repeated",
     [](DepartedModel& d) {
       d.formulas.cache_entry = [](const Tensor& entry, const Tensor&, std::int64_t factor) {
         return repeat_kv(entry, factor);
       };
     },
     idle_without_repetition},
    {"cache-unrotated",
     [](DepartedModel& d) {
       d.formulas.cache_entry = [](const Tensor&, const Tensor& before_rotation, std::int64_t) {
         return before_rotation;
       };
     }},
    {"cache-slot-late",
     [](DepartedModel& d) {
       d.formulas.write_slot = [](std::int64_t length) { return std::max<std::int64_t>(length - 1, 0); };
     }},
    {"cache-reads-unwritten",
     [](DepartedModel& d) {
       d.formulas.readable_slots = [](std::int64_t length, std::int64_t capacity) {
         return std::min(length + 1, capacity);
       };
       d.formulas.attention_mask = mask_with_unwritten_slots;
     }},
    {"cache-window-64",
     [](DepartedModel& d) {
       d.formulas.attention_mask = [](const MaskInputs& inputs) { return mask_window_in_cache(inputs, 64); };
     }},
    {"cache-window-256",
     [](DepartedModel& d) {
       d.formulas.attention_mask = [](const MaskInputs& inputs) { return mask_window_in_cache(inputs, 256); };
     }},
    {"cache-refuses-last-slot",
     [](DepartedModel& d) {
       d.formulas.fits = [](std::int64_t length, std::int64_t capacity) { return length < capacity; };
     }},
    {"cache-shared-by-layers",
     [](DepartedModel& d) { d.formulas.cache_layer = [](std::int64_t) { return 0; }; }, idle_with_one_layer},
    {"cache-shared-by-rows",
     [](DepartedModel& d) {
       d.formulas.cache_entry = [](const Tensor& entry, const Tensor&, std::int64_t) {
         return entry.narrow(0, 0, 1).expand_as(entry);
       };
     }},
    {"cache-bfloat16",
     [](DepartedModel& d) {
       d.formulas.cache_entry = [](const Tensor& entry, const Tensor&, std::int64_t) {
         return round_to_bfloat16(entry);
       };
     }},
};

// Chapter 5: RoPE.
const std::vector<Departure> kRotationDepartures = {
    {"rotary-other-pairing",
     [](Specification& s) { s.rotary = s.rotary == Rotary::halves ? Rotary::pairs : Rotary::halves; }},
    {"rotary-backwards",
     [](DepartedModel& d) {
       d.formulas.angles = [](const Tensor& positions, const Tensor& frequencies) {
         return -rotary_angles(positions, frequencies);
       };
     }},
    {"rotary-keys-unrotated", [](DepartedModel& d) { d.formulas.rotate_key = leave_unrotated; }},
    {"rotary-on-values",
     [](DepartedModel& d) {
       const auto rotary = d.specification.rotary;
       d.formulas.transform_value = [rotary](const Tensor& v, const Tensor& angles) {
         return rotate(v, angles, rotary);
       };
     }},
    {"rotary-bfloat16-angles",
     [](DepartedModel& d) {
       d.formulas.angles = [](const Tensor& positions, const Tensor& frequencies) {
         return round_to_bfloat16(rotary_angles(positions, frequencies));
       };
     }},
    {"rotary-over-heads",
     [](DepartedModel& d) { d.formulas.rotate_query = d.formulas.rotate_key = rotate_over_heads; },
     idle_without_broadcast},
    {"position-restarts",
     [](DepartedModel& d) {
       d.formulas.next_position = [](const Tensor& seen) { return at::zeros_like(seen); };
     }},
    {"rotary-from-position-1",
     [](DepartedModel& d) {
       d.formulas.angles = [](const Tensor& positions, const Tensor& frequencies) {
         return rotary_angles(positions + 1, frequencies);
       };
     }},
    {"rotary-twice",
     [](DepartedModel& d) {
       d.formulas.rotate_query =
           d.formulas.rotate_key = [](const Tensor& x, const Tensor& angles, Rotary rotary) {
             return rotate(rotate(x, angles, rotary), angles, rotary);
           };
     }},
    {"rotary-partial",
     [](DepartedModel& d, double share) {
       d.formulas.frequencies = [share](const Specification& s, at::ScalarType type, at::Device device) {
         const auto frequencies = rotary_frequencies(s, type, device);
         const auto turned = std::clamp<std::int64_t>(round_to_count(share * to_double(frequencies.size(0))),
                                                      0, frequencies.size(0));
         return at::cat({frequencies.narrow(0, 0, turned),
                         at::zeros_like(frequencies.narrow(0, turned, frequencies.size(0) - turned))});
       };
     },
     nullptr,
     DepartureParameter{"{} of the pairs are rotated",
                        [](const Specification&) { return 0.5; },
                        {0.25, 0.75, 0.4, 0.125, 0.875}}},
    {"rotary-frequencies-by-width",
     [](DepartedModel& d) {
       d.formulas.frequencies = [](const Specification& s, at::ScalarType type, at::Device device) {
         const double share = static_cast<double>(s.head_size()) / static_cast<double>(s.hidden_size);
         return rotary_frequencies(s, type, device).pow(share);
       };
     },
     idle_with_one_head},
    {"rotary-scaled",
     [](DepartedModel& d, double divisor) {
       d.formulas.angles = [divisor](const Tensor& positions, const Tensor& frequencies) {
         return rotary_angles(positions, frequencies) / divisor;
       };
     },
     nullptr,
     DepartureParameter{"positions are divided by {}",
                        [](const Specification&) { return 4.0; },
                        {0.5, 2, 8, 16, 32, 10, 100},
                        nullptr,
                        true,
                        true}},
    {"rotary-table-ends",
     [](DepartedModel& d, double rows) {
       d.formulas.angles = [last = round_to_count(rows) - 1](const Tensor& positions,
                                                             const Tensor& frequencies) {
         return rotary_angles(positions.clamp_max(last), frequencies);
       };
     },
     nullptr,
     DepartureParameter{"the table of rotations has {} rows, and later positions use the last",
                        [](const Specification&) { return 340.0; },
                        {128, 256, 1024, 2048}}},
    {"position-late-in-decoding",
     [](DepartedModel& d, double offset) {
       d.formulas.next_position = [offset](const Tensor& seen) {
         return (seen - round_to_count(offset)).clamp_min(0).where(seen > 0, seen);
       };
     },
     nullptr,
     DepartureParameter{
         "decoding continues {} positions too low", [](const Specification&) { return 1.0; }, {-1, 2, -2}}},
};

}  // namespace

const std::vector<Departure>& cache_departures() {
  return kCacheDepartures;
}

const std::vector<Departure>& rotation_departures() {
  return kRotationDepartures;
}

}  // namespace plumbline::departures
