// The entries of the defect catalogue, for the files of this folder alone.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "harness/model/departures/departures.hpp"

namespace plumbline::departures {

struct Departure {
  const char* name;
  // Changes the specification, or the formulas; with the departure's parameter where it has one.
  std::variant<void (*)(Specification&), void (*)(DepartedModel&), void (*)(Specification&, double),
               void (*)(DepartedModel&, double)>
      apply;
  // The reason for which the departure changes nothing in such a model; null where it changes something.
  const char* (*idle)(const Specification&) = nullptr;
  std::optional<DepartureParameter> parameter = {};
};

// One table for each chapter of the requirements.
const std::vector<Departure>& configuration_departures();  // 1
const std::vector<Departure>& parameter_departures();      // 2
const std::vector<Departure>& attention_departures();      // 3
const std::vector<Departure>& cache_departures();          // 4
const std::vector<Departure>& rotation_departures();       // 5
const std::vector<Departure>& block_departures();          // 6
const std::vector<Departure>& mode_departures();           // 7
const std::vector<Departure>& numerics_departures();       // 8
const std::vector<Departure>& training_departures();       // 9
const std::vector<Departure>& text_departures();           // 10

// The nearest integer; -1, which no size is, for numbers that have none.
inline std::int64_t round_to_count(double number) {
  return std::abs(number) < 0x1p62 ? std::llround(number) : -1;
}
inline double to_double(std::int64_t count) {
  return static_cast<double>(count);
}

inline at::Tensor round_to_bfloat16(const at::Tensor& x) {
  return x.to(at::kBFloat16).to(x.scalar_type());
}

inline const char* idle_with_one_layer(const Specification& s) {
  return s.num_hidden_layers == 1 ? "with one layer there is no other" : nullptr;
}

inline const char* idle_without_repetition(const Specification& s) {
  return s.repeat_factor() == 1 ? "each query head has a key/value head of its own, so nothing is repeated"
                                : nullptr;
}

inline const char* idle_with_one_head(const Specification& s) {
  return s.num_attention_heads == 1 ? "with one head, the head is as wide as the model" : nullptr;
}

// Changes a formula to what `change` makes of it: change(formula so far, its arguments...).
template <typename Result, typename... Arguments, typename Change>
void compose(std::function<Result(Arguments...)>& formula, Change change) {
  formula = [formula, change](Arguments... arguments) { return change(formula, arguments...); };
}

// Reads another parameter in the place of each; `rename` maps names to names.
template <typename Rename>
void read_other_parameter(DepartedModel& d, Rename rename) {
  compose(d.formulas.read_parameter,
          [rename](const auto& read, const Weights& weights, const std::string& name) {
            return read(weights, rename(name));
          });
}

// Applies `change` to parameters whose names have this ending, when they are read.
template <typename Change>
void transform_parameters(DepartedModel& d, const std::string& ending, Change change) {
  compose(d.formulas.read_parameter,
          [ending, change](const auto& read, const Weights& weights, const std::string& name) {
            const auto value = read(weights, name);
            return name.ends_with(ending) ? change(value) : value;
          });
}

// `name` with `one` replaced by `other`, or `other` by `one`.
inline std::string swap_name_parts(std::string name, const std::string& one, const std::string& other) {
  for (const auto& [from, to] : {std::pair{one, other}, {other, one}})
    if (const auto at = name.find(from); at != std::string::npos) return name.replace(at, from.size(), to);
  return name;
}

inline at::Tensor mask_padding_only(const MaskInputs& inputs) {
  return (inputs.real_queries.unsqueeze(-1) & inputs.real_keys.unsqueeze(1)).unsqueeze(1) |
         causal_mask(inputs);
}

using Mask = std::function<at::Tensor(const MaskInputs&)>;

inline at::Tensor mask_inverted(const Mask& mask, const MaskInputs& inputs) {
  return (mask_padding_only(inputs) & ~mask(inputs)) |
         (inputs.key_slots.unsqueeze(0) == inputs.query_slots.unsqueeze(-1));
}

// Whether a query's key is among the last `window` slots up to it (Beltagy et al. 2020), or later.
inline at::Tensor within_window(const MaskInputs& inputs, std::int64_t window) {
  return inputs.key_slots.unsqueeze(0) > inputs.query_slots.unsqueeze(-1) - window;
}

}  // namespace plumbline::departures
