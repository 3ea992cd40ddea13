#include "harness/candidate/void_parameters.hpp"

#include <ATen/core/grad_mode.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "harness/candidate/reference.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

Specification tiny() {
  return find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
}

// tiny, with whatever else a specification may have.
Specification larger() {
  auto more = tiny();
  more.attention_bias = more.mlp_bias = true;
  more.tie_word_embeddings = false;
  more.num_hidden_layers += 2;
  return more;
}

Weights weights(const Specification& specification) {
  return discriminating_weights(specification.parameters(), 1);
}

std::vector<ParameterDescription> parameters(const Specification& specification) {
  std::vector<ParameterDescription> all;
  for (const auto& [name, shape] : specification.parameters()) all.push_back({name, shape, at::kFloat});
  return all;
}

std::set<std::string> beyond(const Specification& one, const Specification& other) {
  std::set<std::string> names;
  for (const auto& parameter : one.parameters()) names.insert(parameter.name);
  for (const auto& parameter : other.parameters()) names.erase(parameter.name);
  return names;
}

at::Tensor logits(const Specification& specification, const Weights& given) {
  const at::NoGradGuard no_gradients;
  const Tokens tokens{probe_tokens("void", 2, 9, specification.vocab_size, 1), {}, Padding::none};
  return Model(specification, convert(given, at::kDouble, at::kCPU)).forward(tokens);
}

std::string refusal(const Weights& given, const std::vector<ParameterDescription>& own,
                    const Weights& before = {}) {
  try {
    fit_weights(given, own, before);
  } catch (const NotShown& why) {
    return why.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("void parameters: a model with them computes what one without them does, and each of them counts",
          "[candidate][void]") {
  const auto absent = beyond(larger(), tiny());
  CHECK(absent.size() == 1 + 5 * 7 + 2 * 16);
  const auto idle = make_void(weights(larger()), absent);
  CHECK(find_not_void(idle, absent) == std::nullopt);
  const auto plain = logits(tiny(), weights(tiny()));
  CHECK((logits(larger(), idle) - plain).abs().max().item<double>() < 1e-12);
  // A bias, a norm's weight, a head and a block's output on its own each show.
  for (const auto* name :
       {"model.layers.1.self_attn.q_proj.bias", "model.layers.4.mlp.down_proj.bias", "lm_head.weight",
        "model.layers.6.self_attn.o_proj.weight", "model.layers.5.mlp.down_proj.weight"}) {
    auto one = idle;
    one[name] = weights(larger()).at(name);
    INFO(name);
    CHECK(find_not_void(one, absent).has_value());
    CHECK((logits(larger(), one) - plain).abs().max().item<double>() > 1e-3);
  }
}

TEST_CASE("void parameters: a norm's weight is 1, and what no value makes void stays", "[candidate][void]") {
  const std::set<std::string> absent{"model.norm.weight", "model.layers.0.self_attn.q_proj.weight"};
  const auto idle = make_void(weights(tiny()), absent);
  CHECK(idle.at("model.norm.weight").eq(1).all().item<bool>());
  const auto* q = "model.layers.0.self_attn.q_proj.weight";
  CHECK(idle.at(q).equal(weights(tiny()).at(q)));
  CHECK(find_not_void(idle, absent) == q);
  // A block's output is 0 where the whole block is absent, and not where a part of it is.
  const auto* down = "model.layers.0.mlp.down_proj.weight";
  CHECK(make_void(weights(tiny()), {down}).at(down).ne(0).any().item<bool>());
}

TEST_CASE("void parameters: weights are fitted to a model that has more, or less", "[candidate][void]") {
  const auto more = fit_weights(weights(tiny()), parameters(larger()));
  CHECK((logits(larger(), more) - logits(tiny(), weights(tiny()))).abs().max().item<double>() < 1e-12);
  const auto idle = make_void(weights(larger()), beyond(larger(), tiny()));
  const auto fewer = fit_weights(idle, parameters(tiny()));
  CHECK(fewer.size() == tiny().parameters().size());
  for (const auto& [name, values] : weights(tiny())) CHECK(fewer.at(name).equal(values));
  // What it has beyond keeps its values where nothing makes them void.
  auto own = parameters(tiny());
  own.push_back({"positions.weight", {7, 48}, at::kFloat});
  CHECK(fit_weights(weights(tiny()), own, {{"positions.weight", at::full({7, 48}, 3.0)}})
            .at("positions.weight")
            .eq(3)
            .all()
            .item<bool>());
  CHECK_THAT(refusal(weights(tiny()), own),
             ContainsSubstring("its parameter positions.weight has no counterpart"));
}

TEST_CASE("void parameters: what does something is not left out, and it is said what", "[candidate][void]") {
  CHECK_THAT(refusal(weights(larger()), parameters(tiny())), ContainsSubstring("it has no parameter model."));
  auto own = parameters(tiny());
  own.pop_back();
  CHECK(refusal(weights(tiny()), own) == "it has no parameter model.norm.weight");
  auto narrow = parameters(tiny());
  narrow.back().shape = {47};
  CHECK(refusal(weights(tiny()), narrow) ==
        "its parameter model.norm.weight has shape [47], but the specification has [48]");
}

TEST_CASE("void parameters: the reference takes weights that it has no place for only where they do nothing",
          "[candidate][void][reference]") {
  const auto candidate = make_reference("x", DepartedModel{tiny(), {}}, at::kFloat, at::kCPU);
  CHECK_THROWS_MATCHES(candidate->load(weights(larger())), NotShown,
                       MessageMatches(ContainsSubstring("it has no parameter")));
  CHECK_NOTHROW(candidate->load(make_void(weights(larger()), beyond(larger(), tiny()))));
}
