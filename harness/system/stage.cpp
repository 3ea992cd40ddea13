#include "harness/system/stage.hpp"

#include <charconv>

namespace plumbline {
namespace {

constexpr std::string_view kLayers = "layers.";

}  // namespace

std::strong_ordering operator<=>(const Stage& a, const Stage& b) {
  // Names are compared without being written where that can be: every pass looks up all its stages.
  if (a.layer == b.layer) return a.kind <=> b.kind;
  if (a.layer && b.layer) return std::to_string(*a.layer) <=> std::to_string(*b.layer);
  return to_string(a) <=> to_string(b);
}

std::string to_string(const Stage& stage) {
  return stage.layer ? fmt::format("{}{}.{}", kLayers, *stage.layer, stage.kind) : stage.kind;
}

Stage parse_stage(std::string_view name) {
  const Stage in_no_layer{std::string(name)};
  const auto dot = name.find('.', kLayers.size());
  if (!name.starts_with(kLayers) || dot == std::string_view::npos) return in_no_layer;
  std::int64_t layer = -1;
  std::from_chars(name.data() + kLayers.size(), name.data() + dot, layer);
  const Stage found{std::string(name.substr(dot + 1)), layer};
  return layer >= 0 && to_string(found) == name ? found : in_no_layer;
}

}  // namespace plumbline
