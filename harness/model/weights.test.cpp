#include "harness/model/weights.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <sstream>
#include "harness/system/json.hpp"

#include "harness/system/child.hpp"
#include "harness/system/files.hpp"

using namespace plumbline;

namespace {

Specification tiny() {
  return find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
}

at::Tensor one(const std::string& name, const std::vector<std::int64_t>& shape, std::uint32_t seed = 1) {
  return discriminating_weights({{name, shape}}, seed).at(name);
}

std::string hash(const at::Tensor& tensor) {
  REQUIRE(tensor.is_contiguous());
  return sha256({static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()});
}

double deviation(const at::Tensor& x) {
  return x.to(at::kDouble).std(/*unbiased=*/false).item<double>();
}
double most(const at::Tensor& x) {
  return x.to(at::kDouble).abs().max().item<double>();
}

// |actual / expected - 1|
double off(double actual, double expected) {
  return std::abs(actual / expected - 1);
}

// The same tensors as numpy makes them, a line "name: hash" each.
std::vector<std::string> hashes_of_numpy(const Json& requests) {
  const std::string script = R"(
import hashlib, json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from oracle import weights
for name, shape, seed in json.loads(sys.argv[2]):
    if name.startswith("probe/"):
        values = weights.tokens(name[6:], shape[0] * shape[1], shape[2], seed)
    else:
        values = weights.generate(name, tuple(shape), seed)
    print(f"{name} {values.dtype.name}: {hashlib.sha256(values.tobytes()).hexdigest()}")
)";
  const auto result =
      run_child({PLUMBLINE_PYTHON, "-c", script, PLUMBLINE_SOURCE_DIR "/golden", requests.dump()}, {});
  INFO(result.errors);
  REQUIRE(result.succeeded());
  std::vector<std::string> lines;
  std::istringstream text(result.output);
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

}  // namespace

TEST_CASE("weights: every tensor and every probe has numpy's bits", "[model][weights]") {
  at::set_num_threads(2);
  auto specification = tiny();
  specification.attention_bias = specification.mlp_bias = true;
  specification.tie_word_embeddings = false;
  Json requests = Json::array();
  std::vector<std::string> ours;
  const auto weight = [&](const std::string& name, const std::vector<std::int64_t>& shape,
                          std::uint32_t seed) {
    requests.push_back({name, shape, seed});
    ours.push_back(fmt::format("{} float32: {}", name, hash(one(name, shape, seed))));
  };
  for (const auto& [name, shape] : specification.parameters()) weight(name, shape, 1);
  weight("model.embed_tokens.weight", {101, 48}, 2024);
  weight("model.norm.weight", {51}, 7);
  weight("model.layers.0.self_attn.q_proj.weight", {401, 101}, 1);  // long enough for threads to share
  for (const auto& [name, batch, length, vocabulary] :
       {std::tuple{"standard", 1, 24, 101}, {"padded", 3, 7, 6400}, {"one", 1, 1, 101}}) {
    requests.push_back({fmt::format("probe/{}", name), {batch, length, vocabulary}, 1});
    ours.push_back(
        fmt::format("probe/{} int64: {}", name, hash(probe_tokens(name, batch, length, vocabulary, 1))));
  }
  const auto theirs = hashes_of_numpy(requests);
  REQUIRE(theirs.size() == ours.size());
  for (std::size_t i = 0; i < ours.size(); ++i) CHECK(ours[i] == theirs[i]);
}

TEST_CASE("weights: tokens are in the vocabulary, and a probe's name and seed make them",
          "[model][weights]") {
  const auto tokens = probe_tokens("x", 4, 500, 101, 1);
  CHECK(tokens.sizes() == at::IntArrayRef({4, 500}));
  CHECK(tokens.min().item<std::int64_t>() == 0);
  CHECK(tokens.max().item<std::int64_t>() == 100);
  CHECK_FALSE(tokens.equal(probe_tokens("y", 4, 500, 101, 1)));
  CHECK_FALSE(tokens.equal(probe_tokens("x", 4, 500, 101, 2)));
}

TEST_CASE("weights: projections have the deviation that makes attention neither uniform nor one-hot",
          "[model][weights]") {
  const std::string layer = "model.layers.0.";
  const std::vector<std::int64_t> shape{500,
                                        64};  // 32,000 draws: a deviation within 0.4 %, 5 times that allowed
  for (const auto& name : {"self_attn.q_proj", "self_attn.k_proj"})
    CHECK(off(deviation(one(layer + name + ".weight", shape)), 1.6 / 8) < 0.02);
  for (const auto& name :
       {"self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"})
    CHECK(off(deviation(one(layer + name + ".weight", shape)), 1.0 / 8) < 0.02);
  CHECK(off(deviation(one("lm_head.weight", shape)), 1.0 / 8) < 0.02);
  CHECK(off(deviation(one(layer + "self_attn.q_proj.bias", {32000})), 0.3) < 0.02);
  const auto values = one(layer + "mlp.up_proj.weight", shape);
  CHECK(std::abs(values.mean().item<double>()) < 5 * (1.0 / 8) / std::sqrt(32000.0));
  CHECK_FALSE(values.equal(one("model.layers.1.mlp.up_proj.weight", shape)));
  CHECK_FALSE(values.equal(one(layer + "mlp.up_proj.weight", shape, 2)));
}

TEST_CASE("weights: an eighth of the embedding's rows are faint, their mean square near eps",
          "[model][weights]") {
  const auto embedding = one("model.embed_tokens.weight", {800, 64});
  const auto faint_rows = at::arange(5, 800, 8, at::kLong), other_rows = at::arange(6, 800, 8, at::kLong);
  const auto faint = embedding.index_select(0, faint_rows);
  CHECK(off(deviation(faint), 0.02 * 0.15) < 0.05);
  CHECK(off(deviation(embedding.index_select(0, other_rows)), 0.02) < 0.05);
  CHECK(off(deviation(embedding.slice(0, 0, 800, 8)), 0.02) < 0.05);
  CHECK(off(faint.square().mean().item<double>(), 1e-5) < 0.2);
}

TEST_CASE("weights: norm weights are uniform from 0.5 up to 1.5", "[model][weights]") {
  for (const auto& name : {"model.norm.weight", "model.layers.4.input_layernorm.weight",
                           "model.layers.4.post_attention_layernorm.weight"}) {
    const auto weight = one(name, {8000});
    CHECK(weight.min().item<float>() >= 0.5f);
    CHECK(weight.max().item<float>() < 1.5f);
    CHECK(off(weight.mean().item<double>(), 1) < 0.02);
    CHECK(off(deviation(weight), std::sqrt(1.0 / 12)) < 0.02);
  }
}

TEST_CASE("weights: initial ones keep torch.nn.Linear's bounds, and fill them", "[model][weights]") {
  auto specification = tiny();
  specification.attention_bias = specification.mlp_bias = true;
  specification.tie_word_embeddings = false;
  const auto weights = initial_weights(specification, 1);
  CHECK(weights.size() == specification.parameters().size());
  for (const auto& [name, shape] : specification.parameters()) {
    INFO(name);
    const auto& values = weights.at(name);
    CHECK(values.sizes() == at::IntArrayRef(shape));
    CHECK(values.scalar_type() == at::kFloat);
    if (name.ends_with("norm.weight")) {
      CHECK(values.eq(1).all().item<bool>());
    } else if (name.ends_with(".bias")) {
      CHECK(values.eq(0).all().item<bool>());
    } else {
      const double bound = 1 / std::sqrt(static_cast<double>(shape[1]));
      CHECK(most(values) <= bound * (1 + 0x1p-24));
      CHECK(most(values) > 0.98 * bound);
      CHECK(off(deviation(values), bound / std::sqrt(3.0)) < 0.1);
    }
  }
  specification.initialization = kStandardNormalEmbedding;
  const auto normal = initial_weights(specification, 1);
  CHECK(off(deviation(normal.at("model.embed_tokens.weight")), 1) < 0.05);
  CHECK(most(normal.at("model.embed_tokens.weight")) > 3);
  CHECK(most(normal.at("lm_head.weight")) < 1);  // the embedding alone is drawn otherwise
}

TEST_CASE("weights: conversion changes type and nothing that already fits", "[model][weights]") {
  const auto weights = discriminating_weights({{"model.norm.weight", {8}}, {"lm_head.weight", {3, 4}}}, 1);
  const auto same = convert(weights, at::kFloat, at::kCPU);
  CHECK(same.at("lm_head.weight").is_same(weights.at("lm_head.weight")));
  const auto narrow = convert(weights, at::kBFloat16, at::kCPU);
  CHECK(narrow.size() == 2);
  CHECK(narrow.at("lm_head.weight").equal(weights.at("lm_head.weight").to(at::kBFloat16)));
}
