#include "harness/candidate/mapping.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "harness/candidate/void_parameters.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

constexpr std::string_view kLayer = "{layer}";
constexpr std::int64_t kMostLayers = 4096;

std::string with_layer(std::string text, std::int64_t layer) {
  const auto at = text.find(kLayer);
  return at == std::string::npos ? text : text.replace(at, kLayer.size(), std::to_string(layer));
}

bool names_layer(const std::string& text) {
  return text.find(kLayer) != std::string::npos;
}

bool are_integers(const Json& value, std::size_t count) {
  return value.is_array() && value.size() == count &&
         std::all_of(value.begin(), value.end(), [](const Json& item) { return item.is_int64(); });
}

// Applies one step of a line as a view of the tensor. Errors: c10::Error where it does not fit.
at::Tensor apply_step(const at::Tensor& tensor, const std::string& name, const Json& value) {
  if (name == "view") return tensor.view(value.get<std::vector<std::int64_t>>());
  if (name == "select") return tensor.select(value[0].get<std::int64_t>(), value[1].get<std::int64_t>());
  if (name == "slice")
    return tensor.narrow(value[0].get<std::int64_t>(), value[1].get<std::int64_t>(),
                         value[2].get<std::int64_t>());
  if (name == "flatten") {
    const auto from = at::maybe_wrap_dim(value[0].get<std::int64_t>(), tensor.dim()),
               to = at::maybe_wrap_dim(value[1].get<std::int64_t>(), tensor.dim());
    TORCH_CHECK(tensor.dim() > 0 && from <= to, "the axes to flatten do not exist");
    auto sizes = tensor.sizes().vec();
    std::int64_t joined = 1;
    for (auto axis = from; axis <= to; ++axis) joined *= sizes[static_cast<std::size_t>(axis)];
    sizes.erase(sizes.begin() + from, sizes.begin() + to + 1);
    sizes.insert(sizes.begin() + from, joined);
    return tensor.view(sizes);  // a view, never a copy: the result is written to
  }
  return tensor.transpose(-1, -2);
}

bool well_formed(const std::string& name, const Json& value) {
  if (name == "view")
    return value.is_array() && !value.empty() && value.size() <= 8 && are_integers(value, value.size());
  if (name == "select" || name == "flatten") return are_integers(value, 2);
  if (name == "slice") return are_integers(value, 3) && value[2].get<std::int64_t>() >= 1;
  return name == "transpose" && value == true;
}

constexpr std::array kSteps{"view", "select", "slice", "transpose", "flatten"};

}  // namespace

void Mapping::refuse(const std::string& canonical, const std::string& complaint) const {
  throw InputError(fmt::format("{}: mapping of '{}': {}", where_, printable(canonical), complaint));
}

const ParameterDescription* Mapping::find(const std::string& name) const {
  const auto alias = aliases_.find(name);
  const auto& real = alias == aliases_.end() ? name : alias->second;
  const auto found = std::find_if(candidate_parameters_.begin(), candidate_parameters_.end(),
                                  [&](const auto& parameter) { return parameter.name == real; });
  return found == candidate_parameters_.end() ? nullptr : &*found;
}

at::Tensor Mapping::view(at::Tensor tensor, const Part& part) {
  for (const auto& one : part.steps) {
    const auto& [name, value] = *one.items().begin();
    try {
      tensor = apply_step(tensor, name, value);
    } catch (const c10::Error&) {
      throw InputError(fmt::format("{}: step {} {} does not fit the shape {}", part.candidate_name, name,
                                   value.dump(), shape_of(tensor.sizes())));
    }
  }
  return tensor;
}

// Adds a line for one layer; false where the candidate does not have its tensors.
bool Mapping::add_layer(const std::string& canonical, const Json& value, std::int64_t layer) {
  Entry entry{with_layer(canonical, layer), {}};
  for (const auto& item : value.is_array() ? value : Json::array({value})) {
    const auto object = item.is_string() ? Json{{"from", item}} : item;
    if (!object.is_object() || !object.contains("from") || !object["from"].is_string())
      refuse(canonical, "expected the candidate's name, or an object with 'from'");
    const auto* own = find(with_layer(object["from"].get<std::string>(), layer));
    if (own == nullptr) return false;
    Part part{own->name, {}};
    for (const auto& [key, given] : object.items())
      if (key != "from" && std::find(kSteps.begin(), kSteps.end(), key) == kSteps.end())
        refuse(canonical,
               fmt::format("unknown step '{}'; known are {}", printable(key), fmt::join(kSteps, ", ")));
    for (const auto* key : kSteps) {
      if (!object.contains(key)) continue;
      auto given = object[key];
      if (key == std::string("select") && given.is_array() &&
          std::find(given.begin(), given.end(), kLayer) != given.end()) {
        // All layers are stacked in one tensor, whose axis gives their number.
        const auto sizes = object.value("view", Json(own->shape));
        const auto axis = given[0].is_int64() ? given[0].get<std::int64_t>() : 0;
        const auto dims = static_cast<std::int64_t>(sizes.size());
        const auto layers = axis < 0 ? axis + dims : axis;
        if (layers < 0 || layers >= dims || !sizes[layers].is_int64())
          refuse(canonical, fmt::format("axis {} is none of {}", axis, printable(sizes.dump(), 80)));
        if (layer >= sizes[layers].get<std::int64_t>()) return false;
        std::replace(given.begin(), given.end(), Json(kLayer), Json(layer));
      }
      if (!well_formed(key, given))
        refuse(canonical, fmt::format("'{}' is {}", key, printable(given.dump({.ascii = true}))));
      part.steps.push_back({{key, given}});
    }
    entry.parts.push_back(std::move(part));
  }
  if (entry.parts.empty()) refuse(canonical, "names nothing");
  entries_.push_back(std::move(entry));
  return true;
}

void Mapping::add(const std::string& canonical, const Json& value) {
  const auto text = value.dump({.ascii = true});
  std::int64_t layers = 0;
  if (!names_layer(canonical)) {
    if (names_layer(text))
      refuse(canonical, "the value contains {layer}, but the name does not; use it in both or in neither");
    if (!add_layer(canonical, value, 0))
      refuse(canonical, fmt::format("the candidate has no parameter {}", printable(text)));
    return;
  }
  if (!names_layer(text))
    refuse(canonical, "the name contains {layer}, but the value does not; use it in both or in neither");
  while (layers < kMostLayers && add_layer(canonical, value, layers)) ++layers;
  if (layers == 0) refuse(canonical, fmt::format("the candidate has no parameter {}", printable(text)));
}

Mapping::Mapping(const Json& lines, std::vector<ParameterDescription> candidate_parameters,
                 const std::vector<std::vector<std::string>>& tied, const std::string& where)
    : candidate_parameters_(std::move(candidate_parameters)), where_(where) {
  for (const auto& group : tied)
    for (const auto& name : group)
      if (name != group.front()) aliases_[name] = group.front();
  if (lines.is_null()) {
    // The candidate may list a tied matrix under either name.
    const auto embedding = aliases_.find(kEmbedding);
    for (const auto& parameter : candidate_parameters_) {
      const bool is_embedding = embedding != aliases_.end() && embedding->second == parameter.name;
      entries_.push_back({is_embedding ? kEmbedding : parameter.name, {{parameter.name, {}}}});
    }
  } else if (lines.is_object()) {
    for (const auto& [canonical, value] : lines.items()) add(canonical, value);
  } else {
    throw InputError(fmt::format("{}: 'mapping' has the wrong type; expected an object or null", where_));
  }
  describe();
}

void Mapping::describe() {
  std::map<std::string, at::Tensor> line_counts;  // how many lines name each element
  for (const auto& parameter : candidate_parameters_)
    line_counts[parameter.name] = at::zeros(parameter.shape, at::kByte);
  // Both names of a tied matrix may be mapped, to one parameter.
  std::erase_if(entries_, [&](const Entry& entry) {
    return entry.canonical == kHead && std::any_of(entries_.begin(), entries_.end(), [&](const Entry& other) {
             return other.canonical == kEmbedding && other.parts.size() == 1 && entry.parts.size() == 1 &&
                    other.parts[0].candidate_name == entry.parts[0].candidate_name &&
                    other.parts[0].steps == entry.parts[0].steps;
           });
  });
  for (const auto& entry : entries_) {
    std::vector<std::int64_t> shape;
    for (const auto& part : entry.parts) {
      auto place = view(line_counts.at(part.candidate_name), part);
      if ((place != 0).any().item<bool>())
        refuse(entry.canonical,
               fmt::format("another line already uses some elements of {}; use each element once",
                           printable(part.candidate_name)));
      place.add_(1);
      if (&part == &entry.parts.front()) {
        shape = place.sizes().vec();
        continue;
      }
      if (shape.empty() || place.sizes().slice(place.dim() > 0 ? 1 : 0) != at::IntArrayRef(shape).slice(1))
        refuse(
            entry.canonical,
            fmt::format("a part has shape {}, which cannot follow shape {}; only the first axis may differ",
                        shape_of(place.sizes()), shape_of(shape)));
      shape[0] += place.size(0);
    }
    parameters_.push_back({entry.canonical, shape, find(entry.parts[0].candidate_name)->type});
  }
  for (const auto& parameter : candidate_parameters_) {
    const auto& elements = line_counts.at(parameter.name);
    const auto missing = elements.numel() - elements.sum(at::kLong).item<std::int64_t>();
    if (missing == 0) continue;
    surplus_.push_back(parameter.name);
    if (missing == elements.numel())
      parameters_.push_back(parameter);
    else
      parameters_.push_back({fmt::format("{} (elements that no line of the mapping uses)", parameter.name),
                             {missing},
                             parameter.type});
  }
}

Weights Mapping::to_canonical(const Weights& own) const {
  Weights result;
  for (const auto& entry : entries_) {
    std::vector<at::Tensor> parts;
    for (const auto& part : entry.parts) parts.push_back(view(own.at(part.candidate_name), part));
    result[entry.canonical] = parts.size() == 1 ? parts[0].contiguous() : at::cat(parts, 0);
  }
  for (const auto& name : surplus_) result.emplace(name, own.at(name));
  return result;
}

NamedTensors Mapping::to_candidate(const Weights& given, const Weights& before) const {
  const std::vector<ParameterDescription> mapped(
      parameters_.begin(), parameters_.begin() + static_cast<std::ptrdiff_t>(entries_.size()));
  const auto values = fit_weights(given, mapped, to_canonical(before));
  std::map<std::string, at::Tensor> filled;
  for (const auto& parameter : candidate_parameters_) {
    const bool bias = parameter.name.ends_with("bias") || parameter.name.find(".bias_") != std::string::npos;
    const auto& old = before.at(parameter.name);
    filled[parameter.name] = bias ? at::zeros_like(old) : old.clone();
  }
  for (const auto& entry : entries_) {
    const auto& parameter = values.at(entry.canonical);
    std::int64_t begin = 0;
    for (const auto& part : entry.parts) {
      auto place = view(filled.at(part.candidate_name), part);
      place.copy_(entry.parts.size() == 1 ? parameter : parameter.narrow(0, begin, place.size(0)));
      if (entry.parts.size() > 1) begin += place.size(0);
    }
  }
  if (const auto head = unmapped_head(given)) filled.at(*head).copy_(given.at(kEmbedding));
  NamedTensors all;
  for (const auto& parameter : candidate_parameters_)
    all.emplace_back(parameter.name, filled.at(parameter.name));
  return all;
}

// The only unmapped parameter of the embedding's shape, which is taken for an untied head.
std::optional<std::string> Mapping::unmapped_head(const Weights& given) const {
  const auto embedding = given.find(kEmbedding);
  if (embedding == given.end() || given.contains(kHead)) return std::nullopt;
  std::vector<std::string> found;
  for (auto parameter = parameters_.begin() + static_cast<std::ptrdiff_t>(entries_.size());
       parameter != parameters_.end(); ++parameter)
    if (find(parameter->name) != nullptr && at::IntArrayRef(parameter->shape) == embedding->second.sizes())
      found.push_back(parameter->name);
  return found.size() == 1 ? std::optional(found.front()) : std::nullopt;
}

}  // namespace plumbline
