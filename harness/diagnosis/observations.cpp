#include "harness/diagnosis/observations.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "harness/judging/large_activations.hpp"
#include "harness/judging/probes.hpp"
#include "harness/judging/run_modes.hpp"

namespace plumbline {

std::string to_string(Group group) {
  switch (group) {
    case Group::settings:
      return "settings and shapes";
    case Group::operations:
      return "single operations";
    case Group::passes:
      return "passes in evaluation";
    case Group::training:
      return "passes in training mode";
    case Group::padding:
      return "padded passes";
    case Group::padding_in_training:
      return "padded passes in training mode";
    case Group::cache:
      return "passes through the cache";
    case Group::padding_in_cache:
      return "padded passes through the cache";
    case Group::gradients:
      return "gradients";
    case Group::steps:
      return "steps of AdamW";
    case Group::weights:
      return "passes with other weights";
    case Group::text:
      return "texts of its own loop";
  }
  return "";
}

at::Tensor truth(bool holds) {
  return at::scalar_tensor(std::int64_t{holds ? 1 : 0}, at::kLong);
}

std::vector<Observation> in_group(Group group, std::vector<Observation> all) {
  for (auto& one : all) one.group = group;
  return all;
}

namespace {

// A text or number as a fact.
at::Tensor fact(const std::string& text) {
  return at::scalar_tensor(static_cast<std::int64_t>(std::hash<std::string>()(text)), at::kLong);
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

Group group_of(const PassKind& pass) {
  if (pass.cached) return pass.padded ? Group::padding_in_cache : Group::cache;
  if (pass.training) return pass.padded ? Group::padding_in_training : Group::training;
  return pass.padded ? Group::padding : Group::passes;
}

std::vector<Observation> of_settings(Subject&) {
  return in_group(
      Group::settings,
      {
          {"parameters", "", shapes, Observation::Kind::judged, 0, {}, false},
          {"stated configuration", "", stated_settings, Observation::Kind::stated, 0, {}, false},
          {"initialisation", "initialise", initial_spread, Observation::Kind::judged, 0.3},
          {"the same pass twice", "evaluation", steadiness, Observation::Kind::judged, 0, {}, false},
      });
}

std::vector<Observation> of_operations(Subject& of) {
  const auto last = of.specification().max_position_embeddings;
  return in_group(
      Group::operations,
      {
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
      });
}

std::vector<Observation> of_passes(Subject& of) {
  const auto standard = standard_probe(of);
  const auto last = of.specification().max_position_embeddings;
  std::vector<Observation> all;
  const auto add_logits = [&](const std::string& name, const std::string& needs, Group group,
                              const std::function<at::Tensor(Subject&)>& ask) {
    all.push_back({name, needs, [ask](Subject& subject) { return Weights{{"logits", ask(subject)}}; }});
    all.back().group = group;
  };
  for (const auto& run : logits_runs(of))
    add_logits(run.name, run.needs, group_of(run.kind),
               [run](Subject& subject) { return run.logits(subject, run.tokens); });
  add_logits("special tokens", "evaluation", Group::passes,
             [](Subject& subject) { return logits(subject, special_tokens(subject)); });
  add_logits("far from the start", "first_position", Group::passes, [standard, last](Subject& subject) {
    PassOptions options;
    options.first_position = last - 24;
    return logits(subject, standard, options);
  });
  for (const auto side : {Padding::right, Padding::left}) {
    const std::string name = side == Padding::right ? "right" : "left";
    add_logits(fmt::format("training mode, padding on the {}", name), "padding." + name,
               Group::padding_in_training, [standard, side](Subject& subject) {
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
    all.back().group = Group::padding_in_cache;
  }
  add_logits("unwritten slots filled", "cache.fill", Group::cache,
             [standard](Subject& subject) { return logits_with_filled_slots(subject, standard, 3e4); });
  return all;
}

std::vector<Observation> of_cache(Subject&) {
  return in_group(Group::cache, {{"a full cache",
                                  "cache.capacity",
                                  [](Subject& subject) {
                                    return Weights{{"answer", fact(overrun_cache(subject).answer)}};
                                  },
                                  Observation::Kind::judged,
                                  0,
                                  {},
                                  false},
                                 {"what the cache holds", "cache.show", held_in_cache}});
}

std::vector<Observation> of_stages(Subject& of) {
  const auto standard = standard_probe(of);
  return {
      {"stages", "evaluation",
       [standard](Subject& subject) { return stages_in([&] { return observe(subject, standard); }); },
       Observation::Kind::inner},
      {"stages in training mode", "training",
       [standard](Subject& subject) {
         return stages_in([&] { return observe(subject, standard, training_options()); });
       },
       Observation::Kind::inner},
  };
}

std::vector<Observation> of_gradients(Subject&) {
  return in_group(Group::gradients,
                  {{"gradients", "gradients", [](Subject& subject) { return gradients_of(subject, {}); }},
                   {"gradients in training mode", "gradients", [](Subject& subject) {
                      return gradients_of(subject,
                                          subject.can("training") ? training_options() : PassOptions{});
                    }}});
}

std::vector<Observation> of_steps(Subject& of) {
  const auto standard = standard_probe(of);
  return in_group(Group::steps, {{"steps of AdamW", "train", trained},
                                 {"evaluation after steps", "train", [standard](Subject& subject) {
                                    auto run = short_training_run(subject, 1);
                                    run.optimiser.learning_rate = 1e-2;
                                    run.evaluated_after = standard.ids;
                                    return Weights{{"logits", subject.running().train(run, false).logits}};
                                  }}});
}

std::vector<Observation> of_weights(Subject& of) {
  const auto standard = standard_probe(of);
  const auto large = std::make_shared<std::optional<Weights>>();  // the same for all, computed once
  return in_group(
      Group::weights,
      {{"large activations", "load",
        [standard, large](Subject& subject) {
          const at::NoGradGuard no_gradients;
          subject.running();  // loads the first
          if (!*large) *large = large_activations(subject).weights;
          at::Tensor shown;
          subject.with_weights(**large,
                               [&](Candidate& candidate) { shown = candidate.forward(standard, {}); });
          return Weights{{"logits", shown.to(at::kCPU)}};
        }},
       {"other weights", "load", [standard](Subject& subject) {
          const at::NoGradGuard no_gradients;
          at::Tensor shown;
          subject.running();  // loads the first
          subject.with_weights(
              discriminating_weights(subject.specification().parameters(), subject.probes().seed + 1),
              [&](Candidate& candidate) { shown = candidate.forward(standard, {}); });
          return Weights{{"logits", shown.to(at::kCPU)}};
        }}});
}

}  // namespace

std::vector<Observation> observations(Subject& of) {
  std::vector<Observation> all;
  for (const auto& of_a_kind : {of_settings, of_operations, of_passes, of_cache, of_stages, of_gradients,
                                of_steps, of_weights, observations_of_own_text})
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
    all.back().group = group_of(run.kind);
  }
  return all;
}

}  // namespace plumbline
