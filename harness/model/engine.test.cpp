// The engine is fast and has to be right: here it is held against the reference model in float64, within what
// the reference's own float32 run errs on the same tokens.
#include "harness/model/engine.hpp"

#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <limits>

#include "harness/model/kernels.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

// Room for honest differences in the order of sums: a small multiple of the reference's own rounding.
constexpr double kRoom = 16;

// The largest |a - b|; infinite where it is NaN, or where there is nothing to compare.
double distance(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes() || a.numel() == 0) return std::numeric_limits<double>::infinity();
  const auto largest = (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
  return std::isnan(largest) ? std::numeric_limits<double>::infinity() : largest;
}

Specification specification(const std::string& name) {
  auto found = find_specification(name, PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  found.num_hidden_layers =
      std::min<std::int64_t>(found.num_hidden_layers, 4);  // more of the same takes time only
  return found;
}

// The reference in float64 and float32, and the engine, on the same weights.
struct Trio {
  explicit Trio(const Specification& s, at::ScalarType type = at::kFloat)
      : weights(convert(discriminating_weights(s.parameters(), 1), type, at::kCPU)),
        exact(s, convert(weights, at::kDouble, at::kCPU)),
        reference(s, weights),
        engine(s, weights) {}

  Tokens tokens(std::int64_t batch, std::int64_t length) const {
    return {probe_tokens("engine", batch, length, exact.specification().vocab_size, 1), {}, Padding::none};
  }
  double allowed(const Tokens& given, const at::Tensor& right) const {
    return kRoom * distance(reference.forward(given), right);
  }

  Weights weights;
  Model exact, reference;
  Engine engine;
};

at::Tensor in_chunks(const Engine& engine, const Tokens& tokens, const std::vector<std::int64_t>& chunks,
                     std::int64_t capacity, double unwritten = 0) {
  auto cache = engine.make_cache(tokens.ids.size(0), capacity);
  for (auto& layer : cache.layers) {
    layer.keys.fill_(unwritten);
    layer.values.fill_(unwritten);
  }
  std::vector<at::Tensor> logits;
  std::int64_t done = 0;
  for (const auto chunk : chunks) {
    logits.push_back(engine.extend(cache, {tokens.ids.narrow(1, done, chunk), {}, Padding::none}));
    done += chunk;
  }
  REQUIRE(done == tokens.ids.size(1));
  return at::cat(logits, 1);
}

std::vector<std::int64_t> ones(std::int64_t count) {
  return std::vector<std::int64_t>(static_cast<std::size_t>(count), 1);
}

// The same in every mode that the engine has.
void check_modes(const Trio& trio) {
  const auto tokens = trio.tokens(3, 21);
  const auto right = trio.exact.forward(tokens);
  const auto allowed = trio.allowed(tokens, right);
  REQUIRE(allowed > 0);
  CHECK(distance(trio.engine.forward(tokens), right) <= allowed);
  CHECK(distance(in_chunks(trio.engine, tokens, {21}, 21), right) <= allowed);
  CHECK(distance(in_chunks(trio.engine, tokens, {10, 9, 2}, 30), right) <= allowed);
  CHECK(distance(in_chunks(trio.engine, tokens, ones(21), 21), right) <= allowed);
  for (std::int64_t batch = 1; batch <= 3; ++batch) {  // one row alone is another loop than several
    const Tokens some{tokens.ids.narrow(0, 0, batch), {}, Padding::none};
    CHECK(distance(trio.engine.forward(some), right.narrow(0, 0, batch)) <= allowed);
    CHECK(distance(in_chunks(trio.engine, some, ones(21), 21), right.narrow(0, 0, batch)) <= allowed);
  }
}

}  // namespace

TEST_CASE("the engine is the reference model: full pass, chunks and one token at a time", "[engine]") {
  for (const auto* name : {"tiny", "minimind2-small", "minimind-v1-small", "diy-before"}) {
    INFO(name);
    check_modes(Trio(specification(name)));
  }
}

TEST_CASE("the engine reads biases of attention, a head of its own and the tanh form of GELU", "[engine]") {
  auto s = specification("tiny");
  s.attention_bias = s.mlp_bias = true;
  s.tie_word_embeddings = false;
  s.hidden_act = Activation::gelu_tanh;
  check_modes(Trio(s));
}

TEST_CASE("the engine is right for sizes that its own loops do not serve", "[engine]") {
  auto s = specification("tiny");
  s.hidden_size = 36;
  s.intermediate_size = 50;
  for (const auto rotary : {Rotary::halves, Rotary::pairs}) {
    s.rotary = rotary;
    REQUIRE_FALSE(kernels::supported(s, at::kFloat, at::kCPU));
    check_modes(Trio(s));
  }
}

TEST_CASE("the engine works in float64, to float64's rounding", "[engine]") {
  const Trio trio(specification("tiny"), at::kDouble);
  const auto tokens = trio.tokens(2, 17);
  const auto right = trio.exact.forward(tokens);
  const auto allowed = 1e-12 * right.abs().max().item<double>();
  CHECK(distance(trio.engine.forward(tokens), right) <= allowed);
  CHECK(distance(in_chunks(trio.engine, tokens, ones(17), 17), right) <= allowed);
}

TEST_CASE("in bfloat16 the engine errs no more than the reference does", "[engine]") {
  for (const auto precision : {NormPrecision::float32, NormPrecision::model}) {
    auto s = specification("tiny");
    s.norm_precision = precision;
    const Trio trio(s, at::kBFloat16);
    const auto tokens = trio.tokens(3, 21);
    const auto right = trio.exact.forward(tokens);
    const auto allowed = 2 * distance(trio.reference.forward(tokens), right);  // two draws of the same noise
    CHECK(distance(trio.engine.forward(tokens), right) <= allowed);
    CHECK(distance(in_chunks(trio.engine, tokens, {10, 11}, 21), right) <= allowed);
    CHECK(distance(in_chunks(trio.engine, tokens, ones(21), 21), right) <= allowed);
  }
}

TEST_CASE("padding on either side changes nothing for the real tokens, then and in what is decoded after it",
          "[engine]") {
  for (const auto* name : {"tiny", "minimind-v1-small"}) {
    const Trio trio(specification(name));
    const auto all = trio.tokens(3, 14);
    for (const auto side : {Padding::right, Padding::left}) {
      const Tokens padded{all.ids.narrow(1, 0, 10), {10, 4, 7}, side};
      const auto real = real_tokens(padded).unsqueeze(2);
      auto exact_cache = trio.exact.make_cache(3, 14);
      auto rough_cache = trio.reference.make_cache(3, 14);
      auto cache = trio.engine.make_cache(3, 14);
      const auto right = trio.exact.extend(exact_cache, padded).where(real, 0.0);
      const auto allowed =
          kRoom * distance(trio.reference.extend(rough_cache, padded).where(real, 0.0), right);
      CHECK(distance(trio.engine.forward(padded).where(real, 0.0), right) <= allowed);
      CHECK(distance(trio.engine.extend(cache, padded).where(real, 0.0), right) <= allowed);
      for (const auto& [from, count] : {std::pair{10, 1}, std::pair{11, 2}, std::pair{13, 1}}) {
        const Tokens next{all.ids.narrow(1, from, count), {}, Padding::none};
        const auto expected = trio.exact.extend(exact_cache, next);
        const auto room = kRoom * distance(trio.reference.extend(rough_cache, next), expected);
        CHECK(distance(trio.engine.extend(cache, next), expected) <= room);
      }
      CHECK(at::equal(cache.seen, exact_cache.seen));
      CHECK(at::equal(cache.real, exact_cache.real));
    }
  }
}

TEST_CASE("the first position may be any, within the rotations kept ready and beyond", "[engine]") {
  const auto s = specification("tiny");
  const Trio trio(s);
  const auto tokens = trio.tokens(2, 6);
  for (const std::int64_t first : {1, 1000, 32765, 40000}) {
    PassOptions options;
    options.first_position = first;
    const auto right = trio.exact.forward(tokens, options);
    CHECK(distance(trio.engine.forward(tokens, first), right) <=
          kRoom * distance(trio.reference.forward(tokens, options), right));
  }
}

TEST_CASE("a full cache refuses more and stays as it was; slots not yet written have no influence",
          "[engine]") {
  const Trio trio(specification("tiny"));
  const auto tokens = trio.tokens(2, 9);
  CHECK(at::equal(in_chunks(trio.engine, tokens, {4, 1, 4}, 12, 1e4),
                  in_chunks(trio.engine, tokens, {4, 1, 4}, 12)));
  auto cache = trio.engine.make_cache(2, 9);
  trio.engine.extend(cache, {tokens.ids.narrow(1, 0, 8), {}, Padding::none});
  const auto before = cache.layers[1].keys.clone();
  CHECK_THROWS_AS(trio.engine.extend(cache, {tokens.ids.narrow(1, 0, 2), {}, Padding::none}), CacheOverrun);
  CHECK(cache.length == 8);
  CHECK(at::equal(cache.layers[1].keys, before));
  CHECK_NOTHROW(trio.engine.extend(cache, {tokens.ids.narrow(1, 8, 1), {}, Padding::none}));
}

TEST_CASE("the engine's cache holds what the reference's does", "[engine]") {
  const Trio trio(specification("tiny"));
  const auto tokens = trio.tokens(2, 9);
  auto exact = trio.exact.make_cache(2, 9), rough = trio.reference.make_cache(2, 9);
  trio.exact.extend(exact, tokens);
  trio.reference.extend(rough, tokens);
  auto cache = trio.engine.make_cache(2, 9);
  trio.engine.extend(cache, tokens);
  for (std::size_t layer = 0; layer < cache.layers.size(); ++layer) {
    const auto &right = exact.layers[layer], &rounded = rough.layers[layer], &held = cache.layers[layer];
    CHECK(distance(held.keys, right.keys) <= kRoom * distance(rounded.keys, right.keys));
    CHECK(distance(held.values, right.values) <= kRoom * distance(rounded.values, right.values));
  }
}

TEST_CASE("weights that do not fit are refused by name", "[engine]") {
  const auto s = specification("tiny");
  auto weights = discriminating_weights(s.parameters(), 1);
  weights["model.layers.2.mlp.up_proj.weight"] = at::zeros({3, 3});
  CHECK_THROWS_AS(Engine(s, weights), InputError);
  weights.erase("model.layers.2.mlp.up_proj.weight");
  CHECK_THROWS_AS(Engine(s, weights), InputError);
}

TEST_CASE("the product of a few rows is the matrix product, for each number of rows", "[engine]") {
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (std::int64_t rows = 1; rows <= kernels::kMostKernelRows; ++rows) {
      const auto x = at::randn({rows, 96}).to(type), weight = at::randn({53, 96}).to(type),
                 bias = at::randn({53}).to(type);
      const auto right = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
      // Sums of 97 terms in float32; for bfloat16 the result is rounded once more.
      const auto magnitude =
          at::linear(x.abs().to(at::kDouble), weight.abs().to(at::kDouble), bias.abs().to(at::kDouble))
              .max()
              .item<double>();
      const auto allowed = magnitude * (97 * 0x1p-24 + (type == at::kFloat ? 0 : 0x1p-9));
      CHECK(distance(kernels::product(x, weight, bias), right) <= allowed);
      CHECK(distance(kernels::product(x, weight, {}), right - bias) <= allowed);
    }
}

}  // namespace plumbline
