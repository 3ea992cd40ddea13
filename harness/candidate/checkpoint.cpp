#include "harness/candidate/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "harness/candidate/checkpoint_files.hpp"
#include "harness/candidate/hugging_face.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

class Checkpoint : public Candidate {
 public:
  Checkpoint(Description description, Weights weights, std::string defaults)
      : description_(std::move(description)), weights_(std::move(weights)), defaults_(std::move(defaults)) {}
  const Description& describe() const override { return description_; }
  const Weights& weights() const override { return weights_; }
  std::string closing_note() const override { return defaults_; }

 private:
  Description description_;
  Weights weights_;
  std::string defaults_;  // which settings were taken as its class's defaults; empty: none
};

// The layer that a name belongs to, or -1.
std::int64_t layer_of(const std::string& name) {
  constexpr std::string_view prefix = "model.layers.";
  if (!name.starts_with(prefix)) return -1;
  const auto digits = name.substr(prefix.size(), name.find('.', prefix.size()) - prefix.size());
  const bool number = !digits.empty() && digits.size() < 6 &&
                      std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  return number ? std::atoll(digits.c_str()) : -1;
}

// What a state dict says without a configuration: only what its names and shapes decide.
std::map<std::string, Setting> settings_from_shapes(const std::vector<NamedTensor>& tensors) {
  std::map<std::string, Setting> settings;
  std::int64_t last_layer = -1;
  for (const auto& [name, values] : tensors) {
    const auto from = fmt::format("the shape of {}", name);
    last_layer = std::max(last_layer, layer_of(name));
    if (name == kEmbedding && values.dim() == 2) {
      settings["vocab_size"] = {values.size(0), from};
      settings["hidden_size"] = {values.size(1), from};
    }
    if (name == "model.layers.0.mlp.gate_proj.weight" && values.dim() == 2)
      settings["intermediate_size"] = {values.size(0), from};
  }
  if (last_layer >= 0)
    settings["num_hidden_layers"] = {last_layer + 1, "the layers that parameters are named after"};
  return settings;
}

// A tied matrix has two names, and software that stores shared memory once may keep either.
void adopt_head_as_embedding(Description& description, Weights& weights) {
  const auto head = weights.find(kHead);
  const auto tied = description.configuration.find("tie_word_embeddings");
  if (head == weights.end() || weights.contains(kEmbedding)) return;
  if (tied == description.configuration.end() || tied->second.value != true) return;
  for (auto& parameter : description.parameters)
    if (parameter.name == head->first) parameter.name = kEmbedding;
  weights[kEmbedding] = head->second;
  weights.erase(head);
  description.notes.push_back(
      fmt::format("the tied matrix is stored as lm_head.weight alone; it was judged as {}", kEmbedding));
}

}  // namespace

std::unique_ptr<Candidate> open_checkpoint(const std::filesystem::path& path, const std::string& python,
                                           const std::string& script_directory) {
  auto files = read_checkpoint(path, python, script_directory);
  Description description;
  description.name = path.string();
  description.kind = files.config ? "checkpoint" : "state_dict";
  description.sha256 = files.sha256;
  description.notes = files.notes;
  std::vector<std::string> defaults;
  description.configuration = files.config ? read_settings(*files.config, files.config_path, &defaults)
                                           : settings_from_shapes(files.tensors);
  description.notes.insert(description.notes.end(), defaults.begin(), defaults.end());
  if (files.config) description.stated = *files.config;
  Weights weights;
  for (const auto& [name, values] : files.tensors) {
    description.parameters.push_back({name, values.sizes().vec(), values.scalar_type()});
    weights[name] = values;
  }
  adopt_head_as_embedding(description, weights);
  if (weights.empty())
    throw InputError(
        fmt::format("{}: holds no parameters; pass a checkpoint of a whole model", path.string()));
  return std::make_unique<Checkpoint>(std::move(description), std::move(weights),
                                      defaults.empty() ? "" : defaults.front());
}

void export_checkpoint(const Specification& specification, const std::filesystem::path& directory) {
  const auto config = llama_config(specification);
  std::error_code failed;
  if (std::filesystem::exists(directory, failed) &&
      (!std::filesystem::is_directory(directory, failed) || !std::filesystem::is_empty(directory, failed)))
    throw InputError(fmt::format("export {}: exists already and is not an empty directory; name a new one",
                                 directory.string()));
  std::filesystem::create_directories(directory, failed);
  if (failed)
    throw InputError(
        fmt::format("export {}: cannot make the directory: {}", directory.string(), failed.message()));
  const auto weights = discriminating_weights(specification.parameters(), 1);
  std::vector<std::pair<std::string, at::Tensor>> tensors(weights.begin(), weights.end());
  // The weights first: a directory with a config.json is complete.
  write_safetensors(directory / "model.safetensors", tensors, {{"format", "pt"}});
  write_atomically(directory / "config.json", config.dump({.indent = 2}) + "\n");
}

}  // namespace plumbline
