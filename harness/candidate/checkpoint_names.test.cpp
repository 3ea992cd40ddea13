#include "harness/candidate/checkpoint_names.hpp"

#include <fmt/ranges.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <limits>

#include "harness/system/error.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;

namespace {

using Names = std::vector<std::string>;
using Tensors = std::vector<NamedTensor>;

struct Read {
  Names names, notes;
  std::string refused;  // the message, where it was
};

Read read(Tensors tensors) {
  Read read;
  try {
    make_names_canonical(tensors, read.notes, "model.pth");
  } catch (const InputError& error) {
    read.refused = error.what();
    CHECK(read.refused.find_first_of("\n\x1b") == std::string::npos);
  }
  for (const auto& tensor : tensors) read.names.push_back(tensor.name);
  return read;
}

Read read(const Names& names) {
  Tensors tensors;
  for (const auto& name : names) tensors.push_back({name, at::zeros({2, 2})});
  return read(std::move(tensors));
}

const Names kCanonical{"lm_head.weight",
                       "model.embed_tokens.weight",
                       "model.layers.0.input_layernorm.weight",
                       "model.layers.0.mlp.gate_proj.weight",
                       "model.layers.0.self_attn.q_proj.weight",
                       "model.layers.12.self_attn.o_proj.weight",
                       "model.norm.weight"};

}  // namespace

TEST_CASE("checkpoint names: canonical ones stay as they are, without a word", "[candidate][checkpoint]") {
  const auto found = read(kCanonical);
  CHECK(found.names == kCanonical);
  CHECK(found.notes.empty());
  CHECK(read(Names{"whatever", "weight", "", ".", "a..b", "layers.", "layers.x"}).notes.empty());
}

TEST_CASE("checkpoint names: other spellings are those of the same parts", "[candidate][checkpoint]") {
  const Names meta{"output.weight",
                   "tok_embeddings.weight",
                   "layers.0.attention_norm.weight",
                   "layers.0.feed_forward.w1.weight",
                   "layers.0.attention.wq.weight",
                   "layers.12.attention.wo.weight",
                   "norm.weight"};
  const Names torchtune{"output.weight",
                        "tok_embeddings.weight",
                        "layers.0.sa_norm.scale",
                        "layers.0.mlp.w1.weight",
                        "layers.0.attn.q_proj.weight",
                        "layers.12.attn.output_proj.weight",
                        "norm.scale"};
  const Names body{"lm_head.weight",
                   "embed_tokens.weight",
                   "layers.0.input_layernorm.weight",
                   "layers.0.mlp.gate_proj.weight",
                   "layers.0.self_attn.q_proj.weight",
                   "layers.12.self_attn.o_proj.weight",
                   "norm.weight"};
  for (const auto& names : {meta, torchtune, body})
    for (const std::string prefix : {"", "model.", "a.b.", "module.", "base_model.model."}) {
      INFO(prefix << names[1]);
      Names changed;
      for (const auto& name : names) changed.push_back(prefix + name);
      const auto found = read(changed);
      // A body within "model." is canonical, but for its head, which is none of it.
      if (names == body && prefix.ends_with("model.")) {
        CHECK(found.names.size() == kCanonical.size());
        continue;
      }
      CHECK(found.names == kCanonical);
      CHECK_THAT(fmt::format("{}", fmt::join(found.notes, "\n")),
                 ContainsSubstring("translated to Hugging Face's"));
    }
}

TEST_CASE("checkpoint names: what belongs to no model keeps its name", "[candidate][checkpoint]") {
  auto names = kCanonical;
  for (auto& name : names) name = "model." + name;
  names.emplace_back("loss.weight");
  const auto found = read(names);
  CHECK(found.names.size() == kCanonical.size() + 1);
  CHECK(found.names[1] == "loss.weight");
  CHECK(found.notes == Names{"the prefix \"model.\" was removed from 7 of 8 names"});
  CHECK_THAT(read(Names{"a.model.embed_tokens.weight", "b.model.embed_tokens.weight"}).refused,
             ContainsSubstring("model.pth: holds several models, under a., b.; save only one of them"));
}

TEST_CASE("checkpoint names: what is a table is left out, what was learned is not",
          "[candidate][checkpoint]") {
  const auto square = at::ones({4, 4});
  const auto hidden = at::full({4, 4}, -std::numeric_limits<float>::infinity()).triu(1);
  const auto found = read(Tensors{{"freqs_cis", at::ones({3}, at::kComplexFloat)},
                                  {"layers.0.attn.bias", square.tril().view({1, 1, 4, 4})},
                                  {"layers.0.attn.mask", hidden},
                                  {"layers.0.attn._mask", square.to(at::kBool)},
                                  {"layers.0.attn.masked_bias", at::tensor(-1e4f)},
                                  {"layers.0.rotary_emb.anything", square},
                                  {"layers.0.whatever", at::ones({3}, at::kBool)},
                                  // kept
                                  {"k.bias", at::ones({4})},
                                  {"l.bias", at::ones({4, 3})},
                                  {"m.bias", at::arange(16, at::kFloat).view({4, 4})},
                                  {"n.mask", at::full({4, 4}, std::numeric_limits<float>::quiet_NaN())},
                                  {"o.weight", at::ones({3}, at::kComplexFloat)},
                                  {"p.mask", at::ones({4, 4}, at::kComplexFloat)}});
  CHECK(found.names == Names{"k.bias", "l.bias", "m.bias", "n.mask", "o.weight", "p.mask"});
  REQUIRE(found.notes.size() == 1);
  CHECK_THAT(found.notes[0], ContainsSubstring("freqs_cis, layers.0.attn._mask, layers.0.attn.bias"));
}

TEST_CASE("checkpoint names: an adapter is left beside its base, and refused alone",
          "[candidate][checkpoint]") {
  const auto both =
      read(Names{"q_proj.base_layer.weight", "q_proj.lora_A.default.weight", "q_proj.lora.B.weight"});
  CHECK(both.names == Names{"q_proj.weight"});
  CHECK_THAT(both.notes.at(0), ContainsSubstring("2 tensors of a LoRA adapter were left out"));
  CHECK_THAT(read(Names{"q_proj.lora_A.weight", "q_proj.lora_B.weight"}).refused,
             ContainsSubstring("model.pth: holds only a LoRA adapter"));
}

TEST_CASE("checkpoint names: what is no model of plain weights is called what it is",
          "[candidate][checkpoint]") {
  for (const auto& [name, what] : {std::pair{"a.qweight", "quantised (AWQ or GPTQ"},
                                   {"a.g_idx", "quantised (GPTQ"},
                                   {"a.SCB", "quantised (bitsandbytes, 8 bits"},
                                   {"a.weight_scale", "quantised (fp8"},
                                   {"layers.0.mlp.experts.0.up.weight", "a mixture of experts"}})
    CHECK_THAT(read(Names{"a.weight", name}).refused, ContainsSubstring(what));
  CHECK_THAT(read(Tensors{{"a.weight", at::ones({2, 2}, at::kChar)}}).refused,
             ContainsSubstring("quantised (8-bit integers"));
  CHECK(read(Tensors{{"a.weight", at::ones({2}, at::kChar)}}).refused.empty());
}
