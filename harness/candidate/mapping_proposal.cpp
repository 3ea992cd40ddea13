// Proposes a mapping from names and shapes, for a person to confirm; it is never applied by itself.
#include <algorithm>
#include <array>
#include <optional>

#include "harness/candidate/mapping.hpp"

namespace plumbline {
namespace {

using Words = std::vector<std::string>;

// The role of a tensor, by the last word of its name.
struct Role {
  const char* canonical;  // the part of the canonical name after the layer, without .weight
  Words names;
};

const std::vector<Role>& layer_roles() {
  static const std::vector<Role> roles = {
      {"self_attn.q_proj", {"q_proj", "wq", "query", "to_q", "q", "query_proj", "q_lin"}},
      {"self_attn.k_proj", {"k_proj", "wk", "key", "to_k", "k", "key_proj", "k_lin"}},
      {"self_attn.v_proj", {"v_proj", "wv", "value", "to_v", "v", "value_proj", "v_lin"}},
      {"self_attn.o_proj", {"o_proj", "wo", "out_proj", "dense", "to_out", "o", "out_lin"}},
      {"mlp.gate_proj", {"gate_proj", "w1", "gate", "wg", "fc_gate", "w_gate"}},
      {"mlp.up_proj", {"up_proj", "w3", "up", "wu", "fc_up", "w_up"}},
      {"mlp.down_proj", {"down_proj", "w2", "down", "wd", "fc_down", "w_down"}},
      {"input_layernorm",
       {"input_layernorm", "attention_norm", "attn_norm", "ln_1", "ln1", "norm1", "norm_1"}},
      {"post_attention_layernorm",
       {"post_attention_layernorm", "ffn_norm", "mlp_norm", "feed_forward_norm", "ln_2", "ln2", "norm2",
        "norm_2"}},
  };
  return roles;
}

const Words kEmbeddingNames{"embed_tokens", "tok_embeddings", "token_embedding", "tok_emb", "wte",
                            "embedding",    "embeddings",     "word_embeddings", "embed",   "emb",
                            "tok"};
const Words kHeadNames{"lm_head", "output", "head", "embed_out", "unembed", "unembedding"};
const Words kNormNames{"norm",     "ln_f",      "final_norm", "norm_f", "final_layernorm",
                       "ln_final", "last_norm", "out_norm"};
const Words kQkvNames{"qkv", "qkv_proj", "c_attn", "wqkv", "query_key_value", "to_qkv", "attn_qkv"};
const Words kKvNames{"kv", "kv_proj", "wkv", "to_kv", "key_value"};
const Words kGateUpNames{"gate_up_proj", "gate_up", "w12", "w13", "fc_gate_up", "w_gate_up"};
// Names that attention and feed-forward share; the preceding words decide.
const Words kOutNames{"proj", "c_proj", "out"};
const Words kAttentionNames{"attn", "attention", "self_attn", "self_attention", "mha", "att"};

bool contains(const std::string& word, const Words& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A parameter's name in parts: "blocks.3.attn.qkv.weight".
struct SplitName {
  const ParameterDescription* parameter;
  std::optional<std::int64_t> layer;
  std::string pattern;  // with {layer} in its place
  Words words;          // lower case, without the layer's number and the last "weight" or "bias"
  bool bias = false;

  std::string last() const { return words.empty() ? "" : words.back(); }
  bool in_attention() const {
    return std::any_of(words.begin(), words.end(),
                       [](const auto& word) { return contains(word, kAttentionNames); });
  }
};

SplitName split_name(const ParameterDescription& parameter) {
  SplitName named{&parameter, std::nullopt, "", {}, false};
  for (std::size_t begin = 0; begin <= parameter.name.size();) {
    const auto end = std::min(parameter.name.find('.', begin), parameter.name.size());
    auto word = parameter.name.substr(begin, end - begin);
    const bool number =
        !word.empty() && word.size() < 5 && word.find_first_not_of("0123456789") == std::string::npos;
    if (!named.pattern.empty()) named.pattern += '.';
    if (number && !named.layer) {
      named.layer = std::stoll(word);
      named.pattern += "{layer}";
    } else {
      named.pattern += word;
      std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
      named.words.push_back(word);
    }
    begin = end + 1;
  }
  if (named.last() == "weight" || named.last() == "bias") {
    named.bias = named.last() == "bias";
    named.words.pop_back();
  }
  return named;
}

class Proposal {
 public:
  explicit Proposal(const Specification& s) : s_(s) {}

  void propose(const SplitName& named) {
    if (named.layer) {
      if (*named.layer == 0) propose_in_layer(named, named.parameter->shape, Json::object());
      return;
    }
    const auto& shape = named.parameter->shape;
    const std::string kind = named.bias ? ".bias" : ".weight";
    if (contains(named.last(), kEmbeddingNames))
      add("model.embed_tokens" + kind, named, Json::object());
    else if (contains(named.last(), kHeadNames))
      add("lm_head" + kind, named, Json::object());
    else if (contains(named.last(), kNormNames) && shape.size() == 1)
      add("model.norm" + kind, named, Json::object());
    else if (shape.size() > 1 && shape[0] == s_.num_hidden_layers)  // all layers in one tensor
      propose_in_layer(named, {shape.begin() + 1, shape.end()}, {{"select", {0, "{layer}"}}});
  }

  Json lines = Json::object();

 private:
  void add(const std::string& canonical, const SplitName& named, Json steps) {
    if (lines.contains(canonical)) return;  // the first that fits
    if (steps.empty()) {
      lines[canonical] = named.pattern;
      return;
    }
    steps["from"] = named.pattern;
    lines[canonical] = std::move(steps);
  }

  static std::string in_layer(const char* role, const SplitName& named) {
    return std::string("model.layers.{layer}.") + role + (named.bias ? ".bias" : ".weight");
  }

  // Rows `first` to `first + count` of a matrix (out, in) or a bias, which may be stored the other way round.
  void add_rows(const char* role, const SplitName& named, const std::vector<std::int64_t>& shape, Json steps,
                std::int64_t first, std::int64_t count, std::int64_t rows, std::int64_t columns) {
    const bool transposed = shape.size() == 2 && shape[0] == columns && shape[1] == rows && rows != columns;
    if (count != rows) steps["slice"] = {transposed ? 1 : 0, first, count};
    if (transposed) steps["transpose"] = true;
    add(in_layer(role, named), named, std::move(steps));
  }

  void propose_in_layer(const SplitName& named, const std::vector<std::int64_t>& shape, const Json& steps) {
    const auto width = s_.hidden_size, small = s_.key_value_size(), wide = s_.intermediate_size;
    const auto& last = named.last();
    if (contains(last, kQkvNames)) {
      const auto rows = width + 2 * small;
      add_rows("self_attn.q_proj", named, shape, steps, 0, width, rows, width);
      add_rows("self_attn.k_proj", named, shape, steps, width, small, rows, width);
      add_rows("self_attn.v_proj", named, shape, steps, width + small, small, rows, width);
    } else if (contains(last, kKvNames)) {
      add_rows("self_attn.k_proj", named, shape, steps, 0, small, 2 * small, width);
      add_rows("self_attn.v_proj", named, shape, steps, small, small, 2 * small, width);
    } else if (contains(last, kGateUpNames)) {
      add_rows("mlp.gate_proj", named, shape, steps, 0, wide, 2 * wide, width);
      add_rows("mlp.up_proj", named, shape, steps, wide, wide, 2 * wide, width);
    } else if (contains(last, kOutNames)) {
      if (named.in_attention())
        add_rows("self_attn.o_proj", named, shape, steps, 0, width, width, width);
      else
        add_rows("mlp.down_proj", named, shape, steps, 0, width, width, wide);
    } else {
      for (const auto& role : layer_roles()) {
        if (!contains(last, role.names)) continue;
        const auto [rows, columns] = matrix_size(role.canonical);
        add_rows(role.canonical, named, shape, steps, 0, rows, rows, columns);
      }
    }
  }

  std::pair<std::int64_t, std::int64_t> matrix_size(const std::string& role) const {
    if (role == "self_attn.k_proj" || role == "self_attn.v_proj")
      return {s_.key_value_size(), s_.hidden_size};
    if (role == "mlp.gate_proj" || role == "mlp.up_proj") return {s_.intermediate_size, s_.hidden_size};
    if (role == "mlp.down_proj") return {s_.hidden_size, s_.intermediate_size};
    return {s_.hidden_size, s_.hidden_size};
  }

  const Specification& s_;
};

}  // namespace

Json propose_mapping(const std::vector<ParameterDescription>& parameters,
                     const Specification& specification) {
  Proposal proposal(specification);
  for (const auto& parameter : parameters) proposal.propose(split_name(parameter));
  return proposal.lines;
}

}  // namespace plumbline
