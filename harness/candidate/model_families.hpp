// Hugging Face's model types: those that are supported, and those that are other architectures.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "harness/system/json.hpp"

namespace plumbline {

// Stands for a number of key/value heads equal to that of query heads.
constexpr const char* kQueryHeads = "num_attention_heads";

// A model type, with its defaults for settings that config.json leaves out. Sizes have no defaults: they are
// always written.
struct Family {
  const char* model_type;
  const char* rotary;
  Json defaults;  // by config.json's keys; for a setting that the class does not have, its fixed behaviour
};

const std::vector<Family>& families();

// MiniMind's first version has the same model_type and Meta's names of settings: their key, ours.
const Family& first_minimind();
constexpr std::array<std::pair<const char*, const char*>, 7> kFirstMiniMindNames{
    {{"dim", "hidden_size"},
     {"n_layers", "num_hidden_layers"},
     {"n_heads", "num_attention_heads"},
     {"n_kv_heads", "num_key_value_heads"},
     {"hidden_dim", "intermediate_size"},
     {"norm_eps", "rms_norm_eps"},
     {"max_seq_len", "max_position_embeddings"}}};

// Why a model type is another architecture; nullptr for unknown ones.
const char* other_architecture(const std::string& model_type);

// quantization_config.quant_method in words; nullptr for one that is not known.
const char* quantisation_in_words(const std::string& method);

}  // namespace plumbline
