// A stage of a pass: one step, by what it computes and where. Documents and files know it by its name.
#pragma once

#include <fmt/format.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace plumbline {

struct Stage {
  std::string kind;                        // "scores"
  std::optional<std::int64_t> layer = {};  // empty: in none, as the embedding and the logits are
  bool operator==(const Stage&) const = default;
};

// By name, letter by letter, as results list stages: "layers.10.scores" before "layers.2.scores".
std::strong_ordering operator<=>(const Stage& a, const Stage& b);

// "layers.3.scores"; "logits".
std::string to_string(const Stage& stage);
// Any text is a name, since documents come from anywhere: what to_string() would not make of a layer is all
// kind, and in no layer.
Stage parse_stage(std::string_view name);

}  // namespace plumbline

template <>
struct fmt::formatter<plumbline::Stage> : fmt::formatter<std::string> {
  template <typename Context>
  auto format(const plumbline::Stage& stage, Context& context) const {
    return fmt::formatter<std::string>::format(plumbline::to_string(stage), context);
  }
};
