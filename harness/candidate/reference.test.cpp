#include "harness/candidate/reference.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

const Specification& tiny() {
  static const auto specification =
      find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  return specification;
}

Weights weights(const Specification& specification = tiny()) {
  return discriminating_weights(specification.parameters(), 1);
}

std::unique_ptr<Candidate> reference(const std::string& defects = "", at::ScalarType type = at::kFloat) {
  at::set_num_threads(1);  // on tensors this small, threads wait for each other longer than they work
  return make_reference("x", defects.empty() ? DepartedModel{tiny(), {}} : apply_departures(tiny(), defects),
                        type, at::kCPU);
}

Tokens tokens(std::int64_t batch, std::int64_t length) {
  return {probe_tokens("reference", batch, length, 101, 1), {}, Padding::none};
}

}  // namespace

TEST_CASE("reference: it describes what the model is, not what it claims to be", "[candidate][reference]") {
  const auto right = reference()->describe();
  CHECK(right.kind == "reference");
  CHECK(right.name == "x");
  CHECK(right.parameters.size() == tiny().parameters().size());
  CHECK(right.configuration.at("num_key_value_heads").value == 2);
  CHECK(right.configuration.at("head_dim").value == 8);
  CHECK(right.configuration.at("hidden_act").value == "silu");
  CHECK(right.configuration.at("rope_theta").value == 1e6);
  CHECK(right.configuration.size() == 17);
  for (const auto& [key, setting] : right.configuration)
    CHECK(setting.where == "the model's own configuration");
  const auto other =
      reference("multi-head+activation-gelu+feed-forward-bias+untied-head", at::kBFloat16)->describe();
  CHECK(other.configuration.at("num_key_value_heads").value == 6);
  CHECK(other.configuration.at("hidden_act").value == "gelu");
  CHECK(other.parameters.size() == tiny().parameters().size() + 5 * 3 + 1);
  for (const auto& parameter : other.parameters) CHECK(parameter.type == at::kBFloat16);
}

TEST_CASE("reference: it computes what the model does, once weights are loaded, in its type",
          "[candidate][reference]") {
  const at::NoGradGuard no_gradients;
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto candidate = reference("", type);
    CHECK_THROWS_AS(candidate->forward(tokens(1, 5), {}), NotShown);
    CHECK_THROWS_AS(candidate->weights(), NotShown);
    candidate->load(weights());
    CHECK(candidate->type() == type);
    CHECK(candidate->weights().at("model.norm.weight").scalar_type() == type);
    const Model model(tiny(), convert(weights(), type, at::kCPU));
    CHECK(candidate->forward(tokens(2, 5), {}).equal(model.forward(tokens(2, 5))));
  }
}

TEST_CASE("reference: what a defect has beyond the specification is made void", "[candidate][reference]") {
  const at::NoGradGuard no_gradients;
  const auto right = reference();
  right->load(weights());
  const auto candidate = reference("untied-head+feed-forward-bias+attention-bias");
  candidate->load(weights());
  CHECK(candidate->weights().at("model.layers.1.mlp.gate_proj.bias").eq(0).all().item<bool>());
  const auto& head = candidate->weights().at("lm_head.weight");
  const auto& embedding = candidate->weights().at("model.embed_tokens.weight");
  CHECK(head.equal(embedding));
  CHECK(head.data_ptr() != embedding.data_ptr());
  CHECK(candidate->forward(tokens(1, 7), {}).equal(right->forward(tokens(1, 7), {})));
}

TEST_CASE("reference: weights that do not fit it leave it unable to run, and say which",
          "[candidate][reference]") {
  const auto candidate = reference("multi-head");
  CHECK_THROWS_MATCHES(
      candidate->load(weights()), NotShown,
      MessageMatches(ContainsSubstring("its parameter model.layers.0.self_attn.k_proj.weight")));
  CHECK_THROWS_AS(candidate->forward(tokens(1, 5), {}), NotShown);
  auto less = weights();
  less.erase("model.layers.1.mlp.up_proj.weight");
  CHECK_THROWS_MATCHES(reference()->load(less), NotShown,
                       MessageMatches(ContainsSubstring("model.layers.1.mlp.up_proj.weight")));
}

TEST_CASE("reference: it decodes through a cache, shows what that holds, and fills what was not written",
          "[candidate][reference]") {
  const at::NoGradGuard no_gradients;
  const auto candidate = reference();
  candidate->load(weights());
  const auto decoding = candidate->decode(2, 9);
  decoding->extend(tokens(2, 4), {});
  auto view = decoding->show();
  CHECK(view.length == 4);
  CHECK(view.capacity == 9);
  REQUIRE(view.layers.size() == 5);
  CHECK(view.layers[3].keys.sizes() == at::IntArrayRef({2, 4, 2, 8}));
  CHECK(view.bytes == 5 * 2 * (2 * 9 * 2 * 8) * 4);  // layers, keys and values, elements, float32
  const auto kept = view.layers[3].keys.clone();
  decoding->fill_unwritten(1e4);
  CHECK(decoding->show().layers[3].keys.equal(kept));
  const auto next = probe_tokens("next", 2, 2, 101, 1);
  const auto logits = decoding->extend({next, {}, Padding::none}, {});
  const auto full = candidate->forward({at::cat({tokens(2, 4).ids, next}, 1), {}, Padding::none}, {});
  CHECK((logits - full.narrow(1, 4, 2)).abs().max().item<float>() < 1e-4f * full.abs().max().item<float>());
  CHECK(decoding->show().length == 6);
  CHECK_THROWS_AS(decoding->extend(tokens(2, 4), {}), CacheOverrun);
  CHECK(decoding->show().length == 6);
}

TEST_CASE("reference: a decoding goes on with the weights that it began with", "[candidate][reference]") {
  const at::NoGradGuard no_gradients;
  const auto candidate = reference();
  candidate->load(weights());
  const auto undisturbed = candidate->decode(2, 9), disturbed = candidate->decode(2, 9);
  const auto expected = undisturbed->extend(tokens(2, 4), {});
  candidate->load(discriminating_weights(tiny().parameters(), 2));
  CHECK(disturbed->extend(tokens(2, 4), {}).equal(expected));
}

TEST_CASE("reference: a departure that changes nothing in its model is described with why",
          "[candidate][reference]") {
  CHECK(reference("multi-head")->describe().notes.empty());
  auto grouped = tiny();
  grouped.num_key_value_heads = grouped.num_attention_heads;
  const auto notes = make_reference("x", apply_departures(grouped, "multi-head+repeat-tiled+mask-none"),
                                    at::kFloat, at::kCPU)
                         ->describe()
                         .notes;
  REQUIRE(notes.size() == 2);
  CHECK(notes[0] == "multi-head changes nothing here: the model is like that already");
  CHECK_THAT(notes[1],
             ContainsSubstring("repeat-tiled changes nothing here: each query head has a key/value head"));
}

TEST_CASE("reference: what is filled is what would be read if unwritten slots were",
          "[candidate][reference]") {
  const at::NoGradGuard no_gradients;
  const auto candidate = reference("cache-reads-unwritten");
  candidate->load(weights());
  const auto run = [&](double value) {
    const auto decoding = candidate->decode(1, 9);
    decoding->fill_unwritten(value);
    return decoding->extend(tokens(1, 4), {});
  };
  CHECK_FALSE(run(0).equal(run(100)));
  CHECK(reference("cache-repeated")->describe().configuration.at("num_key_value_heads").value == 2);
  const auto repeated = reference("cache-repeated");
  repeated->load(weights());
  CHECK(repeated->decode(2, 9)->show().bytes == 3 * 5 * 2 * (2 * 9 * 2 * 8) * 4);
}

TEST_CASE("reference: its two operations are those of the formulas that it runs on",
          "[candidate][reference]") {
  const auto x = at::arange(2 * 5 * 6 * 8, at::kFloat).view({2, 5, 6, 8}) / 100;
  const auto positions = at::tensor({3, 1, 4, 1, 32767}, at::kLong).unsqueeze(0).expand({2, 5});
  const auto angles = rotary_angles(positions, rotary_frequencies(tiny(), at::kFloat, at::kCPU));
  CHECK(reference()->rotate(x, positions).equal(rotate(x, angles, Rotary::halves)));
  CHECK(reference("rotary-other-pairing")->rotate(x, positions).equal(rotate(x, angles, Rotary::pairs)));
  CHECK(reference()->repeat_kv(x, 3).equal(repeat_kv(x, 3)));
  CHECK(reference("repeat-tiled")->repeat_kv(x, 3).equal(x.repeat({1, 1, 3, 1})));
}

TEST_CASE("reference: it initialises itself as its own configuration says", "[candidate][reference]") {
  const auto initial = reference()->initialise(3);
  const auto expected = initial_weights(tiny(), 3);
  CHECK(initial.size() == expected.size());
  for (const auto& [name, value] : expected) CHECK(initial.at(name).equal(value));
  const auto normal = reference("embedding-standard-normal")->initialise(3);
  CHECK(normal.at("model.embed_tokens.weight").abs().max().item<float>() > 2);
}
