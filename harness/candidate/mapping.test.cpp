#include "harness/candidate/mapping.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "harness/system/error.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
namespace {

const Specification& tiny() {
  static const auto specification =
      find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  return specification;
}

const Weights& weights() {
  static const auto all = discriminating_weights(tiny().parameters(), 1);
  return all;
}

// tiny with 48 wide, 16 key/value and 128 feed-forward rows, in a layout of its own.
std::vector<ParameterDescription> fused() {
  std::vector<ParameterDescription> own{{"tok.weight", {101, 48}, at::kFloat},
                                        {"ln_f.weight", {48}, at::kFloat}};
  for (int layer = 0; layer < 5; ++layer) {
    const auto block = fmt::format("blocks.{}.", layer);
    own.push_back({block + "attn.qkv.weight", {80, 48}, at::kFloat});
    own.push_back({block + "attn.proj.weight", {48, 48}, at::kFloat});
    own.push_back({block + "ln1.weight", {48}, at::kFloat});
    own.push_back({block + "ln2.weight", {48}, at::kFloat});
    own.push_back({block + "mlp.gate_up.weight", {48, 256}, at::kFloat});  // (in, out)
    own.push_back({block + "mlp.proj.weight", {48, 128}, at::kFloat});
  }
  return own;
}

Json fused_lines() {
  const std::string layer = "model.layers.{layer}.";
  return {{"model.embed_tokens.weight", "tok.weight"},
          {"model.norm.weight", "ln_f.weight"},
          {layer + "self_attn.q_proj.weight",
           {{"from", "blocks.{layer}.attn.qkv.weight"}, {"slice", {0, 0, 48}}}},
          {layer + "self_attn.k_proj.weight",
           {{"from", "blocks.{layer}.attn.qkv.weight"}, {"slice", {0, 48, 16}}}},
          {layer + "self_attn.v_proj.weight",
           {{"from", "blocks.{layer}.attn.qkv.weight"}, {"slice", {0, 64, 16}}}},
          {layer + "self_attn.o_proj.weight", "blocks.{layer}.attn.proj.weight"},
          {layer + "input_layernorm.weight", "blocks.{layer}.ln1.weight"},
          {layer + "post_attention_layernorm.weight", "blocks.{layer}.ln2.weight"},
          {layer + "mlp.gate_proj.weight",
           {{"from", "blocks.{layer}.mlp.gate_up.weight"}, {"slice", {1, 0, 128}}, {"transpose", true}}},
          {layer + "mlp.up_proj.weight",
           {{"from", "blocks.{layer}.mlp.gate_up.weight"}, {"slice", {1, 128, 128}}, {"transpose", true}}},
          {layer + "mlp.down_proj.weight", "blocks.{layer}.mlp.proj.weight"}};
}

Weights zeros(const std::vector<ParameterDescription>& own) {
  Weights all;
  for (const auto& parameter : own) all[parameter.name] = at::zeros(parameter.shape);
  return all;
}

Weights by_name(const NamedTensors& tensors) {
  return {tensors.begin(), tensors.end()};
}

std::string refusal(const Json& lines, const std::vector<ParameterDescription>& own = fused()) {
  try {
    Mapping(lines, own, {}, "x.py");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

Json changed(const std::string& name, const Json& value) {
  auto lines = fused_lines();
  lines[name] = value;
  return lines;
}

}  // namespace

TEST_CASE("mapping: weights written through it and read back are the same bits, wherever they lie",
          "[candidate][mapping]") {
  const Mapping mapping(fused_lines(), fused(), {}, "x.py");
  CHECK(mapping.surplus().empty());
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const auto& parameter : mapping.parameters()) shapes[parameter.name] = parameter.shape;
  CHECK(shapes.size() == tiny().parameters().size());
  for (const auto& [name, shape] : tiny().parameters()) CHECK(shapes.at(name) == shape);
  const auto own = by_name(mapping.to_candidate(weights(), zeros(fused())));
  const auto& up = weights().at("model.layers.3.mlp.up_proj.weight");
  CHECK(own.at("blocks.3.mlp.gate_up.weight").narrow(1, 128, 128).equal(up.t()));
  CHECK(own.at("blocks.3.attn.qkv.weight")
            .narrow(0, 48, 16)
            .equal(weights().at("model.layers.3.self_attn.k_proj.weight")));
  const auto back = mapping.to_canonical(own);
  for (const auto& [name, values] : weights()) CHECK(back.at(name).equal(values));
}

TEST_CASE("mapping: without lines, names are canonical, and a tied matrix has either of its names",
          "[candidate][mapping]") {
  std::vector<ParameterDescription> own;
  for (const auto& [name, shape] : tiny().parameters())
    own.push_back({name == "model.embed_tokens.weight" ? "lm_head.weight" : name, shape, at::kFloat});
  const Mapping mapping(nullptr, own, {{"lm_head.weight", "model.embed_tokens.weight"}}, "x.py");
  const auto back = mapping.to_canonical(by_name(mapping.to_candidate(weights(), zeros(own))));
  CHECK(back.size() == weights().size());
  for (const auto& [name, values] : weights()) CHECK(back.at(name).equal(values));
}

TEST_CASE("mapping: parts, stacks of layers and heads that are interleaved are views like any other",
          "[candidate][mapping]") {
  // One tensor for all layers; queries in two halves; keys and values of each head beside each other.
  std::vector<ParameterDescription> own{{"q.first", {5, 24, 48}, at::kFloat},
                                        {"q.second", {5, 24, 48}, at::kFloat},
                                        {"kv", {5, 32, 48}, at::kFloat}};
  const std::string layer = "model.layers.{layer}.self_attn.";
  const Json lines = {
      {layer + "q_proj.weight",
       {{{"from", "q.first"}, {"select", {0, "{layer}"}}},
        {{"from", "q.second"}, {"select", {0, "{layer}"}}}}},
      {layer + "k_proj.weight", {{"from", "kv"}, {"select", {0, "{layer}"}}, {"slice", {0, 0, 16}}}},
      {layer + "v_proj.weight", {{"from", "kv"}, {"select", {0, "{layer}"}}, {"slice", {0, 16, 16}}}}};
  CHECK_THAT(refusal({{layer + "q_proj.weight", {{"from", "q.first"}, {"select", {3, "{layer}"}}}}}, own),
             ContainsSubstring("axis 3 is none of [5,24,48]"));
  const Mapping mapping(lines, own, {}, "x.py");
  Weights some;
  for (const auto& [name, values] : weights())
    if (name.find("self_attn") != std::string::npos && name.find("o_proj") == std::string::npos)
      some[name] = values;
  const auto filled = by_name(mapping.to_candidate(some, zeros(own)));
  CHECK(filled.at("q.second")[4].equal(
      weights().at("model.layers.4.self_attn.q_proj.weight").narrow(0, 24, 24)));
  const auto back = mapping.to_canonical(filled);
  CHECK(back.size() == 15);
  for (const auto& [name, values] : some) CHECK(back.at(name).equal(values));

  // (head, key or value, Dh) as one axis of rows.
  const Json interleaved = {{"model.layers.0.self_attn.k_proj.weight",
                             {{"from", "kv"}, {"view", {2, 2, 8, 48}}, {"select", {1, 0}}}},
                            {"model.layers.0.self_attn.v_proj.weight",
                             {{"from", "kv"}, {"view", {2, 2, 8, 48}}, {"select", {1, 1}}}}};
  const Mapping heads(interleaved, {{"kv", {32, 48}, at::kFloat}}, {}, "x.py");
  CHECK(heads.parameters().at(0).shape == std::vector<std::int64_t>{2, 8, 48});
}

TEST_CASE("mapping: a head of its own that no line names is void as the embedding", "[candidate][mapping]") {
  auto own = fused();
  own.push_back({"out.weight", {101, 48}, at::kFloat});
  Weights before;
  for (const auto& parameter : own) before[parameter.name] = at::full(parameter.shape, 3.0);
  const auto filled = [&] {
    Weights all;
    const auto tensors = Mapping(fused_lines(), own, {}, "the adapter").to_candidate(weights(), before);
    all.insert(tensors.begin(), tensors.end());
    return all;
  };
  CHECK(filled().at("out.weight").equal(weights().at("model.embed_tokens.weight")));
  // Of two, neither can be told to be it.
  own.push_back({"positions.weight", {101, 48}, at::kFloat});
  before["positions.weight"] = at::full({101, 48}, 3.0);
  CHECK(filled().at("out.weight").eq(3).all().item<bool>());
}

TEST_CASE("mapping: what no line names is surplus, by name and number, and is made void",
          "[candidate][mapping]") {
  auto own = fused();
  own.push_back({"blocks.2.mlp.proj.bias", {48}, at::kFloat});
  own.push_back({"head.weight", {101, 48}, at::kFloat});
  own.push_back({"scale", {3}, at::kFloat});
  auto lines = fused_lines();
  lines["lm_head.weight"] = "head.weight";
  lines["model.layers.{layer}.self_attn.q_proj.weight"]["slice"] = {0, 0, 40};
  const Mapping mapping(lines, own, {}, "x.py");
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const auto& parameter : mapping.parameters()) shapes[parameter.name] = parameter.shape;
  CHECK(shapes.at("blocks.2.mlp.proj.bias") == std::vector<std::int64_t>{48});
  CHECK(shapes.at("scale") == std::vector<std::int64_t>{3});
  CHECK(shapes.at("blocks.1.attn.qkv.weight (elements that no line of the mapping uses)") ==
        std::vector<std::int64_t>{8 * 48});
  CHECK(shapes.at("lm_head.weight") == std::vector<std::int64_t>{101, 48});
  auto before = zeros(own);
  for (auto& [name, values] : before) values.fill_(7);
  auto given = weights();
  for (auto& [name, values] : given)
    if (name.find("q_proj") != std::string::npos) values = values.narrow(0, 0, 40);
  const auto filled = by_name(mapping.to_candidate(given, before));
  CHECK(filled.at("blocks.2.mlp.proj.bias").eq(0).all().item<bool>());
  CHECK(filled.at("scale").eq(7).all().item<bool>());
  CHECK(filled.at("head.weight").equal(weights().at("model.embed_tokens.weight")));
}

TEST_CASE("mapping: weights that have no place, or another shape, are not loaded, and it is said which",
          "[candidate][mapping]") {
  auto lines = fused_lines();
  lines.erase("model.norm.weight");
  CHECK_THROWS_MATCHES(Mapping(lines, fused(), {}, "x.py").to_candidate(weights(), zeros(fused())), NotShown,
                       MessageMatches(ContainsSubstring("it has no parameter model.norm.weight")));
  lines = changed("model.layers.{layer}.self_attn.k_proj.weight",
                  {{"from", "blocks.{layer}.attn.qkv.weight"}, {"slice", {0, 48, 8}}});
  CHECK_THROWS_MATCHES(
      Mapping(lines, fused(), {}, "x.py").to_candidate(weights(), zeros(fused())), NotShown,
      MessageMatches(ContainsSubstring(
          "model.layers.0.self_attn.k_proj.weight has shape [8, 48], but the specification has [16, 48]")));
}

TEST_CASE("mapping: lines that do not fit are refused by name", "[candidate][mapping]") {
  CHECK(refusal(fused_lines()) == "accepted");
  CHECK_THAT(refusal(Json::array()),
             ContainsSubstring("x.py: 'mapping' has the wrong type; expected an object or null"));
  const std::string q = "model.layers.{layer}.self_attn.q_proj.weight";
  const auto with = [&](const Json& value) { return refusal(changed(q, value)); };
  CHECK_THAT(refusal(changed("model.norm.weight", 5)),
             ContainsSubstring("mapping of 'model.norm.weight': expected the candidate's name"));
  CHECK_THAT(with("nothing.{layer}"), ContainsSubstring("has no parameter \"nothing.{layer}\""));
  CHECK_THAT(
      with("tok.weight"),
      ContainsSubstring("the name contains {layer}, but the value does not; use it in both or in neither"));
  CHECK_THAT(with(Json::array()), ContainsSubstring("but the value does not"));
  const std::string from = "blocks.{layer}.attn.qkv.weight";
  CHECK_THAT(with({{"from", from}, {"rows", {0, 48}}}),
             ContainsSubstring("unknown step 'rows'; known are view"));
  CHECK_THAT(with({{"from", from}, {"slice", {0, 48}}}), ContainsSubstring("'slice' is [0,48]"));
  CHECK_THAT(with({{"from", from}, {"slice", "0"}}), ContainsSubstring("'slice' is \"0\""));
  CHECK_THAT(with({{"from", from}, {"transpose", false}}), ContainsSubstring("'transpose' is false"));
  CHECK_THAT(
      with({{"from", from}, {"slice", {0, 70, 48}}}),
      ContainsSubstring("blocks.0.attn.qkv.weight: step slice [0,70,48] does not fit the shape [80, 48]"));
  CHECK_THAT(with({{"from", from}, {"view", {7, 7}}}), ContainsSubstring("does not fit"));
  CHECK_THAT(with({{"from", from}, {"slice", {0, 0, 49}}}),
             ContainsSubstring("another line already uses some elements of blocks.0.attn.qkv.weight"));
  auto more = fused();
  more.push_back({"spare", {3, 7}, at::kFloat});
  CHECK_THAT(refusal(changed("model.norm.weight", {"ln_f.weight", "spare"}), more),
             ContainsSubstring("a part has shape [3, 7], which cannot follow shape [48]"));
  CHECK_THAT(
      refusal(changed("model.norm.weight", "blocks.{layer}.ln1.weight")),
      ContainsSubstring("the value contains {layer}, but the name does not; use it in both or in neither"));
}

TEST_CASE("mapping: a first mapping is proposed from names and shapes, and works", "[candidate][mapping]") {
  CHECK(propose_mapping(fused(), tiny()) == fused_lines());
  // Meta's names, and those of a checkpoint that Hugging Face wrote.
  std::vector<ParameterDescription> meta, canonical;
  const std::vector<std::pair<std::string, std::string>> names = {{"model.embed_tokens", "tok_embeddings"},
                                                                  {"self_attn.q_proj", "attention.wq"},
                                                                  {"self_attn.k_proj", "attention.wk"},
                                                                  {"self_attn.v_proj", "attention.wv"},
                                                                  {"self_attn.o_proj", "attention.wo"},
                                                                  {"mlp.gate_proj", "feed_forward.w1"},
                                                                  {"mlp.up_proj", "feed_forward.w3"},
                                                                  {"mlp.down_proj", "feed_forward.w2"},
                                                                  {"input_layernorm", "attention_norm"},
                                                                  {"post_attention_layernorm", "ffn_norm"},
                                                                  {"model.norm", "norm"},
                                                                  {"model.layers", "layers"}};
  for (const auto& [name, shape] : tiny().parameters()) {
    canonical.push_back({name, shape, at::kFloat});
    auto other = name;
    for (const auto& [from, to] : names)
      if (const auto at = other.find(from); at != std::string::npos) other.replace(at, from.size(), to);
    meta.push_back({other, shape, at::kFloat});
  }
  for (const auto& own : {meta, canonical}) {
    const Mapping mapping(propose_mapping(own, tiny()), own, {}, "x.py");
    CHECK(mapping.surplus().empty());
    const auto back = mapping.to_canonical(by_name(mapping.to_candidate(weights(), zeros(own))));
    for (const auto& [name, values] : weights()) CHECK(back.at(name).equal(values));
  }
  CHECK(propose_mapping({{"a.b", {3}, at::kFloat}}, tiny()).empty());
}
