#include "harness/diagnosis/observations.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "harness/judging/generated_text.hpp"
#include "harness/judging/large_activations.hpp"
#include "harness/judging/probes.hpp"
#include "harness/judging/run_modes.hpp"

namespace plumbline {
namespace {

// A text or number as a fact.
at::Tensor fact(const std::string& text) {
  return at::scalar_tensor(static_cast<std::int64_t>(std::hash<std::string>()(text)), at::kLong);
}

at::Tensor truth(bool holds) {
  return at::scalar_tensor(std::int64_t{holds ? 1 : 0}, at::kLong);
}

Weights stated_settings(Subject& subject) {
  Weights all;
  for (const auto& [key, setting] : subject.description().configuration)
    all[key] = fact(setting.value.is_number() ? fmt::format("{}", setting.value.get<double>())
                                              : setting.value.dump());
  return all;
}

// What the specification has by name; of what it does not have so many rows of a kind, since anyone calls it
// what they like, and may keep several as one.
Weights shapes(Subject& subject) {
  Weights all;
  std::map<std::string, std::int64_t> surplus;
  for (const auto& parameter : subject.description().parameters) {
    const auto own = subject.specification().parameters();
    if (std::any_of(own.begin(), own.end(), [&](const auto& one) { return one.name == parameter.name; }))
      all[parameter.name] = at::tensor(at::ArrayRef<std::int64_t>(parameter.shape), at::kLong);
    else if (parameter.shape.empty())
      ++surplus["beyond the specification: numbers"];
    else
      surplus[fmt::format("beyond the specification: rows of [{}]",
                          fmt::join(parameter.shape.begin() + 1, parameter.shape.end(), ", "))] +=
          parameter.shape.front();
  }
  for (const auto& [shape, count] : surplus) all[shape] = at::scalar_tensor(count, at::kLong);
  return all;
}

// The logarithm of the spread of every parameter before training, and how many rows of the embedding are 0.
Weights initial_spread(Subject& subject) {
  Weights all;
  for (const auto& [name, values] : subject.candidate().initialise(1)) {
    if (values.numel() < 1000) continue;
    all[name] = values.to(at::kDouble).std(false).clamp_min(1e-12).log();
    if (name == "model.embed_tokens.weight")
      all["rows of zeros"] =
          at::scalar_tensor((values.abs().amax(1) == 0).sum().item<std::int64_t>(), at::kLong);
  }
  return all;
}

// Answers twice the same.
Weights steadiness(Subject& subject) {
  const auto tokens = standard_probe(subject);
  PassOptions configured;
  configured.dropout = subject.can("dropout") ? 0.1 : 0;
  const auto once = logits(subject, tokens, configured), again = logits(subject, tokens, configured);
  const bool same = at::nan_to_num(once).equal(at::nan_to_num(again));
  return {{"the same twice", truth(same)}};
}

// What is hidden has no number of its own, and probabilities tell the rest.
Weights stages_in(const std::function<Stages()>& show) {
  Weights all;
  for (const auto& [stage, value] : show())
    if (stage.kind != "scores") all[to_string(stage)] = value;
  return all;
}

Weights held_in_cache(Subject& subject) {
  Weights all;
  const auto filled = fill_cache(subject);
  for (std::size_t layer = 0; layer < filled.view.layers.size(); ++layer) {
    all[fmt::format("layers.{}.keys", layer)] = filled.view.layers[layer].keys.to(at::kCPU);
    all[fmt::format("layers.{}.values", layer)] = filled.view.layers[layer].values.to(at::kCPU);
  }
  return all;
}

Weights rotated(Subject& subject, std::int64_t first) {
  const auto heads = repeat_kv_input(subject).to(at::kFloat);
  const auto positions =
      (at::arange(heads.size(1), at::kLong) + first).unsqueeze(0).expand({heads.size(0), -1});
  return {{"rotated", subject.candidate().rotate(heads, positions.contiguous()).to(at::kCPU)}};
}

// So many values of a parameter, evenly chosen, tell what happened to all of it, in less time.
at::Tensor some_of(const at::Tensor& values) {
  constexpr std::int64_t kEnough = 1 << 16;
  // Odd, so that it does not stay in the same columns of a matrix.
  const auto every = (values.numel() + kEnough - 1) / kEnough | 1;
  return values.flatten().slice(0, 0, values.numel(), every).to(at::kCPU, at::kDouble);
}

Weights gradients_of(Subject& subject, const PassOptions& options) {
  const auto tokens = probe(subject, "gradients", 3, 13);
  auto labels = tokens.ids.clone();
  labels.narrow(1, 4, 2).fill_(kIgnoredLabel);
  labels[1].narrow(0, 6, 3).copy_(at::arange(3));  // what tokenizers pad, begin and end with
  labels[0].narrow(0, 8, 5).fill_(kIgnoredLabel);  // of unlike number in the rows
  const auto found = subject.running().gradients(tokens, labels, options);
  Weights all;
  for (const auto& [name, values] : found.parameters) all[name] = some_of(values);
  all["loss"] = found.loss;
  return all;
}

Weights trained(Subject& subject) {
  const auto run = training_run_with_ignored_labels(subject, 2);
  const auto found = subject.running().train(run, true);
  Weights moved, still;
  // What steps change of a parameter is small beside it.
  for (const auto& [name, values] : found.parameters)
    if (const auto before = subject.weights().find(name);
        before != subject.weights().end() && before->second.sizes() == values.sizes()) {
      const auto change = some_of(values) - some_of(before->second);
      (largest(change) == 0 ? still : moved).emplace(name, change);
    }
  // A parameter that no loss reaches decays where it is a part of one that is reached, and rests by itself:
  // that says how matrices are kept, and not what is wrong.
  auto all = moved.empty() ? std::move(still) : std::move(moved);
  all["losses"] = found.losses;
  return all;
}

// Which of two nearly as likely tokens is written, rounding decides; whether it is one of them does not.
Weights greedy_text(Subject& subject, const Tokens& prompts, double penalty = 1) {
  const at::NoGradGuard no_gradients;
  const auto text = generate_text(subject, prompts, greedy(penalty), 12).tokens;
  return {{"follows its logits", truth(follows_logits(subject, prompts, text, penalty))},
          {"has the requested length", truth((text >= 0).all().item<bool>())}};
}

// The settings are those that tell most after the specification's logits, whoever is asked.
std::vector<SamplingCase> ways_after_the_specification(Subject& subject) try {
  const at::NoGradGuard no_gradients;
  return sampling_cases(subject.exact().forward(generation_prompts(subject, 1)).to(at::kCPU)[0][-1]);
} catch (const NotShown&) {
  return {};  // no weights fit it, so that nothing of it can be run
}

Weights seeds(Subject& subject) {
  const auto text = [&](std::uint32_t seed) {
    return generate_text(subject, generation_prompts(subject, 3), {}, 24, seed).tokens;
  };
  const auto once = text(5);
  return {{"the same seed, the same text", truth(once.equal(text(5)))},
          {"another seed, another text", truth(!once.equal(text(6)))}};
}

Weights rows_apart(Subject& subject) {
  const auto text = generate_text(subject, repeated_generation_prompt(subject, 4), {}, 12).tokens;
  const bool alike = text.equal(text.narrow(0, 0, 1).expand_as(text));
  return {{"every row alike", truth(alike)}};
}

Weights ended_text(Subject& subject) {
  const auto whole = generate_text(subject, generation_prompts(subject, 3), greedy(), 12).tokens;
  const auto end = end_token_of(whole);
  const auto text = generate_text(subject, generation_prompts(subject, 3), greedy(), 12, 1, end).tokens;
  Weights all{{"ends at its end", truth(text.equal(end_text_at(whole, end)))}};
  if (!subject.can("load")) return all;
  for (const std::int64_t id : {0, 2}) {
    const auto found = text_with_token(subject, id, end);
    // Whether there is such a text, rounding may decide.
    all[fmt::format("ends at token {}", id)] =
        truth(!found || found->ended.equal(end_text_at(found->whole, id)));
    all[fmt::format("goes on after token {}", id)] = truth(!found || found->unended.equal(found->whole));
  }
  return all;
}

}  // namespace

std::vector<Observation> observations_of_own_text(Subject& of) {
  std::vector<Observation> all = {
      {"its own greedy text", "generate.greedy",
       [](Subject& subject) { return greedy_text(subject, generation_prompts(subject, 3)); }},
      {"its own greedy text with a penalty", "generate.repetition_penalty",
       [](Subject& subject) { return greedy_text(subject, generation_prompts(subject, 3), 1.5); }},
      {"its own text with an end", "generate.end", ended_text},
      {"its own text by seeds", "generate.seed", seeds},
      {"its own text in rows of one prompt", "generate", rows_apart}};
  for (const auto side : {Padding::right, Padding::left}) {
    const std::string name = side == Padding::right ? "right" : "left";
    all.push_back({fmt::format("its own greedy text, prompts padded on the {}", name),
                   "generate.padding." + name, [side](Subject& subject) {
                     return greedy_text(subject, padded_generation_prompts(subject, side));
                   }});
  }
  if (!of.can("generate.probabilities")) return all;
  for (const auto& way : ways_after_the_specification(of))
    if (of.can(way.needs))
      all.push_back({fmt::format("its own probabilities at {}", way.name), way.needs,
                     [way](Subject& subject) {
                       return Weights{{"probabilities", sampling_probabilities(subject, way.sampling)}};
                     },
                     Observation::Kind::judged, 0, way.sampling});
  return all;
}

namespace {

std::vector<Observation> of_settings_and_operations(Subject& of) {
  const auto last = of.specification().max_position_embeddings;
  return {
      {"parameters", "", shapes, Observation::Kind::judged, 0, {}, false},
      {"stated configuration", "", stated_settings, Observation::Kind::stated, 0, {}, false},
      {"initialisation", "initialise", initial_spread, Observation::Kind::judged, 0.3},
      {"the same pass twice", "evaluation", steadiness, Observation::Kind::judged, 0, {}, false},
      {"repeat_kv", "repeat_kv",
       [](Subject& subject) {
         const auto factor = subject.specification().repeat_factor();
         return Weights{{"repeated", subject.candidate().repeat_kv(repeat_kv_input(subject), factor)}};
       }},
      {"repeat_kv by other factors", "repeat_kv",
       [](Subject& subject) {
         auto& candidate = subject.candidate();
         const auto other = subject.specification().repeat_factor() + 1;
         return Weights{{"once", candidate.repeat_kv(repeat_kv_input(subject), 1)},
                        {"more often", candidate.repeat_kv(repeat_kv_input(subject), other)}};
       }},
      {"gradient of repeat_kv", "repeat_kv",
       [](Subject& subject) {
         const auto factor = subject.specification().repeat_factor();
         return Weights{
             {"gradient", subject.candidate().repeat_kv_gradient(repeat_kv_input(subject), factor,
                                                                 repeat_kv_upstream(subject, factor))}};
       }},
      {"rotation", "rotate", [](Subject& subject) { return rotated(subject, 0); }},
      {"rotation far from the start", "rotate",
       [last](Subject& subject) { return rotated(subject, last - 8); }},
  };
}

std::vector<Observation> of_passes(Subject& of) {
  const auto standard = standard_probe(of);
  const auto last = of.specification().max_position_embeddings;
  std::vector<Observation> all;
  const auto add_logits = [&](const std::string& name, const std::string& needs,
                              const std::function<at::Tensor(Subject&)>& ask) {
    all.push_back({name, needs, [ask](Subject& subject) { return Weights{{"logits", ask(subject)}}; }});
  };
  for (const auto& run : logits_runs(of))
    add_logits(run.name, run.needs, [run](Subject& subject) { return run.logits(subject, run.tokens); });
  add_logits("special tokens", "evaluation",
             [](Subject& subject) { return logits(subject, special_tokens(subject)); });
  add_logits("far from the start", "first_position", [standard, last](Subject& subject) {
    PassOptions options;
    options.first_position = last - 24;
    return logits(subject, standard, options);
  });
  for (const auto side : {Padding::right, Padding::left}) {
    const std::string name = side == Padding::right ? "right" : "left";
    add_logits(fmt::format("training mode, padding on the {}", name), "padding." + name,
               [standard, side](Subject& subject) {
                 return padded_logits(subject, standard, 31, side,
                                      subject.can("training") ? training_options() : PassOptions{});
               });
    all.push_back({fmt::format("prompts padded on the {} and decoded", name), "cache.padding." + name,
                   [side](Subject& subject) {
                     Weights rows;
                     for (const auto& row : decode_padded_batch(subject, side))
                       rows[fmt::format("row {}", rows.size())] = row;
                     return rows;
                   }});
  }
  add_logits("unwritten slots filled", "cache.fill",
             [standard](Subject& subject) { return logits_with_filled_slots(subject, standard, 3e4); });
  return all;
}

std::vector<Observation> of_cache_stages_and_training(Subject& of) {
  const auto standard = standard_probe(of);
  const auto large = std::make_shared<std::optional<Weights>>();  // the same for all, computed once
  return {
      {"a full cache",
       "cache.capacity",
       [](Subject& subject) {
         return Weights{{"answer", fact(overrun_cache(subject).answer)}};
       },
       Observation::Kind::judged,
       0,
       {},
       false},
      {"what the cache holds", "cache.show", held_in_cache},
      {"stages", "evaluation",
       [standard](Subject& subject) { return stages_in([&] { return observe(subject, standard); }); },
       Observation::Kind::inner},
      {"stages in training mode", "training",
       [standard](Subject& subject) {
         return stages_in([&] { return observe(subject, standard, training_options()); });
       },
       Observation::Kind::inner},
      {"gradients", "gradients", [](Subject& subject) { return gradients_of(subject, {}); }},
      {"gradients in training mode", "gradients",
       [](Subject& subject) {
         return gradients_of(subject, subject.can("training") ? training_options() : PassOptions{});
       }},
      {"steps of AdamW", "train", trained},
      {"evaluation after steps", "train",
       [standard](Subject& subject) {
         auto run = short_training_run(subject, 1);
         run.optimiser.learning_rate = 1e-2;
         run.evaluated_after = standard.ids;
         return Weights{{"logits", subject.running().train(run, false).logits}};
       }},
      {"large activations", "load",
       [standard, large](Subject& subject) {
         const at::NoGradGuard no_gradients;
         subject.running();  // loads the first
         if (!*large) *large = large_activations(subject).weights;
         at::Tensor shown;
         subject.with_weights(**large,
                              [&](Candidate& candidate) { shown = candidate.forward(standard, {}); });
         return Weights{{"logits", shown.to(at::kCPU)}};
       }},
      {"other weights", "load",
       [standard](Subject& subject) {
         const at::NoGradGuard no_gradients;
         at::Tensor shown;
         subject.running();  // loads the first
         subject.with_weights(
             discriminating_weights(subject.specification().parameters(), subject.probes().seed + 1),
             [&](Candidate& candidate) { shown = candidate.forward(standard, {}); });
         return Weights{{"logits", shown.to(at::kCPU)}};
       }},
  };
}

}  // namespace

std::vector<Observation> observations(Subject& of) {
  std::vector<Observation> all;
  for (const auto& of_a_kind :
       {of_settings_and_operations, of_passes, of_cache_stages_and_training, observations_of_own_text})
    for (auto& one : of_a_kind(of)) all.push_back(std::move(one));
  return all;
}

std::vector<Observation> further_observations(Subject& of) {
  std::vector<Observation> all;
  for (const auto& run : logits_runs(of)) {
    const auto other = probe(of, "other tokens", run.tokens.ids.size(0), run.tokens.ids.size(1));
    all.push_back({run.name + " of other tokens", run.needs, [run, other](Subject& subject) {
                     return Weights{{"logits", run.logits(subject, other)}};
                   }});
  }
  return all;
}

}  // namespace plumbline
