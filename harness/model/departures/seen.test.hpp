// All that can be seen of a departed model without looking into it.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <map>
#include <string>

#include "harness/model/departures/departures.hpp"
#include "harness/model/text_generation.hpp"
#include "harness/model/training_steps.hpp"

namespace plumbline {

inline Specification tiny() {
  return find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
}

// The same with two layers, as many as it takes to tell one from another, where it is looked at a thousand
// times.
inline Specification shallow() {
  auto specification = tiny();
  specification.num_hidden_layers = 2;
  return specification;
}

using Values = std::map<std::string, at::Tensor>;

// All that can be seen of a model without looking into it, by what it is.
struct Seen {
  std::string configuration;
  Values values;
};

inline std::string configuration_of(const Specification& s) {
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", s.head_bias, s.query_key_norm,
                     s.norm_weights, s.vocab_size, s.hidden_size, s.num_hidden_layers, s.num_attention_heads,
                     s.num_key_value_heads, s.intermediate_size, to_string(s.hidden_act), to_string(s.rotary),
                     s.rope_theta, s.rms_norm_eps, s.dropout, s.attention_bias, s.mlp_bias,
                     s.tie_word_embeddings, s.max_position_embeddings);
}

// Six tokens are as many as query heads, two as key/value heads; 24 are as many as nothing.
inline Tokens probe(std::int64_t length, const Specification& s) {
  return {probe_tokens("departures", 2, length, s.vocab_size, 1), {}, Padding::none};
}

inline void add_initial_values(const DepartedModel& departed, Values& values) {
  const auto initial = initial_weights(departed.specification, 1);
  for (const auto& [what, name] : {std::pair{"initial embedding", "model.embed_tokens.weight"},
                                   {"initial values", "model.layers.0.self_attn.v_proj.weight"},
                                   {"initial outputs", "model.layers.0.self_attn.o_proj.weight"}})
    values[what] = departed.formulas.initial_values(name, initial.at(name));
}

inline void add_gradient(const Model& model, const at::Tensor& parameter, Values& values) {
  at::manual_seed(1);
  const auto logits = model.forward(probe(24, model.specification()));
  values["logits"] = logits.detach();
  if (logits.requires_grad()) logits.square().sum().backward();
  // Undefined where nothing reads the parameter.
  values["gradient"] = parameter.grad().defined() ? parameter.grad() : at::zeros_like(parameter);
}

inline void add_passes(const Model& model, Values& values) {
  const auto& s = model.specification();
  values["logits of 6 tokens"] = model.forward(probe(6, s));
  PassOptions options;
  options.training = true;
  values["logits in training"] = model.forward(probe(24, s), options);
  Tokens padded{probe(24, s).ids, {20, 9}, Padding::right};
  values["logits with a mask of ones"] = model.forward({padded.ids, {24, 24}, Padding::right});
  values["logits padded"] = model.forward(padded)[1].narrow(0, 0, 9);
  values["logits padded in training"] = model.forward(padded, options)[1].narrow(0, 0, 9);
  padded.padding = Padding::left;
  values["logits padded left"] = model.forward(padded)[1].narrow(0, 15, 9);
  const auto second = padded.ids.narrow(0, 1, 1);
  values["logits padded, alone"] = model.forward({second, {9}, Padding::right}).narrow(1, 0, 9);
  values["logits padded left, alone"] = model.forward({second, {9}, Padding::left}).narrow(1, 15, 9);
  values["logits padded left in training"] = model.forward(padded, options)[1].narrow(0, 15, 9);
}

inline void add_cache(const Model& model, Values& values) {
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
  auto padded_cache = model.make_cache(2, 26);
  model.extend(padded_cache, {whole.ids.narrow(1, 0, 20), {20, 9}, Padding::right});
  values["logits decoded after padding"] =
      model.extend(padded_cache, {whole.ids.narrow(1, 20, 4), {}, Padding::none});
}

inline void add_single_formulas(const Formulas& formulas, Values& values) {
  values["repeated once"] = formulas.repeat_kv(at::ones({1, 2, 3, 4}), 1);
  values["repeated more often"] = formulas.repeat_kv(at::ones({1, 2, 3, 4}), tiny().repeat_factor() + 1);
  values["a loud logit"] = formulas.transform_logits(at::full({1, 1, 1}, 20.0));
  const auto loud = at::full({1, 1, 4}, 3000.0), quiet = at::zeros({1, 1, 4});
  values["a loud residual"] = formulas.add_residual(loud, quiet, quiet);
  values["a loud branch"] = formulas.add_residual(quiet, quiet, loud);
  values["a long embedding"] = formulas.transform_embedding(loud, at::ones({1, 1}, at::kLong));
  values["a masked score of 20000"] =
      at::softmax(formulas.apply_mask(at::tensor({20000.0, 0.0}), at::tensor({0, 1}).to(at::kBool)), -1);
  values["probabilities of scores of 20000"] = formulas.softmax(at::tensor({20000.0, 19999.0}).view({1, 2}));
  values["angles at position 4000"] = formulas.angles(at::full({1, 1}, 4000), at::ones({2}));
  // The last token of a text that is longer than any window of the catalogue.
  const auto slots = at::arange(2000);
  values["keys seen at slot 1999"] =
      formulas
          .attention_mask(
              {slots.narrow(0, 1999, 1), slots, at::ones({1, 1}, at::kBool), at::ones({1, 2000}, at::kBool)})
          .to(at::kDouble);
  const Weights first{{"weight", at::ones({2})}}, later{{"weight", at::full({2}, 2.0)}};
  values["weights after a second load"] = formulas.loaded_weights(first, later).at("weight");
  values["weights in evaluation after a step"] = formulas.evaluated_weights(first, later).at("weight");
  values["probabilities after a token twice"] = formulas.token_probabilities(
      at::tensor({2.0, 1.0, -1.0, -2.0}), at::tensor({2, 0, 0, 3}, at::kLong), 1, {2, 1, 0, 1});
  values["text goes on after one of two rows"] = at::scalar_tensor(formulas.stops({true, false}) ? 1.0 : 2.0);
  values["tokens of twelve"] = at::scalar_tensor(static_cast<double>(formulas.tokens_to_write(12, 3)));
  values["five slots of five"] = at::scalar_tensor(formulas.fits(5, 5) ? 1.0 : 0.0);
}

// Own text: of one prompt twice, in which a token stands three times.
inline void add_text(const Model& model, Values& values) {
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
  prompts.padding = Padding::left;
  values["probabilities after prompts padded left"] = text({}).probabilities.select(1, 0);
}

// Labels of which unlike shares are ignored; a decay that takes about what the gradient moves.
inline void add_training(const DepartedModel& departed, Values& values) {
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

inline Seen look(const DepartedModel& departed) {
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

}  // namespace plumbline
