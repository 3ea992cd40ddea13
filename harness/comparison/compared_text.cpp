#include "harness/comparison/pair.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "harness/candidate/void_parameters.hpp"
#include "harness/diagnosis/observations.hpp"
#include "harness/judging/generated_text.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

void CandidatePair::compare_text_with_logits(Subject& writer, Subject& judge) {
  if (!writer.can("generate.greedy"))
    not_assessed(fmt::format(
        "only {} writes text, and only greedy text can be compared with the other's logits", name(writer)));
  if (judge.candidate().usage()) {
    const auto text = ask(writer, [](Subject& subject) {
      return generate_text(subject, generation_prompts(subject, 3), greedy(), 12).tokens;
    });
    const bool follows = ask(judge, [&](Subject& subject) {
      return follows_logits(subject, generation_prompts(subject, 3), text, 1);
    });
    expect_text(
        fmt::format("greedy text of {} is the likeliest by the logits of {}", name(writer), name(judge)),
        follows ? "yes" : "no", "yes");
  } else if (!writer.can("generate.probabilities")) {
    not_assessed(fmt::format("only {} writes text, and {} is a recording, which has no logits for that text",
                             name(writer), name(judge)));
  }
  if (!writer.can("generate.temperature")) return;
  if (!writer.can("generate.probabilities")) {
    one.recorder().finding(fmt::format(
        "{} does not show the probabilities that it draws from, so only its greedy text was compared",
        name(writer)));
    return;
  }
  const auto [logits, error] =
      ask(judge, [](Subject& subject) { return expected_logits(subject, generation_prompts(subject, 1)); });
  const auto after = logits[0][-1];
  for (const auto& sampling_case : sampling_cases(after)) {
    if (!writer.can(sampling_case.needs)) continue;
    const auto expected =
        next_probabilities(after, generation_prompts(one, 1).ids[0], sampling_case.sampling);
    const auto actual = ask(
        writer, [&](Subject& subject) { return sampling_probabilities(subject, sampling_case.sampling); });
    record(compare_two(fmt::format("probabilities of {} at {}, by the logits of {}", name(writer),
                                   sampling_case.name, name(judge)),
                       &writer == &one ? expected : actual, &writer == &one ? actual : expected,
                       probability_tolerance(expected, sampling_case.sampling, error)));
  }
}

void CandidatePair::compare_generated_text() {
  if (one.candidate().type() == at::kBFloat16) not_assessed(kRoundingDecides);  // recordings lack it, too
  if (auto* who = alone("generate")) return compare_text_with_logits(*who, who == &one ? *other : one);
  if (other == nullptr)
    ask(one, [](Subject& subject) { return expected_logits(subject, generation_prompts(subject, 1)); });
  const double error =
      one.noise("logits", one.exact().forward(generation_prompts(one, 1))).bound.max().item<double>();
  for (const auto& observation : observations_of_own_text(one)) {
    if (!can(observation.needs)) continue;
    compare_answers(observation.ask, [&](const Weights& first, const Weights& second) {
      for (const auto& [key, values] : first) {
        const auto found = second.find(key);
        const auto what = fmt::format("{}: {}", observation.name, key);
        if (found == second.end())
          one.recorder().not_assessed(fmt::format("{} is not shown by both", what));
        else if (!at::isFloatingType(values.scalar_type()))
          expect_text(what, found->second.item<std::int64_t>() == 1 ? "yes" : "no",
                      values.item<std::int64_t>() == 1 ? "yes" : "no");
        else
          record(compare_two(what, found->second, values,
                             probability_tolerance(values, observation.sampling, error)));
      }
    });
  }
}

}  // namespace plumbline
