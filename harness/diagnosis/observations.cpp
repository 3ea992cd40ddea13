#include "harness/diagnosis/observations.hpp"

#include <fmt/ranges.h>

#include <algorithm>

#include "harness/judging/own_text.hpp"
#include "harness/judging/probes.hpp"
#include "harness/judging/ways.hpp"

namespace plumbline {
namespace {

// A text or number as a fact.
at::Tensor fact(const std::string& text) {
  return at::scalar_tensor(static_cast<std::int64_t>(std::hash<std::string>()(text)), at::kLong);
}

at::Tensor truth(bool holds) {
  return at::scalar_tensor(std::int64_t{holds ? 1 : 0}, at::kLong);
}

Weights stated_settings() {
  Weights all;
  for (const auto& [key, setting] : subject().description().configuration)
    all[key] = fact(setting.value.is_number() ? fmt::format("{}", setting.value.get<double>())
                                              : setting.value.dump());
  return all;
}

// What the specification has by name; of what it does not have so many rows of a kind, since anyone calls it
// what they like, and may keep several as one.
Weights shapes() {
  Weights all;
  std::map<std::string, std::int64_t> surplus;
  for (const auto& parameter : subject().description().parameters) {
    const auto own = subject().specification().parameters();
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
Weights initial_spread() {
  Weights all;
  for (const auto& [name, values] : subject().candidate().initialise(1)) {
    if (values.numel() < 1000) continue;
    all[name] = values.to(at::kDouble).std(false).clamp_min(1e-12).log();
    if (name == "model.embed_tokens.weight")
      all["rows of zeros"] =
          at::scalar_tensor((values.abs().amax(1) == 0).sum().item<std::int64_t>(), at::kLong);
  }
  return all;
}

// Answers twice the same.
Weights steadiness() {
  const auto tokens = standard_probe();
  PassOptions configured;
  configured.dropout = subject().can("dropout") ? 0.1 : 0;
  const auto once = logits(tokens, configured), again = logits(tokens, configured);
  const bool same = at::nan_to_num(once).equal(at::nan_to_num(again));
  return {{"the same twice", truth(same)}};
}

// What is hidden has no number of its own, and probabilities tell the rest.
Weights stages_in(const std::function<Stages()>& show) {
  Weights all;
  for (const auto& [name, value] : show())
    if (!name.ends_with(".scores")) all[name] = value;
  return all;
}

Weights held_in_cache() {
  Weights all;
  const auto filled = fill_cache();
  for (std::size_t layer = 0; layer < filled.view.layers.size(); ++layer) {
    all[fmt::format("layers.{}.keys", layer)] = filled.view.layers[layer].keys.to(at::kCPU);
    all[fmt::format("layers.{}.values", layer)] = filled.view.layers[layer].values.to(at::kCPU);
  }
  return all;
}

Weights rotated(std::int64_t first) {
  const auto heads = some_heads().to(at::kFloat);
  const auto positions =
      (at::arange(heads.size(1), at::kLong) + first).unsqueeze(0).expand({heads.size(0), -1});
  return {{"rotated", subject().candidate().rotate(heads, positions.contiguous()).to(at::kCPU)}};
}

// So many values of a parameter, evenly chosen, tell what happened to all of it, in less time.
at::Tensor some_of(const at::Tensor& values) {
  constexpr std::int64_t kEnough = 1 << 16;
  // Odd, so that it does not stay in the same columns of a matrix.
  const auto every = (values.numel() + kEnough - 1) / kEnough | 1;
  return values.flatten().slice(0, 0, values.numel(), every).to(at::kCPU, at::kDouble);
}

Weights gradients_of(const PassOptions& options) {
  const auto tokens = probe("gradients", 3, 13);
  auto labels = tokens.ids.clone();
  labels.narrow(1, 4, 2).fill_(kIgnored);
  labels[0].narrow(0, 8, 5).fill_(kIgnored);  // of unlike number in the rows
  const auto found = subject().running().gradients(tokens, labels, options);
  Weights all;
  for (const auto& [name, values] : found.parameters) all[name] = some_of(values);
  all["loss"] = found.loss;
  return all;
}

Weights trained() {
  const auto run = some_steps_with_ignored_labels(2);
  const auto found = subject().running().train(run, true);
  Weights moved, still;
  // What steps change of a parameter is small beside it.
  for (const auto& [name, values] : found.parameters)
    if (const auto before = subject().weights().find(name);
        before != subject().weights().end() && before->second.sizes() == values.sizes()) {
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
Weights greedy_text(const Tokens& prompts, double penalty = 1) {
  const at::NoGradGuard no_gradients;
  const auto text = own_text(prompts, greedy(penalty), 12).tokens;
  return {{"as its logits have it", truth(follows_its_logits(prompts, text, penalty))},
          {"as long as was asked for", truth((text >= 0).all().item<bool>())}};
}

// The settings are those that tell most after the specification's logits, whoever is asked.
std::vector<WayOfSampling> ways_after_the_specification() try {
  const at::NoGradGuard no_gradients;
  return ways_of_sampling(subject().exact().forward(own_prompts(1)).to(at::kCPU)[0][-1]);
} catch (const NotShown&) {
  return {};  // no weights fit it, so that nothing of it can be run
}

Weights seeds() {
  const auto text = [](std::uint32_t seed) { return own_text(own_prompts(3), {}, 24, seed).tokens; };
  const auto once = text(5);
  return {{"the same seed, the same text", truth(once.equal(text(5)))},
          {"another seed, another text", truth(!once.equal(text(6)))}};
}

Weights rows_apart() {
  const auto text = own_text(own_prompt_repeated(4), {}, 12).tokens;
  const bool alike = text.equal(text.narrow(0, 0, 1).expand_as(text));
  return {{"every row alike", truth(alike)}};
}

Weights ended_text() {
  const auto whole = own_text(own_prompts(3), greedy(), 12).tokens;
  const auto end = token_within(whole);
  const auto text = own_text(own_prompts(3), greedy(), 12, 1, end).tokens;
  return {{"ends at its end", truth(text.equal(ended_at(whole, end)))}};
}

}  // namespace

std::vector<Observation> observations_of_own_text() {
  std::vector<Observation> all = {
      {"its own greedy text", "generate.greedy", [] { return greedy_text(own_prompts(3)); }},
      {"its own greedy text with a penalty", "generate.repetition_penalty",
       [] { return greedy_text(own_prompts(3), 1.5); }},
      {"its own text with an end", "generate.end", ended_text},
      {"its own text by seeds", "generate.seed", seeds},
      {"its own text in rows of one prompt", "generate", rows_apart}};
  for (const auto side : {Padding::right, Padding::left}) {
    const std::string name = side == Padding::right ? "right" : "left";
    all.push_back({fmt::format("its own greedy text, prompts padded on the {}", name),
                   "generate.padding." + name, [side] { return greedy_text(own_prompts_padded(side)); }});
  }
  if (!subject().can("generate.probabilities")) return all;
  for (const auto& way : ways_after_the_specification())
    if (subject().can(way.needs))
      all.push_back({fmt::format("its own probabilities at {}", way.name), way.needs,
                     [way] {
                       return Weights{{"probabilities", own_probabilities(way.sampling)}};
                     },
                     Observation::Kind::judged, 0, way.sampling});
  return all;
}

std::vector<Observation> observations() {
  const auto standard = standard_probe();
  const auto last = subject().specification().max_position_embeddings;
  std::vector<Observation> all = {
      {"parameters", "", shapes, Observation::Kind::judged, 0, {}, false},
      {"stated configuration", "", stated_settings, Observation::Kind::stated, 0, {}, false},
      {"initialisation", "initialise", initial_spread, Observation::Kind::judged, 0.3},
      {"the same pass twice", "evaluation", steadiness, Observation::Kind::judged, 0, {}, false},
      {"repeat_kv", "repeat_kv",
       [] {
         const auto factor = subject().specification().repeat_factor();
         return Weights{{"repeated", subject().candidate().repeat_kv(some_heads(), factor)}};
       }},
      {"repeat_kv by other factors", "repeat_kv",
       [] {
         auto& candidate = subject().candidate();
         const auto other = subject().specification().repeat_factor() + 1;
         return Weights{{"once", candidate.repeat_kv(some_heads(), 1)},
                        {"more often", candidate.repeat_kv(some_heads(), other)}};
       }},
      {"gradient of repeat_kv", "repeat_kv",
       [] {
         const auto factor = subject().specification().repeat_factor();
         return Weights{{"gradient", subject().candidate().repeat_kv_gradient(some_heads(), factor,
                                                                              some_upstream(factor))}};
       }},
      {"rotation", "rotate", [] { return rotated(0); }},
      {"rotation far from the start", "rotate", [last] { return rotated(last - 8); }},
  };
  const auto add_logits = [&](const std::string& name, const std::string& needs,
                              const std::function<at::Tensor()>& ask) {
    all.push_back({name, needs, [ask] { return Weights{{"logits", ask()}}; }});
  };
  for (const auto& run : logits_runs())
    add_logits(run.name, run.needs, [run] { return run.logits(run.tokens); });
  add_logits("special tokens", "evaluation", [] { return logits(special_tokens()); });
  add_logits("far from the start", "first_position", [standard, last] {
    PassOptions options;
    options.first_position = last - 24;
    return logits(standard, options);
  });
  for (const auto side : {Padding::right, Padding::left}) {
    const std::string name = side == Padding::right ? "right" : "left";
    add_logits(fmt::format("training mode, padding on the {}", name), "padding." + name, [standard, side] {
      return padded_logits(standard, 31, side, subject().can("training") ? in_training() : PassOptions{});
    });
    all.push_back(
        {fmt::format("prompts padded on the {} and decoded", name), "cache.padding." + name, [side] {
           Weights rows;
           for (const auto& row : padded_and_decoded(side)) rows[fmt::format("row {}", rows.size())] = row;
           return rows;
         }});
  }
  add_logits("unwritten slots filled", "cache.fill", [standard] { return logits_beside(standard, 3e4); });
  const std::vector<Observation> others = {
      {"a full cache",
       "cache.capacity",
       [] {
         return Weights{{"answer", fact(overrun().answer)}};
       },
       Observation::Kind::judged,
       0,
       {},
       false},
      {"what the cache holds", "cache.show", held_in_cache},
      {"stages", "evaluation", [standard] { return stages_in([&] { return observe(standard); }); },
       Observation::Kind::inner},
      {"stages in training mode", "training",
       [standard] { return stages_in([&] { return observe(standard, in_training()); }); },
       Observation::Kind::inner},
      {"gradients", "gradients", [] { return gradients_of({}); }},
      {"gradients in training mode", "gradients",
       [] { return gradients_of(subject().can("training") ? in_training() : PassOptions{}); }},
      {"steps of AdamW", "train", trained},
  };
  all.insert(all.end(), others.begin(), others.end());
  for (auto& one : observations_of_own_text()) all.push_back(std::move(one));
  return all;
}

std::vector<Observation> further_observations() {
  std::vector<Observation> all;
  for (const auto& run : logits_runs()) {
    const auto other = probe("other tokens", run.tokens.ids.size(0), run.tokens.ids.size(1));
    all.push_back({run.name + " of other tokens", run.needs, [run, other] {
                     return Weights{{"logits", run.logits(other)}};
                   }});
  }
  return all;
}

}  // namespace plumbline
