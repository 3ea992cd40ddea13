#include "harness/model/departures/departures.hpp"

#include <fmt/format.h>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <set>

#include "harness/model/departures/seen.test.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;

namespace {

// How far the two are apart, of the largest value; infinite where they cannot be compared.
double relative(const at::Tensor& one, const at::Tensor& other) {
  if (one.sizes() != other.sizes()) return std::numeric_limits<double>::infinity();
  const auto difference = (one - other).abs().max() / other.abs().max();
  return at::nan_to_num(difference, std::numeric_limits<double>::infinity()).item<double>();
}

std::string refusal(const std::string& names, const Specification& specification = tiny()) {
  try {
    apply_departures(specification, names);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("departures: names are unique, and those of the catalogue in its order", "[model][departures]") {
  const auto names = departure_names();
  CHECK(std::set<std::string>(names.begin(), names.end()).size() == names.size());
  const auto file = std::filesystem::path(PLUMBLINE_SOURCE_DIR) / "fixtures" / "defects.json";
  std::vector<std::string> catalogued;
  for (const auto& defect : parse_json(read_text(file, 1 << 20), file.string()))
    catalogued.push_back(defect.at("name").text());
  CHECK(names == catalogued);
}

TEST_CASE("departures: each leaves a possible model and shows, well above rounding", "[model][departures]") {
  const auto right = look({tiny(), {}});
  const auto again = look({tiny(), {}});
  for (const auto& [what, value] : right.values) CHECK(again.values.at(what).equal(value));
  for (const auto& name : departure_names()) {
    INFO(name);
    const auto seen = look(apply_departures(tiny(), name));
    const bool configured = seen.configuration != right.configuration;
    double most = 0;
    for (const auto& [what, value] : right.values)
      most = std::max(most, relative(seen.values.at(what), value));
    // A float32 run errs by 3e-6 of its largest logit.
    CHECK((configured || most > 50 * 3e-6));
  }
}

TEST_CASE("departures: one is called idle in a model exactly where it shows nothing",
          "[model][departures][long]") {
  const auto variant = [](const std::function<void(Specification&)>& change) {
    auto specification = shallow();
    change(specification);
    return specification;
  };
  const std::vector<std::pair<std::string, Specification>> models = {
      {"two layers", shallow()},
      {"a key/value head for each query head",
       variant([](auto& s) { s.num_key_value_heads = s.num_attention_heads; })},
      {"one key/value head", variant([](auto& s) { s.num_key_value_heads = 1; })},
      {"one head", variant([](auto& s) { s.num_attention_heads = s.num_key_value_heads = 1; })},
      {"like the model before", variant([](auto& s) {
         s.hidden_act = Activation::gelu, s.mlp_bias = s.attention_bias = true;
         s.tie_word_embeddings = false, s.initialization = kStandardNormalEmbedding;
         s.intermediate_size = 4 * s.hidden_size, s.dropout = 0.5;
       })}};
  std::size_t idle = 0;
  for (const auto& [title, specification] : models) {
    const auto right = look({specification, {}});
    for (const auto& name : departure_names()) {
      INFO(name << " in " << title);
      const auto departed = apply_departures(specification, name);
      const auto seen = look(departed);
      double most = seen.configuration == right.configuration ? 0 : 1;
      for (const auto& [what, value] : right.values)
        most = std::max(most, relative(seen.values.at(what), value));
      CHECK(departed.idle.empty() == (most > 50 * 3e-6));
      CHECK(departed.idle.size() < 2);
      if (!departed.idle.empty())
        CHECK_THAT(departed.idle[0], ContainsSubstring(name + " changes nothing here: "));
      idle += departed.idle.size();
    }
  }
  CHECK(idle >= 12);
}

TEST_CASE("departures: those of one mode or one length show there and nowhere else", "[model][departures]") {
  const auto right = look({tiny(), {}});
  const auto is_of_text = [](const std::string& what) {
    return what.find("text") != std::string::npos || what.starts_with("probabilities");
  };
  const auto shows = [&](const std::string& name) {
    const auto seen = look(apply_departures(tiny(), name));
    std::set<std::string> where;
    for (const auto& [what, value] : right.values)
      // Text is whatever the logits make of it.
      if (relative(seen.values.at(what), value) > 50 * 3e-6 && !is_of_text(what)) where.insert(what);
    return where;
  };
  using Where = std::set<std::string>;
  const std::string embedding = "steps of model.embed_tokens.weight",
                    up = "steps of model.layers.1.mlp.up_proj.weight";
  CHECK(shows("repeat-one-gradient") == Where{"gradient", embedding, up});
  CHECK(shows("mask-none-in-training") == Where{"logits in training", "logits padded in training",
                                                "logits padded left in training", "first loss", embedding,
                                                up});
  CHECK(shows("loss-mean-of-means") == Where{"first loss", embedding, up});
  CHECK(shows("adamw-uncorrected") == Where{embedding, up});
  CHECK(shows("mask-none-in-prefill") == Where{"logits of prefill", "logits decoded",
                                               "logits decoded after padding", "logits of a long prefill"});
  CHECK(shows("mask-without-padding") == Where{"logits padded left", "logits padded left, alone",
                                               "logits padded left in training",
                                               "logits decoded after padding"});
  CHECK(shows("mask-without-padding-alone") == Where{"logits padded left, alone"});
  CHECK(shows("mask-without-padding-in-training") == Where{"logits padded left in training"});
  CHECK(shows("cache-window-64") == Where{"logits of a long prefill"});
  CHECK(shows("rotary-over-heads") == Where{"logits of 6 tokens"});
  CHECK(shows("cache-repeated") == Where{"cached keys"});
  CHECK(shows("position-restarts") == Where{"logits decoded", "logits decoded after padding", "cached keys"});
  CHECK(shows("position-counts-padding") == Where{"logits decoded after padding"});
  CHECK(shows("gradient-not-zeroed") == Where{embedding, up});
  CHECK(shows("embedding-standard-normal") == Where{"initial embedding"});
  CHECK(shows("dropout-0.5").empty());
  const auto shows_in_text = [&](const std::string& name) {
    const auto seen = look(apply_departures(tiny(), name));
    Where where;
    for (const auto& [what, value] : right.values)
      if (relative(seen.values.at(what), value) > 50 * 3e-6) where.insert(what);
    return where;
  };
  CHECK(shows_in_text("text-top-k-one-more") == Where{"probabilities of a few"});
  CHECK(shows_in_text("text-top-p-before-temperature") == Where{"probabilities of a share"});
  CHECK(shows_in_text("text-penalty-not-on-prompt") ==
        Where{"probabilities after a token twice", "probabilities with a penalty"});
  CHECK(shows_in_text("text-rows-alike") == Where{"text of a seed"});
  CHECK(shows_in_text("text-end-ignored") == Where{"text with an end"});
  CHECK(shows_in_text("text-ends-with-first-row") == Where{"text goes on after one of two rows"});
  CHECK(shows_in_text("text-after-padding") == Where{"probabilities after padded prompts"});
}

TEST_CASE("departures: an unknown name is refused, with those that resemble it", "[model][departures]") {
  for (const auto& names :
       {"gelu", "", "activation-gelu+", "+activation-gelu", "activation-gelu+nope", "Mask-None"})
    CHECK_THAT(refusal(names), ContainsSubstring(fmt::format("defect:{}: no defect '", names)));
  CHECK_THAT(refusal("gelu"), ContainsSubstring("did you mean activation-gelu or activation-gelu-tanh?"));
  CHECK_THAT(refusal("zzz"), ContainsSubstring("fixtures/defects.json"));
  CHECK(refusal("mask-none") == "accepted");
  CHECK(refusal("a\nb").find('\n') == std::string::npos);
}

TEST_CASE("departures: names joined by a plus apply together", "[model][departures]") {
  const auto both = apply_departures(tiny(), "activation-gelu+multi-head+residual-doubled");
  CHECK(both.specification.hidden_act == Activation::gelu);
  CHECK(both.specification.num_key_value_heads == 6);
  const auto one = at::ones({1});
  CHECK(both.formulas.add_residual(one, one, one).item<float>() == 3);
  CHECK(apply_departures(tiny(), "multi-head").specification.hidden_act == Activation::silu);
}

TEST_CASE("departures: one in a layer shows from there on, and one in a mode in no other",
          "[model][departures]") {
  const auto s = tiny();
  const auto weights = discriminating_weights(s.parameters(), 1);
  const auto shown = [&](const std::string& names, const PassOptions& mode, bool cached) {
    const auto departed = apply_departures(s, names);
    const Model model(departed.specification, weights, departed.formulas, departed.overrides);
    std::map<Stage, at::Tensor> stages;
    PassOptions options = mode;
    options.observer = [&](const Stage& stage, const at::Tensor& value) { stages[stage] = value; };
    const Tokens tokens{probe_tokens("places", 2, 9, s.vocab_size, 1), {}, Padding::none};
    auto cache = model.make_cache(2, 9);
    cached ? model.extend(cache, tokens, options) : model.forward(tokens, options);
    return stages;
  };
  PassOptions training;
  training.training = true;
  // The first stage that is not what the specification has it; empty: none.
  const auto first_other = [&](const std::string& names, const PassOptions& mode = {}, bool cached = false) {
    const auto right = shown("dropout-0.5", mode, cached), other = shown(names, mode, cached);
    for (const auto& stage : stages_in_order(s.num_hidden_layers))
      if (!right.at(stage).equal(other.at(stage))) return to_string(stage);
    return std::string();
  };
  CHECK(first_other("norm-centred@2") == "layers.2.attention_norm");
  CHECK(first_other("gate-up-swapped@0") == "layers.0.gated");
  CHECK(first_other("eps-1e-6@3") == "layers.3.attention_norm");
  CHECK(first_other("theta-1e4=500@1") == "layers.1.q_rotated");
  CHECK(first_other("mask-none@4") == "layers.4.scores");
  CHECK(first_other("gate-up-swapped@training").empty());
  CHECK(first_other("gate-up-swapped@training", training) == "layers.0.gated");
  CHECK(first_other("gate-up-swapped@evaluation", training).empty());
  CHECK(first_other("mask-none@cache").empty());
  CHECK(first_other("mask-none@cache", {}, true) == "layers.0.scores");
  CHECK(first_other("mask-none@no-cache", {}, true).empty());
  CHECK(first_other("final-norm-missing@training", training) == "final_norm");
  CHECK(first_other("norm-centred@1+norm-centred@3") == "layers.1.attention_norm");
  CHECK(first_other("gate-up-swapped+norm-centred@1") == "layers.0.gated");
  // Where two meet, both hold.
  const auto meeting = shown("gate-up-swapped@1+norm-centred@training", training, false);
  CHECK(meeting.at({"gated", 1})
            .equal(shown("gate-up-swapped@1+norm-centred", training, false).at({"gated", 1})));
  CHECK(first_other("gate-up-swapped@1+norm-centred@training") == "layers.1.gated");
}

TEST_CASE("departures: a number takes the place of the usual one", "[model][departures]") {
  const auto s = tiny();
  CHECK(apply_departures(s, "theta-1e4=500000").specification.rope_theta == 500000);
  CHECK(apply_departures(s, "theta-1e4").specification.rope_theta == s.rope_theta / 100);
  CHECK(apply_departures(s, "layers-23=7").specification.num_hidden_layers == 7);
  const auto capped = apply_departures(s, "logits-capped=2").formulas;
  CHECK(std::abs(capped.transform_logits(at::full({1}, 3.0, at::kDouble)).item<double>() -
                 2 * std::tanh(1.5)) < 1e-12);
  CHECK_FALSE(apply_departures(s, fmt::format("eps-1e-6={}", s.rms_norm_eps)).idle.empty());
  for (const auto& name : departure_names()) {
    const auto* number = departure_parameter(name);
    if (number == nullptr) continue;
    CAPTURE(name);
    CHECK(std::string(number->clause).find("{") != std::string::npos);
    const auto written = format_departure({name, number->default_value(s), {}});
    CHECK(parse_departure(written).number == number->default_value(s));
    const auto usual = look(apply_departures(s, name)), said = look(apply_departures(s, written));
    CHECK(usual.configuration == said.configuration);
    CHECK(usual.values.at("logits").equal(said.values.at("logits")));
  }
}

TEST_CASE("departures: a number or a place that it cannot have is refused", "[model][departures]") {
  const auto refused = [](const std::string& names, const std::string& why) {
    CHECK_THROWS_WITH(apply_departures(tiny(), names), ContainsSubstring(why));
  };
  refused("theta-1e4=", "'' is no number");
  refused("theta-1e4=1e4x", "'1e4x' is no number");
  refused("theta-1e4=nan", "'nan' is no number");
  refused("norm-centred=2", "has no number");
  refused("norm-centred@5", "there is no layer 5; the last is 4");
  refused("norm-centred@-1", "'-1' is no place");
  refused("norm-centred@99999999999999999999", "is no place");
  refused("norm-centred@decoding", "'decoding' is no place");
  refused("norm-centred@", "'' is no place");
  refused("multi-head@2", "cannot be in layer 2 alone");
  refused("layers-23=9@training", "cannot be in training mode alone");
  refused("theta-1e4=0", "rope theta is 0");
  refused("theta-1e4=0@2", "rope theta is 0");
  refused("layers-23=1e300", "layers");
}

TEST_CASE("departures: one that leaves no possible model is refused", "[model][departures]") {
  auto specification = tiny();
  specification.rope_theta = 50;
  CHECK(refusal("theta-1e4", specification) ==
        "defect:theta-1e4: rope theta is 0.5, expected a number above 1: no such model exists");
  specification = tiny();
  specification.num_hidden_layers = 4090;
  CHECK_THAT(refusal("mask-none+layers-23", specification),
             ContainsSubstring("4105 layers, expected at most 4096"));
}
