// What the parts of the defect catalogue are written with. Its reader is
// harness/model/departures/departures.cpp alone.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "harness/model/departures/departures.hpp"

namespace plumbline::departing {

struct Departure {
  const char* name;
  // Other numbers, or other formulas; by a number where it has one.
  std::variant<void (*)(Specification&), void (*)(Departed&), void (*)(Specification&, double),
               void (*)(Departed&, double)>
      apply;
  // Why other formulas compute the same in such a model; null where they do not.
  const char* (*idle)(const Specification&) = nullptr;
  std::optional<DepartureNumber> number = {};
};

// One line or a few for each: what is not what the specification says. A table for each chapter.
const std::vector<Departure>& of_configuration();  // 1
const std::vector<Departure>& of_parameters();     // 2
const std::vector<Departure>& of_attention();      // 3
const std::vector<Departure>& of_cache();          // 4
const std::vector<Departure>& of_rotation();       // 5
const std::vector<Departure>& of_blocks();         // 6
const std::vector<Departure>& of_modes();          // 7
const std::vector<Departure>& of_numerics();       // 8
const std::vector<Departure>& of_training();       // 9
const std::vector<Departure>& of_text();           // 10

// The nearest; one that is no size stays none.
inline std::int64_t whole(double number) {
  return std::abs(number) < 0x1p62 ? std::llround(number) : -1;
}
inline double as_number(std::int64_t count) {
  return static_cast<double>(count);
}

inline at::Tensor through_bfloat16(const at::Tensor& x) {
  return x.to(at::kBFloat16).to(x.scalar_type());
}

inline const char* where_one_layer_is_all(const Specification& s) {
  return s.num_hidden_layers == 1 ? "with one layer there is no other" : nullptr;
}

inline const char* where_nothing_repeats(const Specification& s) {
  return s.repeat_factor() == 1 ? "each query head has a key/value head of its own, so nothing is repeated"
                                : nullptr;
}

inline const char* where_one_head_is_all(const Specification& s) {
  return s.num_attention_heads == 1 ? "with one head, the head is as wide as the model" : nullptr;
}

// The code reads another parameter: `where` gives its name.
template <typename Where>
void read_elsewhere(Departed& d, Where where) {
  d.formulas.read = [read = d.formulas.read, where](const Weights& weights, const std::string& name) {
    return read(weights, where(name));
  };
}

// The code reads parameters whose names end so as `change` leaves them.
template <typename Change>
void read_changed(Departed& d, const std::string& ending, Change change) {
  d.formulas.read = [read = d.formulas.read, ending, change](const Weights& weights,
                                                             const std::string& name) {
    const auto value = read(weights, name);
    return name.ends_with(ending) ? change(value) : value;
  };
}

// The name with one part in the place of the other, wherever it has either.
inline std::string exchanged(std::string name, const std::string& one, const std::string& other) {
  for (const auto& [from, to] : {std::pair{one, other}, {other, one}})
    if (const auto at = name.find(from); at != std::string::npos) return name.replace(at, from.size(), to);
  return name;
}

inline at::Tensor mask_everything_visible(const Sight& sight) {
  return (sight.real_queries.unsqueeze(-1) & sight.real_keys.unsqueeze(1)).unsqueeze(1) | causal_mask(sight);
}

inline at::Tensor mask_inverted(const Sight& sight) {
  return (mask_everything_visible(sight) & ~causal_mask(sight)) |
         (sight.key_slots.unsqueeze(0) == sight.query_slots.unsqueeze(-1));
}

// Keys further back than so many slots are hidden.
inline at::Tensor mask_window(const Sight& sight, std::int64_t window) {
  return causal_mask(sight) & (sight.key_slots.unsqueeze(0) > sight.query_slots.unsqueeze(-1) - window);
}
// A mask that is wrong in training mode alone.
template <at::Tensor (*wrong)(const Sight&)>
void in_training(Departed& d) {
  d.formulas.mask = [](const Sight& sight) { return sight.training ? wrong(sight) : causal_mask(sight); };
}

}  // namespace plumbline::departing
