// What is known of Hugging Face's model types: those that are read, and those that are other architectures.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "harness/system/json.hpp"

namespace plumbline {

// In place of a number of key/value heads: as many as query heads.
constexpr const char* kQueryHeads = "num_attention_heads";

// A class of models: what it takes for a setting that config.json leaves out, as one does that it would save
// as its default. Sizes are none of these: they are always written, and never guessed.
struct Family {
  const char* model_type;
  const char* rotary;
  Json defaults;  // under config.json's keys; a setting that the class does not have is what it always does
};

const std::vector<Family>& families();

// MiniMind's first version is of the same model_type, and calls its settings as Meta does: theirs, ours.
const Family& first_minimind();
constexpr std::array<std::pair<const char*, const char*>, 7> kFirstMiniMindNames{
    {{"dim", "hidden_size"},
     {"n_layers", "num_hidden_layers"},
     {"n_heads", "num_attention_heads"},
     {"n_kv_heads", "num_key_value_heads"},
     {"hidden_dim", "intermediate_size"},
     {"norm_eps", "rms_norm_eps"},
     {"max_seq_len", "max_position_embeddings"}}};

// What makes a model type another architecture; nullptr for one that is not known.
const char* other_architecture(const std::string& model_type);

// quantization_config.quant_method in words; nullptr for one that is not known.
const char* quantisation_in_words(const std::string& method);

}  // namespace plumbline
