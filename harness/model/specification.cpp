#include "harness/model/specification.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

constexpr std::uint64_t kLargestFile = 1 << 20;
// Far above any model of this family, far below where the product of two sizes overflows 63 bits.
constexpr std::int64_t kLargestSize = 1 << 24;

const std::map<std::string, Rotary> kRotaries = {{"halves", Rotary::halves}, {"pairs", Rotary::pairs}};
const std::map<std::string, Activation> kActivations = {
    {"silu", Activation::silu}, {"gelu", Activation::gelu}, {"gelu_pytorch_tanh", Activation::gelu_tanh}};
const std::map<std::string, NormPrecision> kNormPrecisions = {{"float32", NormPrecision::float32},
                                                              {"model", NormPrecision::model}};
const std::map<std::string, Initialization> kInitializations = {
    {"linear", {}}, {"standard_normal", kStandardNormalEmbedding}};

template <typename Value>
std::string name_of(const std::map<std::string, Value>& names, Value value) {
  return std::find_if(names.begin(), names.end(), [&](const auto& entry) { return entry.second == value; })
      ->first;
}

// Reads the members of one JSON object. Errors: InputError naming file and key.
class ObjectReader {
 public:
  ObjectReader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object_.is_object()) throw InputError(where_ + ": expected a JSON object");
  }

  std::string text(const std::string& key) {
    const auto& value = at(key);
    if (!value.is_string()) refuse(key, "expected a string");
    return value.get<std::string>();
  }
  std::int64_t size(const std::string& key, std::int64_t largest = kLargestSize) {
    const auto& value = at(key);
    if (!value.is_integer() || (value.is_unsigned() && value.get<std::uint64_t>() > INT64_MAX))
      refuse(key, "expected a whole number");
    const auto number = value.get<std::int64_t>();
    if (number < 1 || number > largest)
      refuse(key, fmt::format("expected 1 to {}, found {}", largest, number));
    return number;
  }
  double number(const std::string& key) {
    const auto& value = at(key);
    if (!value.is_number()) refuse(key, "expected a number");
    return value.get<double>();
  }
  bool boolean(const std::string& key) {
    const auto& value = at(key);
    if (!value.is_boolean()) refuse(key, "expected true or false");
    return value.get<bool>();
  }
  template <typename Value>
  Value one_of(const std::string& key, const std::map<std::string, Value>& names) {
    const auto value = text(key);
    const auto found = names.find(value);
    if (found == names.end()) {
      std::vector<std::string> known;
      for (const auto& [name, unused] : names) known.push_back(name);
      refuse(key, fmt::format("expected one of {}, found '{}'", fmt::join(known, ", "), printable(value)));
    }
    return found->second;
  }
  bool is_text(const std::string& key) { return at(key).is_string(); }
  bool has(const std::string& key) const { return object_.contains(key); }
  const Json& member(const std::string& key) { return at(key); }

  void refuse_unknown_keys() const {
    for (const auto& [key, value] : object_.items())
      if (!seen_.contains(key)) refuse(key, "unknown key; see fixtures/specifications for the known ones");
  }
  [[noreturn]] void refuse(const std::string& key, const std::string& complaint) const {
    throw InputError(fmt::format("{}: '{}': {}", where_, printable(key), complaint));
  }

 private:
  const Json& at(const std::string& key) {
    seen_.insert(key);
    if (!object_.contains(key)) refuse(key, "is missing");
    return object_.at(key);
  }
  const Json& object_;
  std::string where_;
  std::set<std::string> seen_;
};

}  // namespace

std::string to_string(Rotary rotary) {
  return name_of(kRotaries, rotary);
}
std::string to_string(Activation activation) {
  return name_of(kActivations, activation);
}
std::string to_string(NormPrecision precision) {
  return name_of(kNormPrecisions, precision);
}

double Distribution::deviation(std::int64_t columns) const {
  return uniform() ? 1 / std::sqrt(3 * static_cast<double>(columns)) : normal;
}

bool writes_residual(const std::string& parameter) {
  return parameter.ends_with(".o_proj.weight") || parameter.ends_with(".down_proj.weight");
}

const Distribution& Initialization::of(const std::string& parameter) const {
  return parameter == kEmbedding      ? embedding
         : parameter == kHead         ? head
         : writes_residual(parameter) ? residual
                                      : linear;
}

std::int64_t derived_intermediate_size(std::int64_t hidden_size) {
  const std::int64_t two_thirds_of_four = hidden_size * 8 / 3;
  return (two_thirds_of_four + 63) / 64 * 64;
}

std::vector<ParameterShape> Specification::parameters() const {
  std::vector<ParameterShape> all{{kEmbedding, {vocab_size, hidden_size}}};
  const auto norm = [&](const std::string& name_of_weight) {
    if (norm_weights) all.push_back({name_of_weight, {hidden_size}});
  };
  for (std::int64_t layer = 0; layer < num_hidden_layers; ++layer) {
    const auto prefix = fmt::format("model.layers.{}.", layer);
    const auto linear = [&](const std::string& layer_name, std::int64_t out, std::int64_t in, bool bias) {
      all.push_back({prefix + layer_name + ".weight", {out, in}});
      if (bias) all.push_back({prefix + layer_name + ".bias", {out}});
    };
    norm(prefix + "input_layernorm.weight");
    linear("self_attn.q_proj", hidden_size, hidden_size, attention_bias);
    linear("self_attn.k_proj", key_value_size(), hidden_size, attention_bias);
    linear("self_attn.v_proj", key_value_size(), hidden_size, attention_bias);
    linear("self_attn.o_proj", hidden_size, hidden_size, attention_bias);
    if (query_key_norm)
      for (const auto* each : {"self_attn.q_norm.weight", "self_attn.k_norm.weight"})
        all.push_back({prefix + each, {head_size()}});
    norm(prefix + "post_attention_layernorm.weight");
    linear("mlp.gate_proj", intermediate_size, hidden_size, mlp_bias);
    linear("mlp.up_proj", intermediate_size, hidden_size, mlp_bias);
    linear("mlp.down_proj", hidden_size, intermediate_size, mlp_bias);
  }
  norm("model.norm.weight");
  if (!tie_word_embeddings) all.push_back({kHead, {vocab_size, hidden_size}});
  if (head_bias) all.push_back({"lm_head.bias", {vocab_size}});
  return all;
}

std::int64_t Specification::parameter_count() const {
  std::int64_t total = 0;
  for (const auto& parameter : parameters()) {
    std::int64_t elements = 1;
    for (const auto size : parameter.shape) elements *= size;
    total += elements;
  }
  return total;
}

void require_possible(const Specification& s, const std::string& where) {
  const auto refuse = [&](const std::string& complaint) {
    throw InputError(fmt::format("{}: {}: no such model exists", where, complaint));
  };
  const std::pair<const char*, std::int64_t> sizes[] = {
      {"vocab_size", s.vocab_size},
      {"hidden_size", s.hidden_size},
      {"num_hidden_layers", s.num_hidden_layers},
      {"num_attention_heads", s.num_attention_heads},
      {"num_key_value_heads", s.num_key_value_heads},
      {"intermediate_size", s.intermediate_size},
      {"max_position_embeddings", s.max_position_embeddings}};
  for (const auto& [name, size] : sizes)
    if (size < 1 || size > kLargestSize)
      refuse(fmt::format("{} is {}, expected 1 to {}", name, size, kLargestSize));
  // parameters() takes time in proportion to the number of layers.
  if (s.num_hidden_layers > 4096)
    refuse(fmt::format("{} layers, expected at most 4096", s.num_hidden_layers));
  if (s.hidden_size % s.num_attention_heads != 0)
    refuse(fmt::format("hidden size {} is not divisible by {} heads", s.hidden_size, s.num_attention_heads));
  if (s.num_attention_heads % s.num_key_value_heads != 0)
    refuse(fmt::format("{} query heads are not divisible by {} key/value heads", s.num_attention_heads,
                       s.num_key_value_heads));
  if (s.head_size() % 2 != 0)
    refuse(
        fmt::format("head size {} (hidden {} / heads {}) is odd: rotary embedding turns pairs of coordinates",
                    s.head_size(), s.hidden_size, s.num_attention_heads));
  if (!(s.rope_theta > 1) || !std::isfinite(s.rope_theta))
    refuse(fmt::format("rope theta is {}, expected a number above 1", s.rope_theta));
  if (!(s.rms_norm_eps > 0) || !(s.rms_norm_eps < 1))
    refuse(fmt::format("RMSNorm eps is {}, expected between 0 and 1", s.rms_norm_eps));
  if (!(s.dropout >= 0) || !(s.dropout < 1))
    refuse(fmt::format("dropout is {}, expected at least 0 and below 1", s.dropout));
}

namespace {

// {"embedding": "linear" | {"normal": 0.02}, ...}; `residual` and `head` default to `linear`.
Initialization read_initialization(const Json& json, const std::string& where) {
  ObjectReader keys(json, where + ": 'initialization'");
  const auto read = [&](const std::string& key) {
    if (keys.is_text(key)) {
      keys.one_of<Distribution>(key, {{"linear", {}}});
      return Distribution{};
    }
    ObjectReader distribution(keys.member(key), fmt::format("{}: 'initialization.{}'", where, key));
    const double deviation = distribution.number("normal");
    if (!(deviation > 0 && deviation < 1e3))
      distribution.refuse("normal", "expected a standard deviation above 0");
    distribution.refuse_unknown_keys();
    return Distribution{deviation};
  };
  Initialization found{read("embedding"), read("linear"), {}, {}};
  found.residual = keys.has("residual") ? read("residual") : found.linear;
  found.head = keys.has("head") ? read("head") : found.linear;
  keys.refuse_unknown_keys();
  return found;
}

}  // namespace

Specification read_specification(const std::filesystem::path& file) {
  const auto where = file.string();
  const auto text = read_text(file, kLargestFile);
  const auto json = parse_json(text, where);
  ObjectReader keys(json, where);
  Specification s;
  s.name = keys.text("name");
  s.title = keys.text("title");
  s.source = keys.text("source");
  s.vocab_size = keys.size("vocab_size");
  s.hidden_size = keys.size("hidden_size");
  s.num_hidden_layers = keys.size("num_hidden_layers");
  s.num_attention_heads = keys.size("num_attention_heads");
  s.num_key_value_heads = keys.size("num_key_value_heads");
  if (keys.is_text("intermediate_size")) {
    if (keys.text("intermediate_size") != "derived")
      keys.refuse("intermediate_size", "expected a whole number or \"derived\"");
    s.intermediate_size_derived = true;
    s.intermediate_size = derived_intermediate_size(s.hidden_size);
  } else {
    s.intermediate_size = keys.size("intermediate_size");
  }
  s.hidden_act = keys.one_of("hidden_act", kActivations);
  s.rotary = keys.one_of("rotary", kRotaries);
  s.rope_theta = keys.number("rope_theta");
  s.rms_norm_eps = keys.number("rms_norm_eps");
  s.norm_precision = keys.one_of("norm_precision", kNormPrecisions);
  s.dropout = keys.number("dropout");
  s.attention_bias = keys.boolean("attention_bias");
  s.mlp_bias = keys.boolean("mlp_bias");
  s.tie_word_embeddings = keys.boolean("tie_word_embeddings");
  s.initialization = keys.is_text("initialization")
                         ? keys.one_of("initialization", kInitializations)
                         : read_initialization(keys.member("initialization"), where);
  s.max_position_embeddings = keys.size("max_position_embeddings");
  const auto stated = keys.size("parameter_count", INT64_MAX);
  keys.refuse_unknown_keys();
  require_possible(s, where);
  if (stated != s.parameter_count())
    keys.refuse("parameter_count",
                fmt::format("states {}, but the other numbers make {}", stated, s.parameter_count()));
  s.sha256 = sha256(text);
  return s;
}

Specification find_specification(const std::string& name_or_file, const std::filesystem::path& directory) {
  std::error_code ignored;
  const auto known = directory / (name_or_file + ".json");
  if (name_or_file.find('/') == std::string::npos && std::filesystem::is_regular_file(known, ignored))
    return read_specification(known);
  if (std::filesystem::is_regular_file(name_or_file, ignored)) return read_specification(name_or_file);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored))
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  throw InputError(fmt::format("--spec {}: no such specification or file; known are {}", name_or_file,
                               fmt::join(names, ", ")));
}

}  // namespace plumbline
