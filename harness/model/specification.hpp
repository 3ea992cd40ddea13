// Architecture specifications: the numbers of fixtures/specifications/*.json, and sizes derived from them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace plumbline {

enum class Rotary { halves, pairs };  // the pairs of a head's coordinates: (i, i + Dh/2), or (2i, 2i + 1)
enum class Activation { silu, gelu, gelu_tanh };  // of the feed-forward's gate
enum class NormPrecision { float32, model };      // the type in which RMSNorm is computed

// The distribution of a matrix's initial values: normal with this standard deviation; 0: uniform within
// 1/sqrt(columns), as in torch.nn.Linear.
struct Distribution {
  double normal = 0;

  bool uniform() const { return normal == 0; }
  double deviation(std::int64_t columns) const;
  bool operator==(const Distribution&) const = default;
};

// The initial distribution of each kind of matrix. `residual`: of the two of a layer that write into the
// residual stream, the output projections of attention and feed-forward; many models scale them by 1/sqrt(2
// layers) (Radford et al. 2019).
struct Initialization {
  Distribution embedding, linear, residual, head;

  const Distribution& of(const std::string& parameter) const;  // by canonical name
  bool operator==(const Initialization&) const = default;
};
inline constexpr Initialization kStandardNormalEmbedding{{1}, {}, {}, {}};

std::string to_string(Rotary rotary);
std::string to_string(Activation activation);  // in Hugging Face's words: silu, gelu, gelu_pytorch_tanh
std::string to_string(NormPrecision precision);

inline constexpr const char* kEmbedding = "model.embed_tokens.weight";
inline constexpr const char* kHead = "lm_head.weight";

// Whether a matrix, by canonical name, writes into the residual stream.
bool writes_residual(const std::string& parameter);

struct ParameterShape {
  std::string name;                 // canonical: Hugging Face Llama's
  std::vector<std::int64_t> shape;  // (out, in) for matrices

  bool operator==(const ParameterShape&) const = default;
};

struct Specification {
  std::string name, title, source;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t intermediate_size = 0;
  bool intermediate_size_derived = false;
  Activation hidden_act = Activation::silu;
  Rotary rotary = Rotary::halves;
  double rope_theta = 0;
  double rms_norm_eps = 0;
  NormPrecision norm_precision = NormPrecision::float32;
  double dropout = 0;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tie_word_embeddings = true;
  Initialization initialization;
  std::int64_t max_position_embeddings = 0;
  std::string sha256;  // of the file it was read from
  // No specification file has these, but some similar models do: a bias of the output head, and a norm of
  // each query and key head before rotation (Henry et al. 2020, with RMSNorm's formula).
  bool head_bias = false, query_key_norm = false;
  bool norm_weights = true;  // false: norms have no weight

  std::int64_t head_size() const { return hidden_size / num_attention_heads; }
  std::int64_t repeat_factor() const { return num_attention_heads / num_key_value_heads; }
  std::int64_t key_value_size() const { return num_key_value_heads * head_size(); }

  // In execution order, a tied matrix once.
  std::vector<ParameterShape> parameters() const;
  std::int64_t parameter_count() const;

  bool operator==(const Specification&) const = default;
};

// int(hidden * 8 / 3), rounded up to a multiple of 64 (MiniMind's FeedForward; the 8/3 is Shazeer 2020, GLU
// Variants, section 3.1: two thirds of 4 * hidden keep the parameter count of an ungated layer).
std::int64_t derived_intermediate_size(std::int64_t hidden_size);

// Throws unless the numbers describe a model. Refused are query heads that are not divisible by key/value
// heads, a hidden size that is not divisible by heads, an odd head size, anything not positive. Errors:
// InputError with the numbers.
void require_possible(const Specification& specification, const std::string& where);

// Reads and checks a specification file. Every key is required and no other is allowed; the stated parameter
// count must be the derived one. Errors: InputError naming the file and the key.
Specification read_specification(const std::filesystem::path& file);

// NAME of a file in `directory`, or a path. Errors: InputError listing the known names.
Specification find_specification(const std::string& name_or_file, const std::filesystem::path& directory);

}  // namespace plumbline
