#include "harness/model/departures/departure.hpp"

namespace plumbline::departures {
namespace {

using at::Tensor;

const char* idle_with_one_pair(const Specification& s) {
  return s.head_size() == 2 ? "with one pair of coordinates there is one frequency, 1" : nullptr;
}

const char* idle_without_broadcast(const Specification& s) {
  return s.num_attention_heads == 1 ? "with one head there is nothing to broadcast over" : nullptr;
}

template <typename Change>
void change_rotation(DepartedModel& d, Change change) {
  compose(d.formulas.rotate_query, change);
  compose(d.formulas.rotate_key, change);
}

// As rotate(), with the cosines and sines of a table in bfloat16.
Tensor rotate_by_rounded_table(const Tensor& x, const Tensor& angles, Rotary rotary) {
  const auto cos = round_to_bfloat16(angles.cos()), sin = round_to_bfloat16(angles.sin());
  const bool halves = rotary == Rotary::halves;
  const auto pairs = halves ? x.unflatten(-1, {2, -1}) : x.unflatten(-1, {-1, 2}).transpose(-2, -1);
  const auto wide = pairs.to(angles.scalar_type());
  const auto first = wide.select(-2, 0), second = wide.select(-2, 1);
  const auto turned = at::stack({first * cos - second * sin, second * cos + first * sin}, -2);
  return (halves ? turned : turned.transpose(-2, -1)).flatten(-2).to(x.scalar_type());
}

// Rotates, and takes of each pair the first coordinate by one angle and the second by another.
template <typename Rotate>
Tensor rotate_by_two_angles(const Rotate& rotate, const Tensor& x, const Tensor& first, const Tensor& second,
                            Rotary rotary) {
  const auto of_first = rotate(x, first, rotary), of_second = rotate(x, second, rotary);
  const auto half = x.size(-1) / 2;
  if (rotary == Rotary::halves)
    return at::cat({of_first.narrow(-1, 0, half), of_second.narrow(-1, half, half)}, -1);
  return at::stack({of_first.slice(-1, 0, at::nullopt, 2), of_second.slice(-1, 1, at::nullopt, 2)}, -1)
      .flatten(-2);
}

// Each coordinate's angle from the table of the other pairing: neighbours where halves are rotated.
template <typename Rotate>
Tensor rotate_by_mixed_tables(const Rotate& rotate, const Tensor& x, const Tensor& angles, Rotary rotary) {
  const auto pairs = angles.size(-1);
  if (rotary == Rotary::halves) {
    const auto table = angles.repeat_interleave(2, -1);
    return rotate_by_two_angles(rotate, x, table.narrow(-1, 0, pairs), table.narrow(-1, pairs, pairs),
                                rotary);
  }
  const auto table = at::cat({angles, angles}, -1);
  return rotate_by_two_angles(rotate, x, table.slice(-1, 0, at::nullopt, 2),
                              table.slice(-1, 1, at::nullopt, 2), rotary);
}

template <typename Change>
void change_angles(DepartedModel& d, Change change) {
  compose(d.formulas.angles,
          [change](const auto& angles, const Tensor& positions, const Tensor& frequencies) {
            return change(angles(positions, frequencies));
          });
}

template <typename Change>
void change_positions(DepartedModel& d, Change change) {
  compose(d.formulas.angles,
          [change](const auto& angles, const Tensor& positions, const Tensor& frequencies) {
            return angles(change(positions), frequencies);
          });
}

template <typename Change>
void change_cache_entry(DepartedModel& d, Change change) {
  compose(d.formulas.cache_entry,
          [change](const auto& entry_of, const Tensor& entry, const Tensor& before_rotation,
                   std::int64_t factor) { return change(entry_of(entry, before_rotation, factor), factor); });
}

// The first slot is never written and always seen: entries stand one slot later.
void leave_first_slot_empty(DepartedModel& d) {
  d.formulas.fits = [](std::int64_t length, std::int64_t capacity) { return length < capacity; };
  compose(d.formulas.write_slot,
          [](const auto& write_slot, std::int64_t length) { return write_slot(length) + 1; });
  compose(d.formulas.readable_slots,
          [](const auto& readable_slots, std::int64_t length, std::int64_t capacity) {
            return std::min(readable_slots(length, capacity) + 1, capacity);
          });
  compose(d.formulas.attention_mask, [](const Mask& mask, const MaskInputs& inputs) {
    if (!inputs.cached) return mask(inputs);
    auto later = inputs;
    later.query_slots = inputs.query_slots + 1;
    later.real_keys =
        at::constant_pad_nd(inputs.real_keys.narrow(1, 0, inputs.real_keys.size(1) - 1), {1, 0}, /*value=*/1);
    return mask(later);
  });
}

void limit_window_in_cache(DepartedModel& d, std::int64_t window) {
  compose(d.formulas.attention_mask, [window](const Mask& mask, const MaskInputs& inputs) {
    return inputs.cached ? mask(inputs) & within_window(inputs, window) : mask(inputs);
  });
}

// Chapter 4: KV cache.
const std::vector<Departure> kCacheDepartures = {
    {"cache-repeated", [](DepartedModel& d) { change_cache_entry(d, repeat_kv); }, idle_without_repetition},
    {"cache-unrotated",
     [](DepartedModel& d) {
       compose(d.formulas.cache_entry,
               [](const auto& entry_of, const Tensor&, const Tensor& before_rotation, std::int64_t factor) {
                 return entry_of(before_rotation, before_rotation, factor);
               });
     }},
    {"cache-slot-late",
     [](DepartedModel& d) {
       d.formulas.write_slot = [](std::int64_t length) { return std::max<std::int64_t>(length - 1, 0); };
     }},
    {"cache-reads-unwritten",
     [](DepartedModel& d) {
       compose(d.formulas.readable_slots,
               [](const auto& readable_slots, std::int64_t length, std::int64_t capacity) {
                 return std::min(readable_slots(length, capacity) + 1, capacity);
               });
       compose(d.formulas.attention_mask, [](const Mask& mask, const MaskInputs& inputs) {
         return mask(inputs) | (inputs.key_slots.unsqueeze(0) > inputs.query_slots.max());
       });
     }},
    {"cache-window-64", [](DepartedModel& d) { limit_window_in_cache(d, 64); }},
    {"cache-window-256", [](DepartedModel& d) { limit_window_in_cache(d, 256); }},
    {"cache-dropped",
     [](DepartedModel& d) {
       compose(d.formulas.attention_mask, [](const Mask& mask, const MaskInputs& inputs) {
         const auto own = inputs.key_slots >= inputs.query_slots.min();
         return inputs.cached ? mask(inputs) & own.unsqueeze(0) : mask(inputs);
       });
     }},
    {"cache-refuses-last-slot",
     [](DepartedModel& d) {
       d.formulas.fits = [](std::int64_t length, std::int64_t capacity) { return length < capacity; };
     }},
    {"cache-shared-by-layers",
     [](DepartedModel& d) { d.formulas.cache_layer = [](std::int64_t) { return 0; }; }, idle_with_one_layer},
    {"cache-shared-by-rows",
     [](DepartedModel& d) {
       change_cache_entry(
           d, [](const Tensor& entry, std::int64_t) { return entry.narrow(0, 0, 1).expand_as(entry); });
     }},
    {"cache-bfloat16",
     [](DepartedModel& d) {
       change_cache_entry(d, [](const Tensor& entry, std::int64_t) { return round_to_bfloat16(entry); });
     }},
    {"cache-first-slot-empty", leave_first_slot_empty},
};

// Chapter 5: RoPE.
const std::vector<Departure> kRotationDepartures = {
    {"rotary-other-pairing",
     [](Specification& s) { s.rotary = s.rotary == Rotary::halves ? Rotary::pairs : Rotary::halves; }},
    {"rotary-backwards",
     [](DepartedModel& d) { change_angles(d, [](const Tensor& angles) { return -angles; }); }},
    {"rotary-keys-unrotated",
     [](DepartedModel& d) {
       d.formulas.rotate_key = [](const Tensor& x, const Tensor&, Rotary) { return x; };
     }},
    {"rotary-on-values",
     [](DepartedModel& d) {
       const auto rotary = d.specification.rotary;
       compose(d.formulas.transform_value,
               [rotary](const auto& transform, const Tensor& v, const Tensor& angles) {
                 return rotate(transform(v, angles), angles, rotary);
               });
     }},
    {"rotary-bfloat16-table",
     [](DepartedModel& d) { d.formulas.rotate_query = d.formulas.rotate_key = rotate_by_rounded_table; }},
    {"rotary-table-zero",
     [](DepartedModel& d) {
       change_rotation(d, [](const auto&, const Tensor& x, const Tensor&, Rotary) { return x * 0; });
     }},
    {"rotary-none",
     [](DepartedModel& d) {
       compose(d.formulas.frequencies,
               [](const auto& frequencies_of, const Specification& s, at::ScalarType type,
                  at::Device device) { return at::zeros_like(frequencies_of(s, type, device)); });
     }},
    {"rotary-queries-late",
     [](DepartedModel& d) {
       compose(d.formulas.query_positions,
               [](const auto& query_positions, const Tensor& positions, bool cached) {
                 const auto own = query_positions(positions, cached);
                 return cached ? own + positions.size(1) : own;
               });
     }},
    {"rotary-bfloat16-angles", [](DepartedModel& d) { change_angles(d, round_to_bfloat16); }},
    {"rotary-over-heads",
     [](DepartedModel& d) {
       // Over heads instead of positions wherever the counts agree, so that no error is raised.
       change_rotation(d, [](const auto& rotate, const Tensor& x, const Tensor& angles, Rotary rotary) {
         return rotate(x, x.size(1) == x.size(2) ? angles.transpose(1, 2) : angles, rotary);
       });
     },
     idle_without_broadcast},
    {"position-restarts",
     [](DepartedModel& d) {
       d.formulas.next_position = [](const Tensor& seen, std::int64_t, std::int64_t) {
         return at::zeros_like(seen);
       };
     }},
    {"rotary-from-position-1",
     [](DepartedModel& d) { change_positions(d, [](const Tensor& positions) { return positions + 1; }); }},
    {"rotary-twice",
     [](DepartedModel& d) {
       change_rotation(d, [](const auto& rotate, const Tensor& x, const Tensor& angles, Rotary rotary) {
         return rotate(rotate(x, angles, rotary), angles, rotary);
       });
     }},
    {"rotary-partial",
     [](DepartedModel& d, double share) {
       compose(d.formulas.frequencies, [share](const auto& frequencies_of, const Specification& s,
                                               at::ScalarType type, at::Device device) {
         const auto frequencies = frequencies_of(s, type, device);
         const auto turned = std::clamp<std::int64_t>(round_to_count(share * to_double(frequencies.size(0))),
                                                      0, frequencies.size(0));
         return at::cat({frequencies.narrow(0, 0, turned),
                         at::zeros_like(frequencies.narrow(0, turned, frequencies.size(0) - turned))});
       });
     },
     nullptr,
     DepartureParameter{"{} of the pairs are rotated",
                        [](const Specification&) { return 0.5; },
                        {0.25, 0.75, 0.4, 0.125, 0.875}}},
    {"rotary-frequencies-by-width",
     [](DepartedModel& d) {
       compose(d.formulas.frequencies, [](const auto& frequencies_of, const Specification& s,
                                          at::ScalarType type, at::Device device) {
         const double share = static_cast<double>(s.head_size()) / static_cast<double>(s.hidden_size);
         return frequencies_of(s, type, device).pow(share);
       });
     },
     idle_with_one_head},
    {"rotary-scaled",
     [](DepartedModel& d, double divisor) {
       change_angles(d, [divisor](const Tensor& angles) { return angles / divisor; });
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
       change_positions(d, [last = round_to_count(rows) - 1](const Tensor& positions) {
         return positions.clamp_max(last);
       });
     },
     nullptr,
     DepartureParameter{"the table of rotations has {} rows, and later positions use the last",
                        [](const Specification&) { return 340.0; },
                        {128, 256, 1024, 2048}}},
    {"position-late-in-decoding",
     [](DepartedModel& d, double offset) {
       compose(d.formulas.next_position, [offset](const auto& next_position, const Tensor& seen,
                                                  std::int64_t slots, std::int64_t passes) {
         const auto next = next_position(seen, slots, passes);
         return (next - round_to_count(offset)).clamp_min(0).where(seen > 0, next);
       });
     },
     nullptr,
     DepartureParameter{
         "decoding continues {} positions too low", [](const Specification&) { return 1.0; }, {-1, 2, -2}}},
    {"position-counts-padding",
     [](DepartedModel& d) {
       compose(d.formulas.next_position,
               [](const auto& next_position, const Tensor& seen, std::int64_t slots, std::int64_t passes) {
                 return next_position(at::full_like(seen, slots), slots, passes);
               });
     }},
    {"position-counts-passes",
     [](DepartedModel& d) {
       compose(d.formulas.next_position,
               [](const auto& next_position, const Tensor& seen, std::int64_t slots, std::int64_t passes) {
                 return next_position(at::full_like(seen, passes), slots, passes);
               });
     }},
    {"rotary-exponent-halved",
     [](DepartedModel& d, double times) {
       compose(d.formulas.frequencies,
               [times](const auto& frequencies_of, const Specification& s, at::ScalarType type,
                       at::Device device) { return frequencies_of(s, type, device).pow(times); });
     },
     idle_with_one_pair,
     DepartureParameter{"the exponent of the frequencies is multiplied by {}",
                        [](const Specification&) { return 0.5; },
                        {2}}},
    {"rotary-tables-mixed",
     [](DepartedModel& d) {
       change_rotation(d, [](const auto& rotate, const Tensor& x, const Tensor& angles, Rotary rotary) {
         return rotate_by_mixed_tables(rotate, x, angles, rotary);
       });
     },
     idle_with_one_pair},
    {"rotary-minus-missing",
     [](DepartedModel& d) {
       change_rotation(d, [](const auto& rotate, const Tensor& x, const Tensor& angles, Rotary rotary) {
         return rotate_by_two_angles(rotate, x, -angles, angles, rotary);
       });
     }},
    {"rotary-cos-sin-swapped",
     [](DepartedModel& d) {
       // The sine of an angle is the cosine of what it lacks of a right angle.
       change_angles(d, [](const Tensor& angles) { return std::acos(0.0) - angles; });
     }},
};

}  // namespace

const std::vector<Departure>& cache_departures() {
  return kCacheDepartures;
}

const std::vector<Departure>& rotation_departures() {
  return kRotationDepartures;
}

}  // namespace plumbline::departures
