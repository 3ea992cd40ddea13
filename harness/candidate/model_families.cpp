#include "harness/candidate/model_families.hpp"

#include <map>

namespace plumbline {
namespace {

constexpr const char* kExperts = "a mixture of experts";
constexpr const char* kNormsOfHeads = "norms of queries and keys";
const std::map<std::string, const char*> kOtherArchitectures{
    {"gpt2", "learned positions, LayerNorm, no gate in the feed-forward"},
    {"gpt_bigcode", "learned positions, LayerNorm, no gate in the feed-forward"},
    {"gpt_neo", "learned positions, LayerNorm, no gate in the feed-forward"},
    {"gpt_neox", "LayerNorm, no gate in the feed-forward"},
    {"gptj", "LayerNorm, no gate in the feed-forward"},
    {"opt", "learned positions, LayerNorm, no gate in the feed-forward"},
    {"bloom", "ALiBi, LayerNorm, no gate in the feed-forward"},
    {"falcon", "LayerNorm, no gate in the feed-forward"},
    {"phi", "LayerNorm, no gate in the feed-forward"},
    {"bert", "an encoder, LayerNorm"},
    {"t5", "an encoder and a decoder"},
    {"gemma", "a scaled embedding, norms that add one to their weight"},
    {"gemma2", "a scaled embedding, norms that add one to their weight, capped logits"},
    {"gemma3_text", "a scaled embedding, norms that add one to their weight"},
    {"phi3", "one matrix for queries, keys and values"},
    {"olmo2", kNormsOfHeads},
    {"qwen3", kNormsOfHeads},
    {"mixtral", kExperts},
    {"qwen2_moe", kExperts},
    {"qwen3_moe", kExperts},
    {"deepseek_v2", kExperts},
    {"deepseek_v3", kExperts},
    {"gpt_oss", kExperts},
    {"minimind_moe", kExperts},
    {"mamba", "a state space instead of attention"}};

const std::map<std::string, const char*> kQuantisations{{"bitsandbytes", "bitsandbytes"},
                                                        {"gptq", "GPTQ"},
                                                        {"awq", "AWQ"},
                                                        {"fp8", "fp8, 8-bit floating point"},
                                                        {"fbgemm_fp8", "fp8, 8-bit floating point"},
                                                        {"hqq", "HQQ"},
                                                        {"aqlm", "AQLM"},
                                                        {"mxfp4", "MXFP4"}};

const char* find_in(const std::map<std::string, const char*>& words, const std::string& name) {
  const auto found = words.find(name);
  return found == words.end() ? nullptr : found->second;
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> all = {{"llama",
                                           "halves",
                                           {{"hidden_act", "silu"},
                                            {"rms_norm_eps", 1e-6},
                                            {"rope_theta", 10000.0},
                                            {"attention_bias", false},
                                            {"mlp_bias", false},
                                            {"attention_dropout", 0.0},
                                            {"tie_word_embeddings", false},
                                            {"num_key_value_heads", kQueryHeads},
                                            {"max_position_embeddings", 2048}}},
                                          {"mistral",
                                           "halves",
                                           {{"hidden_act", "silu"},
                                            {"rms_norm_eps", 1e-6},
                                            {"rope_theta", 10000.0},
                                            {"attention_bias", false},
                                            {"mlp_bias", false},
                                            {"attention_dropout", 0.0},
                                            {"tie_word_embeddings", false},
                                            {"num_key_value_heads", 8},
                                            {"sliding_window", 4096},
                                            {"max_position_embeddings", 131072}}},
                                          {"qwen2",
                                           "halves",
                                           {{"hidden_act", "silu"},
                                            {"rms_norm_eps", 1e-6},
                                            {"rope_theta", 10000.0},
                                            {"attention_bias", true},
                                            {"mlp_bias", false},
                                            {"attention_dropout", 0.0},
                                            {"tie_word_embeddings", false},
                                            {"num_key_value_heads", 32},
                                            {"use_sliding_window", false},
                                            {"sliding_window", 4096},
                                            {"max_position_embeddings", 32768}}},
                                          {"minimind",
                                           "halves",
                                           {{"hidden_act", "silu"},
                                            {"rms_norm_eps", 1e-5},
                                            {"rope_theta", 1e6},
                                            {"attention_bias", false},
                                            {"mlp_bias", false},
                                            {"dropout", 0.0},
                                            {"tie_word_embeddings", true},
                                            {"num_key_value_heads", 2},
                                            {"max_position_embeddings", 32768}}}};
  return all;
}

const Family& first_minimind() {
  static const Family family{"minimind",
                             "pairs",
                             {{"hidden_act", "silu"},
                              {"rms_norm_eps", 1e-5},
                              {"rope_theta", 10000.0},
                              {"attention_bias", false},
                              {"mlp_bias", false},
                              {"dropout", 0.0},
                              {"tie_word_embeddings", true},
                              {"max_position_embeddings", 8192}}};
  return family;
}

const char* other_architecture(const std::string& model_type) {
  return find_in(kOtherArchitectures, model_type);
}

const char* quantisation_in_words(const std::string& method) {
  return find_in(kQuantisations, method);
}

}  // namespace plumbline
