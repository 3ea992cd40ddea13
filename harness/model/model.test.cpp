#include "harness/model/model.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include "harness/system/json.hpp"

#include "harness/model/departures/departures.hpp"
#include "harness/system/error.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;

namespace {

// Of sums of a few hundred float64 products, through five layers.
constexpr double noise64 = 1e-12;

const Specification& tiny() {
  static const auto specification =
      find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  return specification;
}

Weights weights(at::ScalarType type = at::kDouble) {
  return convert(discriminating_weights(tiny().parameters(), 1), type, at::kCPU);
}

Model model(at::ScalarType type = at::kDouble) {
  return {tiny(), weights(type)};
}

Tokens tokens(std::int64_t batch, std::int64_t length) {
  return {probe_tokens("model", batch, length, tiny().vocab_size, 1), {}, Padding::none};
}

Tokens part(const Tokens& whole, std::int64_t begin, std::int64_t count) {
  return {whole.ids.narrow(1, begin, count), {}, Padding::none};
}

double apart(const at::Tensor& one, const at::Tensor& other) {
  REQUIRE(one.sizes() == other.sizes());
  return (one.to(at::kDouble) - other.to(at::kDouble)).abs().max().item<double>();
}

at::Tensor in_chunks(const Model& of, KVCache& cache, const Tokens& whole,
                     const std::vector<std::int64_t>& chunks) {
  std::vector<at::Tensor> logits;
  std::int64_t begin = 0;
  for (const auto count : chunks) {
    logits.push_back(of.extend(cache, part(whole, begin, count)));
    begin += count;
  }
  CHECK(cache.length == begin);
  return at::cat(logits, 1);
}

std::string refusal(Weights given) {
  try {
    const Model refused(tiny(), std::move(given));
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("model: a full pass and any chunks through the cache give the same logits", "[model]") {
  const at::NoGradGuard no_gradients;
  const auto reference = model();
  const auto probe = tokens(2, 13);
  const auto full = reference.forward(probe);
  REQUIRE(full.sizes() == at::IntArrayRef({2, 13, 101}));
  for (const std::vector<std::int64_t>& chunks :
       {std::vector<std::int64_t>{13}, {6, 1, 6}, {1, 1, 11}, std::vector<std::int64_t>(13, 1)}) {
    auto cache = reference.make_cache(2, 16);
    CHECK(apart(in_chunks(reference, cache, probe, chunks), full) < noise64);
    CHECK(cache.seen.eq(13).all().item<bool>());
  }
}

TEST_CASE(
    "model: a long pass, whose attention goes in blocks, gives what it gives where its scores are shown",
    "[model]") {
  const at::NoGradGuard no_gradients;
  const auto of = model(at::kFloat);
  const auto padding = GENERATE(Padding::none, Padding::right, Padding::left);
  auto whole = tokens(2, 1100);
  if (padding != Padding::none) whole = {whole.ids, {1100, 900}, padding};
  PassOptions shown;
  std::int64_t scores = 0;
  shown.observer = [&](const Stage& stage, const at::Tensor&) { scores += stage.kind == "scores" ? 1 : 0; };
  CHECK(apart(of.forward(whole), of.forward(whole, shown)) < 1e-5);
  CHECK(scores == tiny().num_hidden_layers);

  auto one = of.make_cache(2, 1100), other = of.make_cache(2, 1100);
  CHECK(apart(of.extend(one, whole), of.extend(other, whole, shown)) < 1e-5);
}

TEST_CASE("model: the cache holds keys after rotation and values, unrepeated, in slots allocated at once",
          "[model]") {
  const at::NoGradGuard no_gradients;
  const auto reference = model();
  const auto probe = tokens(2, 7);
  auto cache = reference.make_cache(2, 9);
  REQUIRE(cache.layers.size() == 5);
  std::map<Stage, at::Tensor> stages;
  PassOptions options;
  options.observer = [&](const Stage& stage, const at::Tensor& value) { stages[stage] = value.clone(); };
  reference.extend(cache, probe, options);
  for (std::size_t layer = 0; layer < 5; ++layer) {
    const auto& [keys, values] = cache.layers[layer];
    REQUIRE(keys.sizes() == at::IntArrayRef({2, 9, 2, 8}));
    REQUIRE(values.sizes() == at::IntArrayRef({2, 9, 2, 8}));
    CHECK(keys.narrow(1, 0, 7).equal(stages.at({"k_rotated", layer})));
    CHECK(values.narrow(1, 0, 7).equal(stages.at({"v", layer})));
    CHECK(keys.narrow(1, 7, 2).eq(0).all().item<bool>());
  }
}

TEST_CASE("model: a row's logits are the same alone, padded right and padded left, through the cache too",
          "[model]") {
  const at::NoGradGuard no_gradients;
  const auto reference = model();
  const auto ids = tokens(3, 11).ids;
  const std::vector<std::int64_t> lengths{4, 11, 1};
  for (const auto side : {Padding::right, Padding::left}) {
    auto padded = at::zeros({3, 11}, at::kLong);
    for (std::int64_t row = 0; row < 3; ++row) {
      const auto length = lengths[static_cast<std::size_t>(row)];
      padded[row]
          .narrow(0, side == Padding::right ? 0 : 11 - length, length)
          .copy_(ids[row].narrow(0, 0, length));
    }
    const Tokens batch{padded, lengths, side};
    const auto full = reference.forward(batch);
    auto cache = reference.make_cache(3, 14);
    const auto prefilled = reference.extend(cache, batch);
    const auto next = part(tokens(3, 14), 11, 3);  // goes on after padding
    const auto decoded = reference.extend(cache, next);
    for (std::int64_t row = 0; row < 3; ++row) {
      const auto length = lengths[static_cast<std::size_t>(row)];
      const auto first = side == Padding::right ? 0 : 11 - length;
      const auto text = at::cat({ids[row].narrow(0, 0, length), next.ids[row]}).unsqueeze(0);
      const auto alone = reference.forward({text, {}, Padding::none})[0];
      CHECK(apart(full[row].narrow(0, first, length), alone.narrow(0, 0, length)) < noise64);
      CHECK(apart(prefilled[row].narrow(0, first, length), alone.narrow(0, 0, length)) < noise64);
      CHECK(apart(decoded[row], alone.narrow(0, length, 3)) < noise64);
      CHECK(cache.seen[row].item<std::int64_t>() == length + 3);
    }
    CHECK(full.isfinite().all().item<bool>());
  }
}

TEST_CASE("model: real tokens are told from padding on either side", "[model]") {
  const auto ids = at::zeros({2, 3}, at::kLong);
  const auto of = [&](Padding side) { return real_tokens({ids, {1, 3}, side}).to(at::kLong); };
  CHECK(of(Padding::right).equal(at::tensor({1, 0, 0, 1, 1, 1}, at::kLong).view({2, 3})));
  CHECK(of(Padding::left).equal(at::tensor({0, 0, 1, 1, 1, 1}, at::kLong).view({2, 3})));
  CHECK(real_tokens({ids, {}, Padding::left}).all().item<bool>());
}

TEST_CASE("model: positions start where the options say, and only distances matter", "[model]") {
  const at::NoGradGuard no_gradients;
  const auto reference = model();
  PassOptions later;
  later.first_position = 1000;
  at::Tensor rotated, rotated_later;
  PassOptions options;
  options.observer = [&](const Stage& stage, const at::Tensor& x) {
    if (stage == Stage{"q_rotated", 0}) rotated = x;
  };
  later.observer = [&](const Stage& stage, const at::Tensor& x) {
    if (stage == Stage{"q_rotated", 0}) rotated_later = x;
  };
  CHECK(apart(reference.forward(tokens(1, 9), later), reference.forward(tokens(1, 9), options)) < 1e-9);
  CHECK(apart(rotated, rotated_later) > 0.1);
}

TEST_CASE("model: a write past the capacity is refused and leaves the cache as it was", "[model]") {
  const at::NoGradGuard no_gradients;
  const auto reference = model();
  const auto probe = tokens(2, 8);
  auto cache = reference.make_cache(2, 7);
  reference.extend(cache, part(probe, 0, 5));
  std::vector<at::Tensor> before{cache.real.clone(), cache.seen.clone()};
  for (const auto& layer : cache.layers)
    before.insert(before.end(), {layer.keys.clone(), layer.values.clone()});
  try {
    reference.extend(cache, part(probe, 5, 3));
    FAIL("8 tokens were accepted by a cache of 7");
  } catch (const CacheOverrun& error) {
    CHECK(std::string(error.what()) == "3 tokens do not fit a KV cache of 7 slots with 5 written");
  }
  CHECK(cache.length == 5);
  std::vector<at::Tensor> after{cache.real, cache.seen};
  for (const auto& layer : cache.layers) after.insert(after.end(), {layer.keys, layer.values});
  for (std::size_t i = 0; i < before.size(); ++i) CHECK(after[i].equal(before[i]));
  CHECK(apart(reference.extend(cache, part(probe, 5, 2)),
              reference.forward(part(probe, 0, 7)).narrow(1, 5, 2)) < noise64);
}

TEST_CASE("model: every stage is observed once, in execution order, with its shape", "[model]") {
  const at::NoGradGuard no_gradients;
  const std::map<std::string, std::vector<std::int64_t>> shapes = {
      // B 2, T 3, S 5, D 48, H 6, K 2, Dh 8, F 128
      {"q", {2, 3, 6, 8}},
      {"k", {2, 3, 2, 8}},
      {"v", {2, 3, 2, 8}},
      {"q_rotated", {2, 3, 6, 8}},
      {"k_rotated", {2, 3, 2, 8}},
      {"scores", {2, 6, 3, 5}},
      {"probabilities", {2, 6, 3, 5}},
      {"gate", {2, 3, 128}},
      {"up", {2, 3, 128}},
      {"gated", {2, 3, 128}},
      {"logits", {2, 3, 101}}};
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto reference = model(type);
    auto cache = reference.make_cache(2, 5);
    reference.extend(cache, tokens(2, 2));
    std::vector<Stage> observed;
    PassOptions options;
    options.observer = [&](const Stage& stage, const at::Tensor& value) {
      observed.push_back(stage);
      INFO(to_string(stage));
      const auto known = shapes.find(stage.kind);
      CHECK(value.sizes() ==
            at::IntArrayRef(known == shapes.end() ? std::vector<std::int64_t>{2, 3, 48} : known->second));
      CHECK(value.scalar_type() == type);
    };
    const auto logits = reference.extend(cache, tokens(2, 3), options);
    CHECK((observed == stages_in_order(5)));
    CHECK(logits.isfinite().all().item<bool>());
  }
}

TEST_CASE("model: a pass goes on with the stages that it is given, and shows what it makes of them itself",
          "[model]") {
  const auto whole = tokens(2, 7);
  std::map<Stage, at::Tensor> right, seen;
  const auto observe_in = [&](std::map<Stage, at::Tensor>& all) {
    PassOptions options;
    options.observer = [&all](const Stage& stage, const at::Tensor& value) { all[stage] = value; };
    return options;
  };
  model().forward(whole, observe_in(right));

  // A model with another rotation, given all that the right one makes: it is wrong where it rotates alone.
  const auto departed = apply_departures(tiny(), "rotary-backwards");
  const Model backwards(departed.specification, weights(), departed.formulas);
  auto options = observe_in(seen);
  options.replacement = [&](const Stage& stage, const at::Tensor&) { return right.at(stage); };
  const auto logits = backwards.forward(whole, options);
  CHECK(logits.equal(right.at({"logits"})));
  REQUIRE(seen.size() == right.size());
  for (const auto& [stage, value] : seen) {
    INFO(to_string(stage));
    CHECK(value.equal(right.at(stage)) == !stage.kind.ends_with("_rotated"));
  }
}

TEST_CASE("model: float32 and bfloat16 runs are near the float64 one, each by its own precision", "[model]") {
  const at::NoGradGuard no_gradients;
  const auto probe = tokens(2, 13);
  const auto off = [&](at::ScalarType type) {
    const auto exact = Model(tiny(), convert(weights(type), at::kDouble, at::kCPU)).forward(probe);
    const auto logits = model(type).forward(probe);
    CHECK(logits.scalar_type() == type);
    return apart(logits, exact) / exact.abs().max().item<double>();
  };
  CHECK(off(at::kFloat) < 2e-5);
  CHECK(off(at::kBFloat16) < 0.2);
  CHECK(off(at::kBFloat16) > 1e-3);
}

TEST_CASE("model: gradients reach every parameter and agree with finite differences", "[model]") {
  auto specification = tiny();
  specification.num_hidden_layers = 2;
  specification.attention_bias = specification.mlp_bias = true;
  specification.tie_word_embeddings = false;
  auto trained = convert(discriminating_weights(specification.parameters(), 1), at::kDouble, at::kCPU);
  const auto probe = tokens(2, 7);
  const auto factors = discriminating_weights({{"x.bias", {2, 7, 101}}}, 1).at("x.bias").to(at::kDouble);
  for (auto& [name, weight] : trained) weight = weight.clone().requires_grad_(true);
  const Model reference(specification, trained);
  const auto loss = [&] { return (reference.forward(probe) * factors).sum(); };
  loss().backward();
  const at::NoGradGuard no_gradients;
  for (auto& [name, weight] : trained) {
    INFO(name);
    REQUIRE(weight.grad().defined());
    const auto gradient = weight.grad();
    // A bias of the keys adds the same to all scores of a row only before rotation; after it, it has a
    // gradient.
    const auto place = gradient.abs().argmax().item<std::int64_t>();
    auto element = weight.view(-1)[place];
    const auto before = element.item<double>();
    constexpr double step = 1e-4;
    element.fill_(before + step);
    const auto above = loss().item<double>();
    element.fill_(before - step);
    const auto below = loss().item<double>();
    element.fill_(before);
    const auto expected = gradient.view(-1)[place].item<double>();
    CHECK(std::abs(expected) > 1e-3);
    CHECK(std::abs((above - below) / (2 * step) - expected) < 1e-4 * std::abs(expected));
  }
}

TEST_CASE("model: dropout changes logits in training and never in evaluation", "[model]") {
  const at::NoGradGuard no_gradients;
  at::manual_seed(1);
  const auto reference = model(at::kFloat);
  const auto run = [&](bool training, double dropout) {
    PassOptions options;
    options.training = training;
    options.dropout = dropout;
    return reference.forward(tokens(1, 9), options);
  };
  const auto plain = reference.forward(tokens(1, 9));
  CHECK(run(false, 0.5).equal(plain));
  CHECK(run(true, 0).equal(plain));
  const auto dropped = run(true, 0.1);
  CHECK(apart(dropped, plain) > 1e-2);
  CHECK_FALSE(run(true, 0.1).equal(dropped));
}

TEST_CASE("model: a weight that is missing or has another shape is refused by name", "[model]") {
  CHECK(refusal(weights()) == "accepted");
  for (const auto& [name, shape] : tiny().parameters()) {
    auto given = weights();
    given.erase(name);
    CHECK(refusal(given) == fmt::format("parameter '{}' is missing", name));
    given[name] = at::zeros({3, 5}, at::kDouble);
    CHECK_THAT(refusal(given),
               ContainsSubstring(fmt::format("parameter '{}' has shape [3, 5], expected [", name)));
  }
  auto given = weights();
  given["model.layers.0.self_attn.k_proj.weight"] = at::zeros({48, 16}, at::kDouble);
  CHECK(refusal(given) ==
        "parameter 'model.layers.0.self_attn.k_proj.weight' has shape [48, 16], expected [16, 48]");
}

TEST_CASE("model: a weight that the specification does not have is not used", "[model]") {
  const at::NoGradGuard no_gradients;
  const auto right = model().forward(tokens(1, 5));
  auto given = weights();
  for (const auto* prefix : {"self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"}) {
    const auto name = fmt::format("model.layers.1.{}", prefix);
    given[name + ".bias"] = at::ones({given.at(name + ".weight").size(0)}, at::kDouble);
  }
  CHECK(Model(tiny(), given).forward(tokens(1, 5)).equal(right));
}

TEST_CASE("model: an output head of its own is used where the specification has one, and only there",
          "[model]") {
  const at::NoGradGuard no_gradients;
  auto untied = tiny();
  untied.tie_word_embeddings = false;
  auto given = weights();
  const auto tied = model().forward(tokens(1, 5));
  given["lm_head.weight"] = given.at("model.embed_tokens.weight") * 3;
  CHECK(apart(Model(untied, given).forward(tokens(1, 5)), 3 * tied) < noise64);
  CHECK(Model(tiny(), given).forward(tokens(1, 5)).equal(tied));
}
