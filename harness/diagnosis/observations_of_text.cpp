#include <fmt/format.h>

#include "harness/diagnosis/observations.hpp"
#include "harness/judging/generated_text.hpp"
#include "harness/judging/probes.hpp"

namespace plumbline {
namespace {

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
  const auto right = end_text_at(whole, end);
  Weights all{{"ends at its end", truth(text.equal(right))},
              {"goes on after its end", truth(((right < 0) & (text >= 0)).any().item<bool>())}};
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
  if (!of.can("generate.probabilities")) return in_group(Group::text, std::move(all));
  for (const auto& way : ways_after_the_specification(of))
    if (of.can(way.needs))
      all.push_back({fmt::format("its own probabilities at {}", way.name), way.needs,
                     [way](Subject& subject) {
                       return Weights{{"probabilities", sampling_probabilities(subject, way.sampling)}};
                     },
                     Observation::Kind::judged, 0, way.sampling});
  return in_group(Group::text, std::move(all));
}

}  // namespace plumbline
