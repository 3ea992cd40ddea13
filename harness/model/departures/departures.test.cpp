#include "harness/model/departures/departures.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <set>

#include "harness/model/text_generation.hpp"
#include "harness/model/training_steps.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;

namespace {

Specification tiny() {
  return find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
}

using Values = std::map<std::string, at::Tensor>;

// All that can be seen of a model without looking into it, by what it is.
struct Seen {
  std::string configuration;
  Values values;
};

std::string configuration_of(const Specification& s) {
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", s.head_bias, s.query_key_norm,
                     s.norm_weights, s.vocab_size, s.hidden_size, s.num_hidden_layers, s.num_attention_heads,
                     s.num_key_value_heads, s.intermediate_size, to_string(s.hidden_act), to_string(s.rotary),
                     s.rope_theta, s.rms_norm_eps, s.dropout, s.attention_bias, s.mlp_bias,
                     s.tie_word_embeddings, s.max_position_embeddings);
}

// Six tokens are as many as query heads, two as key/value heads; 24 are as many as nothing.
Tokens probe(std::int64_t length, const Specification& s) {
  return {probe_tokens("departures", 2, length, s.vocab_size, 1), {}, Padding::none};
}

void add_initial_values(const DepartedModel& departed, Values& values) {
  const auto initial = initial_weights(departed.specification, 1);
  for (const auto& [what, name] : {std::pair{"initial embedding", "model.embed_tokens.weight"},
                                   {"initial values", "model.layers.0.self_attn.v_proj.weight"},
                                   {"initial outputs", "model.layers.0.self_attn.o_proj.weight"}})
    values[what] = departed.formulas.initial_values(name, initial.at(name));
}

void add_gradient(const Model& model, const at::Tensor& parameter, Values& values) {
  at::manual_seed(1);
  const auto logits = model.forward(probe(24, model.specification()));
  logits.square().sum().backward();
  values["logits"] = logits.detach();
  values["gradient"] = parameter.grad();
}

void add_passes(const Model& model, Values& values) {
  const auto& s = model.specification();
  values["logits of 6 tokens"] = model.forward(probe(6, s));
  PassOptions options;
  options.training = true;
  values["logits in training"] = model.forward(probe(24, s), options);
  Tokens padded{probe(24, s).ids, {24, 9}, Padding::right};
  values["logits with a mask of ones"] = model.forward({padded.ids, {24, 24}, Padding::right});
  values["logits padded"] = model.forward(padded)[1].narrow(0, 0, 9);
  padded.padding = Padding::left;
  values["logits padded left"] = model.forward(padded)[1].narrow(0, 15, 9);
  values["logits padded left in training"] = model.forward(padded, options)[1].narrow(0, 15, 9);
}

void add_cache(const Model& model, Values& values) {
  const auto& s = model.specification();
  const Tokens many{
      probe(300, s).ids.narrow(0, 0, 1), {}, Padding::none};  // more than any window of a defect
  values["logits of a long pass"] = model.forward(many);
  auto long_cache = model.make_cache(1, 301);
  values["logits of a long prefill"] = model.extend(long_cache, many);
  auto cache = model.make_cache(2, 26);
  for (auto& layer : cache.layers) layer.keys.fill_(5), layer.values.fill_(5);
  const auto whole = probe(24, s);
  values["logits of prefill"] = model.extend(cache, {whole.ids.narrow(1, 0, 20), {}, Padding::none});
  values["logits decoded"] = model.extend(cache, {whole.ids.narrow(1, 20, 4), {}, Padding::none});
  values["cached keys"] = cache.layers[0].keys.narrow(1, 0, 24);
}

void add_single_formulas(const Formulas& formulas, Values& values) {
  values["repeated once"] = formulas.repeat_kv(at::ones({1, 2, 3, 4}), 1);
  values["repeated more often"] = formulas.repeat_kv(at::ones({1, 2, 3, 4}), tiny().repeat_factor() + 1);
  values["a loud logit"] = formulas.transform_logits(at::full({1, 1, 1}, 20.0));
  values["five slots of five"] = at::scalar_tensor(formulas.fits(5, 5) ? 1.0 : 0.0);
}

// Own text: of one prompt twice, in which a token stands three times.
void add_text(const Model& model, Values& values) {
  Tokens prompts{
      probe(6, model.specification()).ids.narrow(0, 0, 1).expand({2, 6}).clone(), {}, Padding::none};
  prompts.ids.select(1, 2).copy_(prompts.ids.select(1, 0));
  prompts.ids.select(1, 4).copy_(prompts.ids.select(1, 0));
  const auto text = [&](const Sampling& sampling, std::int64_t end = -7) {
    return generate(model, prompts, {sampling, 3, end < 0 ? std::nullopt : std::optional(end), 5});
  };
  values["probabilities, cooler"] = text({1, 0.5, 0, 1}).probabilities.select(1, 0);
  values["probabilities of a few"] = text({1, 1, 5, 1}).probabilities.select(1, 0);
  values["probabilities of a share"] = text({1, 0.5, 0, 0.6}).probabilities.select(1, 0);
  values["probabilities with a penalty"] = text({2, 1, 0, 1}).probabilities.select(1, 0);
  const auto greedy = text({1, 0, 0, 1}).tokens;
  values["greedy text"] = greedy.to(at::kDouble);
  values["text of a seed"] = text({}).tokens.to(at::kDouble);
  values["text with an end"] = text({1, 0, 0, 1}, greedy[0][1].item<std::int64_t>()).tokens.to(at::kDouble);
  values["no end"] = at::scalar_tensor(model.formulas().ends_text(2, std::nullopt) ? 2.0 : 1.0);
  prompts.padding = Padding::right;
  prompts.lengths = {6, 3};
  values["probabilities after padded prompts"] = text({}).probabilities.select(1, 0);
}

// Labels of which unlike shares are ignored; a decay that takes about what the gradient moves.
void add_training(const DepartedModel& departed, Values& values) {
  const auto& s = departed.specification;
  const auto ids = probe(7, s).ids;
  TrainingRun run{ids.expand({2, 2, 7}),
                  ids.remainder(97).expand({2, 2, 7}).clone(),
                  {.learning_rate = 1e-4, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-2, .weight_decay = 5}};
  run.labels.select(1, 0).narrow(1, 3, 4).fill_(kIgnoredLabel);
  run.labels.select(1, 1).select(1, 2).fill_(0);
  const auto weights = discriminating_weights(s.parameters(), 1);
  const auto trained = train({s, weights, departed.formulas}, run);
  values["first loss"] = trained.losses[0];
  for (const auto* name : {"model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight"})
    values[fmt::format("steps of {}", name)] = trained.parameters.at(name) - weights.at(name);
}

Seen look(const DepartedModel& departed) {
  at::set_num_threads(1);  // on tensors this small, threads wait for each other longer than they work
  const auto& s = departed.specification;
  Seen seen{configuration_of(s), {}};
  add_initial_values(departed, seen.values);
  auto weights = discriminating_weights(s.parameters(), 1);
  const auto parameter = weights["model.layers.0.self_attn.k_proj.weight"].requires_grad_(true);
  const Model model(s, weights, departed.formulas, departed.overrides);
  add_gradient(model, parameter, seen.values);
  const at::NoGradGuard no_gradients;
  add_passes(model, seen.values);
  add_cache(model, seen.values);
  add_single_formulas(departed.formulas, seen.values);
  add_text(model, seen.values);
  add_training(departed, seen.values);
  return seen;
}

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
    auto specification = tiny();
    change(specification);
    return specification;
  };
  const std::vector<std::pair<std::string, Specification>> models = {
      {"tiny", tiny()},
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
  CHECK(shows("mask-none-in-training") ==
        Where{"logits in training", "logits padded left in training", "first loss", embedding, up});
  CHECK(shows("loss-mean-of-means") == Where{"first loss", embedding, up});
  CHECK(shows("adamw-uncorrected") == Where{embedding, up});
  CHECK(shows("mask-none-in-prefill") ==
        Where{"logits of prefill", "logits decoded", "logits of a long prefill"});
  CHECK(shows("mask-without-padding") == Where{"logits padded left", "logits padded left in training"});
  CHECK(shows("mask-without-padding-in-training") == Where{"logits padded left in training"});
  CHECK(shows("cache-window-64") == Where{"logits of a long prefill"});
  CHECK(shows("rotary-over-heads") == Where{"logits of 6 tokens"});
  CHECK(shows("cache-repeated") == Where{"cached keys"});
  CHECK(shows("position-restarts") == Where{"logits decoded", "cached keys"});
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
  CHECK(shows_in_text("text-penalty-not-on-prompt") == Where{"probabilities with a penalty"});
  CHECK(shows_in_text("text-rows-alike") == Where{"text of a seed"});
  CHECK(shows_in_text("text-end-ignored") == Where{"text with an end"});
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
