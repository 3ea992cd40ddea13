#include "harness/candidate/hugging_face.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>

#include "harness/candidate/checkpoint_names.hpp"
#include "harness/candidate/model_families.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

class Config {
 public:
  Config(const Json& config, std::string file) : config_(config), file_(std::move(file)) {}

  [[noreturn]] void refuse(const std::string& complaint) const {
    throw InputError(fmt::format("{}: {}", file_, complaint));
  }

  const Json* at(const std::string& key) const {
    const auto found = config_.find(key);
    return found == nullptr || found->is_null() ? nullptr : found;
  }

  // Reads config[key] as `setting`, if it is there.
  void read(const std::string& key, const std::string& setting, bool (Json::*is)() const noexcept,
            const char* expected) {
    const auto* value = at(key);
    if (value == nullptr) return;
    if (!(value->*is)())
      refuse(
          fmt::format("'{}' is {}, expected {}", key, printable(value->dump({.ascii = true}), 80), expected));
    settings[setting] = {*value, place(key)};
  }
  void read_size(const std::string& key) { read_size(key, key); }
  void read_size(const std::string& key, const std::string& setting) {
    read(key, setting, &Json::is_integer, "a whole number");
    const auto found = settings.find(setting);
    if (found == settings.end()) return;
    const auto& value = found->second.value;
    if (value.is_unsigned() && value.get<std::uint64_t>() > (1u << 30))
      refuse(fmt::format("'{}' is {}: no such model exists", key, value.dump()));
    if (value.get<std::int64_t>() < 1)
      refuse(fmt::format("'{}' is {}, expected at least 1: no such model exists", key, value.dump()));
  }

  // The same setting under another name.
  void read_renamed(const char* key, const char* setting) {
    if (setting == std::string("rms_norm_eps"))
      read(key, setting, &Json::is_number, "a number");
    else
      read_size(key, setting);
  }

  std::optional<std::int64_t> size(const std::string& key) const {
    const auto found = settings.find(key);
    return found == settings.end() ? std::nullopt : std::optional(found->second.value.get<std::int64_t>());
  }

  const Json& raw() const { return config_; }
  std::string place(const std::string& key) const { return fmt::format("{}: {}", file_, key); }

  std::map<std::string, Setting> settings;

 private:
  const Json& config_;
  std::string file_;
};

// rope_theta is at the top level (transformers 4) or in rope_parameters (5); scaling is in rope_scaling or
// there.
void read_rotary(Config& config) {
  config.read("rope_theta", "rope_theta", &Json::is_number, "a number");
  std::string type = "default";
  std::string where = "no scaling is configured";
  // Anything but the default decides, wherever it stands: what two places say differently is not taken as
  // right.
  const auto departs = [&](const std::string& found, const std::string& place) {
    if (type != "default" || found == "default") return;
    type = found;
    where = config.place(place);
  };
  const auto departs_unless = [&](const Json& section, const char* name, const Json& neutral,
                                  const std::string& place) {
    if (section.contains(name) && !section[name].is_null() && section[name] != neutral)
      departs(name, place + name);
  };
  for (const auto* key : {"rope_scaling", "rope_parameters"}) {
    const auto* scaling = config.at(key);
    if (scaling == nullptr) continue;
    if (!scaling->is_object()) config.refuse(fmt::format("'{}' is not an object", key));
    for (const auto* name : {"rope_type", "type"}) {
      if (!scaling->contains(name)) continue;
      if (!(*scaling)[name].is_string()) config.refuse(fmt::format("'{}.{}' is not a string", key, name));
      if (where == "no scaling is configured") where = config.place(fmt::format("{}.{}", key, name));
      departs((*scaling)[name].get<std::string>(), fmt::format("{}.{}", key, name));
    }
    departs_unless(*scaling, "factor", 1.0, fmt::format("{}.", key));
    departs_unless(*scaling, "partial_rotary_factor", 1.0, fmt::format("{}.", key));
    if (!scaling->contains("rope_theta")) continue;
    const auto& theta = (*scaling)["rope_theta"];
    if (!theta.is_number()) config.refuse(fmt::format("'{}.rope_theta' is not a number", key));
    const auto before = config.settings.find("rope_theta");
    if (before != config.settings.end() && before->second.value != theta)
      config.refuse(
          fmt::format("'rope_theta' is {} but '{}.rope_theta' is {}; remove one, or make them equal",
                      before->second.value.dump(), key, theta.dump()));
    config.settings["rope_theta"] = {theta, config.place(fmt::format("{}.rope_theta", key))};
  }
  departs_unless(config.raw(), "partial_rotary_factor", 1.0, "");
  departs_unless(config.raw(), "inference_rope_scaling", false, "");
  config.settings["rope_type"] = {type, where};
}

// What the family takes for what config.json leaves out, with a sentence that says so.
void add_defaults(const Family& family, const char* dropout_key, Config& config,
                  std::vector<std::string>* notes) {
  std::vector<std::string> keys, values;
  for (const auto& [key, usual] : family.defaults.items()) {
    const auto setting = key == dropout_key ? std::string("dropout") : key;
    if (key.find("sliding_window") != std::string::npos || config.settings.contains(setting)) continue;
    auto value = usual;
    if (key == "num_key_value_heads" && (usual == kQueryHeads || config.raw().contains(key))) {
      const auto heads = config.size("num_attention_heads");
      if (!heads) continue;
      value = *heads;
    }
    config.settings[setting] = {
        value,
        fmt::format("the default of model_type {}, since config.json has no {}", family.model_type, key)};
    keys.push_back(key);
    values.push_back(fmt::format("{} {}", key, value.dump()));
  }
  if (notes != nullptr && !keys.empty())
    notes->push_back(fmt::format("config.json has no {}; the defaults of model_type {} were used: {}",
                                 fmt::join(keys, ", "), family.model_type, fmt::join(values, ", ")));
}

// A window within which attention stays is no part of any specification.
void refuse_window(const Family& family, const Config& config) {
  const auto said = [&](const char* key) {
    return config.raw().contains(key) ? config.raw()[key] : family.defaults.value(key, Json());
  };
  const auto window = said("sliding_window"), used = said("use_sliding_window");
  const auto positions = config.size("max_position_embeddings");
  if (!family.defaults.contains("sliding_window") || !window.is_number() || used == false) return;
  if (positions && window.get<double>() >= static_cast<double>(*positions)) return;
  config.refuse(fmt::format("'sliding_window' is {}: attention within a window is another architecture",
                            window.dump()));
}

void refuse_quantised(const Config& config) {
  const auto* quantised = config.at("quantization_config");
  if (quantised == nullptr) return;
  const auto said = quantised->is_object() ? quantised->value("quant_method", Json()) : Json();
  const auto method = said.is_string() ? said.get<std::string>() : "an unnamed method";
  const auto* known = quantisation_in_words(method);
  std::string words = known == nullptr ? printable(method, 60) : known;
  for (const auto* key : {"load_in_8bit", "load_in_4bit"})
    if (quantised->is_object() && quantised->value(key, Json()) == true)
      words += key == std::string("load_in_8bit") ? ", 8 bits" : ", 4 bits";
  config.refuse(fmt::format("the checkpoint is quantised ({}); {}", words, kDequantise));
}

const Family& family_of(const std::string& model_type, const Config& config) {
  std::vector<std::string> known;
  for (const auto& family : families()) {
    if (family.model_type == model_type)
      return model_type == "minimind" && config.at("dim") != nullptr ? first_minimind() : family;
    known.push_back(fmt::format("\"{}\"", family.model_type));
  }
  const auto* other = other_architecture(model_type);
  const auto advice = fmt::format("Plumbline reads model types {}", fmt::join(known, ", "));
  if (other != nullptr)
    config.refuse(fmt::format("'{}' is another architecture ({}): {}", model_type, other, advice));
  config.refuse(
      fmt::format("unknown architecture '{}': {}; judge the code of your own architecture through an adapter",
                  printable(model_type, 60), advice));
}

void refuse_impossible(const Config& config) {
  const auto hidden = config.size("hidden_size"), heads = config.size("num_attention_heads"),
             groups = config.size("num_key_value_heads");
  if (hidden && heads && !config.size("head_dim") && *hidden % *heads != 0)
    config.refuse(
        fmt::format("hidden size {} is not divisible by {} heads: no such model exists", *hidden, *heads));
  if (heads && groups && *heads % *groups != 0)
    config.refuse(fmt::format("{} query heads are not divisible by {} key/value heads: no such model exists",
                              *heads, *groups));
  if (hidden && heads) {
    const auto head_size = config.size("head_dim").value_or(*hidden / *heads);
    if (head_size % 2 != 0)
      config.refuse(fmt::format(
          "head size {} is odd, but rotary embedding needs pairs of coordinates: no such model exists",
          head_size));
  }
  for (const auto& [key, low, high] : {std::tuple{"rope_theta", 1.0, 1e300}, {"rms_norm_eps", 0.0, 1.0}}) {
    const auto found = config.settings.find(key);
    if (found == config.settings.end()) continue;
    const auto value = found->second.value.get<double>();
    if (!(value > low) || !(value < high))
      config.refuse(fmt::format("'{}' is {}, expected above {} and below {}: no such model exists", key,
                                found->second.value.dump(), low, high));
  }
  const auto dropout = config.settings.find("dropout");
  if (dropout != config.settings.end()) {
    const auto value = dropout->second.value.get<double>();
    if (!(value >= 0) || !(value < 1))
      config.refuse(fmt::format("dropout ('{}') is {}, expected at least 0 and below 1: no such model exists",
                                dropout->second.where.substr(dropout->second.where.rfind(' ') + 1),
                                dropout->second.value.dump()));
  }
}

}  // namespace

std::map<std::string, Setting> read_settings(const Json& said, const std::string& file,
                                             std::vector<std::string>* notes) {
  if (!said.is_object()) throw InputError(fmt::format("{}: expected a JSON object", file));
  Config config(said, file);
  const auto* type = config.at("model_type");
  if (type == nullptr || !type->is_string())
    config.refuse("'model_type' is missing; expected \"llama\" or \"minimind\"");
  const auto model_type = type->get<std::string>();
  const auto& family = family_of(model_type, config);
  refuse_quantised(config);
  if (config.at("use_moe") != nullptr && *config.at("use_moe") != false)
    config.refuse("'use_moe' is true: a mixture of experts is another architecture");

  for (const auto* key : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "intermediate_size", "max_position_embeddings", "head_dim"})
    config.read_size(key);
  config.read("hidden_act", "hidden_act", &Json::is_string, "a string");
  config.read("rms_norm_eps", "rms_norm_eps", &Json::is_number, "a number");
  config.read("attention_bias", "attention_bias", &Json::is_boolean, "true or false");
  config.read("mlp_bias", "mlp_bias", &Json::is_boolean, "true or false");
  config.read("tie_word_embeddings", "tie_word_embeddings", &Json::is_boolean, "true or false");
  const auto* dropout_key = family.defaults.contains("dropout") ? "dropout" : "attention_dropout";
  config.read(dropout_key, "dropout", &Json::is_number, "a number");
  if (&family == &first_minimind())
    for (const auto& [theirs, ours] : kFirstMiniMindNames) config.read_renamed(theirs, ours);
  read_rotary(config);
  add_defaults(family, dropout_key, config, notes);
  refuse_window(family, config);
  refuse_impossible(config);

  // What the named classes do without a setting of their own.
  auto& settings = config.settings;
  settings["rotary"] = {family.rotary, fmt::format("model_type {} turns {}", model_type, family.rotary)};
  if (!settings.contains("head_dim") && settings.contains("hidden_size") &&
      settings.contains("num_attention_heads"))
    settings["head_dim"] = {*config.size("hidden_size") / *config.size("num_attention_heads"),
                            "hidden_size / num_attention_heads"};
  const auto* wide = &family == &first_minimind() ? "hidden_dim" : "intermediate_size";
  if (model_type == "minimind" && !settings.contains("intermediate_size") && said.contains(wide) &&
      settings.contains("hidden_size"))
    settings["intermediate_size"] = {derived_intermediate_size(*config.size("hidden_size")),
                                     fmt::format("{} is null: model_type minimind derives it", wide)};
  return settings;
}

Json llama_config(const Specification& s) {
  if (s.rotary != Rotary::halves)
    throw InputError(
        fmt::format("export {}: it rotates neighbouring pairs, but LlamaForCausalLM rotates halves, and "
                    "config.json has no setting for it",
                    s.name));
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", s.vocab_size},
          {"hidden_size", s.hidden_size},
          {"num_hidden_layers", s.num_hidden_layers},
          {"num_attention_heads", s.num_attention_heads},
          {"num_key_value_heads", s.num_key_value_heads},
          {"head_dim", s.head_size()},
          {"intermediate_size", s.intermediate_size},
          {"hidden_act", to_string(s.hidden_act)},
          {"rms_norm_eps", s.rms_norm_eps},
          {"rope_theta", s.rope_theta},
          {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", s.rope_theta}}},
          {"attention_dropout", s.dropout},
          {"attention_bias", s.attention_bias},
          {"mlp_bias", s.mlp_bias},
          {"tie_word_embeddings", s.tie_word_embeddings},
          {"max_position_embeddings", s.max_position_embeddings},
          {"initializer_range", 0.02},
          {"use_cache", true},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"dtype", "float32"},
          {"torch_dtype", "float32"}};
}

}  // namespace plumbline
