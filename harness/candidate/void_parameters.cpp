#include "harness/candidate/void_parameters.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace plumbline {
namespace {

// The block that a parameter belongs to, "model.layers.3.mlp."; empty: none.
std::string block_of(const std::string& name) {
  for (const std::string inside : {".self_attn.", ".mlp."})
    if (const auto at = name.find(inside); at != std::string::npos && name.starts_with("model.layers."))
      return name.substr(0, at + inside.size());
  return "";
}

// What the block adds to the residual stream goes through this alone, and its bias.
bool is_output(const std::string& name) {
  const auto block = block_of(name);
  return !block.empty() && (name == block + "o_proj.weight" || name == block + "down_proj.weight");
}

std::optional<at::Tensor> void_value(const std::string& name, const Weights& weights) {
  const auto& values = weights.at(name);
  if (name.ends_with(".bias")) return at::zeros_like(values);
  if (name.ends_with("norm.weight")) return at::ones_like(values);
  const auto embedding = weights.find(kEmbedding);
  if (name == kHead && embedding != weights.end() && embedding->second.sizes() == values.sizes())
    return embedding->second.to(values.options()).clone();
  return std::nullopt;
}

// The blocks of which `names` has every parameter that `weights` has.
std::set<std::string> whole_blocks(const Weights& weights, const std::set<std::string>& names) {
  std::set<std::string> whole, broken;
  for (const auto& [name, values] : weights)
    if (const auto block = block_of(name); !block.empty())
      (names.contains(name) ? whole : broken).insert(block);
  std::erase_if(whole, [&](const std::string& block) { return broken.contains(block); });
  return whole;
}

}  // namespace

std::set<std::string> missing_parameters(const Specification& specification,
                                         const std::vector<ParameterDescription>& parameters) {
  std::set<std::string> missing;
  for (const auto& parameter : specification.parameters()) missing.insert(parameter.name);
  for (const auto& parameter : parameters) missing.erase(parameter.name);
  return missing;
}

Weights make_void(Weights weights, const std::set<std::string>& absent) {
  const auto blocks = whole_blocks(weights, absent);
  for (const auto& name : absent) {
    const auto found = weights.find(name);
    if (found == weights.end()) continue;
    if (const auto value = void_value(name, weights))
      found->second = *value;
    else if (is_output(name) && blocks.contains(block_of(name)))
      found->second = at::zeros_like(found->second);
  }
  return weights;
}

std::optional<std::string> find_not_void(const Weights& weights, const std::set<std::string>& names) {
  auto void_blocks = whole_blocks(weights, names);
  for (const auto& [name, values] : weights)
    if (is_output(name) && (values != 0).any().item<bool>()) void_blocks.erase(block_of(name));
  for (const auto& name : names) {
    if (void_blocks.contains(block_of(name)) && !name.ends_with(".bias")) continue;
    const auto value = void_value(name, weights);
    if (!value || !value->equal(weights.at(name))) return name;
  }
  return std::nullopt;
}

Weights fit_weights(const Weights& weights, const std::vector<ParameterDescription>& parameters,
                    const Weights& before) {
  Weights all;
  std::set<std::string> surplus, missing;
  for (const auto& [name, values] : weights)
    if (name != kHead) missing.insert(name);
  for (const auto& parameter : parameters) {
    missing.erase(parameter.name);
    const auto found = weights.find(parameter.name);
    if (found == weights.end()) {
      surplus.insert(parameter.name);
      const auto old = before.find(parameter.name);
      all[parameter.name] =
          old == before.end() ? at::zeros(parameter.shape) : old->second.to(at::kCPU, at::kFloat);
    } else if (found->second.sizes() == at::IntArrayRef(parameter.shape)) {
      all[parameter.name] = found->second;
    } else {
      throw NotShown(fmt::format("its parameter {} has shape {}, but the specification has {}",
                                 parameter.name, shape_of(parameter.shape), shape_of(found->second.sizes())));
    }
  }
  if (const auto name = find_not_void(weights, missing))
    throw NotShown(fmt::format("it has no parameter {}", *name));
  all = make_void(std::move(all), surplus);
  if (const auto name = find_not_void(all, surplus); name && !before.contains(*name))
    throw NotShown(fmt::format("its parameter {} has no counterpart in the specification", *name));
  return all;
}

}  // namespace plumbline
