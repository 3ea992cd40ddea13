#include "harness/comparison/pair.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "harness/candidate/void_parameters.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

void CandidatePair::compare_gradients() {
  require_both("gradients", "gradients");
  for_each_gradient_probe(
      one, [&](const std::string& need) { return can(need); },
      [&](const GradientProbe& probe) {
        compare_answers(
            [&](Subject& subject) {
              subject.running();
              return subject.candidate().gradients(probe.tokens, probe.labels, probe.options);
            },
            [&](const Gradients& first, const Gradients& second) {
              record(compare_two(fmt::format("loss ({})", probe.name), second.loss.to(at::kCPU),
                                 first.loss.to(at::kCPU), probe.allowed(first.loss)));
              for (const auto& [key, values] : first.parameters) {
                const auto gradient = second.parameters.find(key);
                if (gradient == second.parameters.end())
                  one.recorder().not_assessed(fmt::format("{} shows no gradient of {}", name(*other), key));
                else
                  record(compare_two(fmt::format("gradient of {} ({})", key, probe.name),
                                     gradient->second.to(at::kCPU), values.to(at::kCPU),
                                     probe.allowed(values)));
              }
            });
      });
}

namespace {

Tolerance noise_after_steps(Subject& subject, const TrainingOutcome& exact, const TrainingOutcome& rounded,
                            const at::Tensor& logits) {
  const auto error = rounded.logits.to(at::kCPU, at::kDouble) - exact.logits.to(at::kCPU);
  return Tolerance::absolute(
      std::max(kNoiseFactor * largest(error), subject.noise("logits", logits).bound.item<double>()),
      fmt::format("{} x the rounding error of the same steps on the reference", kNoiseFactor));
}

}  // namespace

void CandidatePair::compare_training_steps() {
  if (one.candidate().type() == at::kBFloat16) not_assessed(kStepTooSmall);  // recordings lack it, too
  require_both("train", "steps of training");
  // Three steps: the third depends on what the second kept of the first.
  auto run = training_run_with_ignored_labels(one, 3);
  run.evaluated_after = standard_probe(one).ids;
  const auto exact = train(one.exact(), run), rounded = train(one.rounded(), run);
  const auto& initial = one.exact().weights();
  // The rounding error of each parameter, relative to its change.
  std::map<std::string, double> noise;
  double largest_noise = 0;
  for (const auto& [key, values] : exact.parameters) {
    const auto expected = values.to(at::kCPU, at::kDouble);
    const auto error = largest(rounded.parameters.at(key).to(at::kCPU, at::kDouble) - expected);
    noise[key] = error / largest(expected - initial.at(key).to(at::kCPU, at::kDouble));
    largest_noise = std::max(largest_noise, noise[key]);
  }
  const double loss_noise =
      largest(rounded.losses.to(at::kCPU, at::kDouble) - exact.losses.to(at::kCPU, at::kDouble)) /
      largest(exact.losses);
  const double roundoff = unit_roundoff(one.candidate().type());
  compare_answers(
      [&](Subject& subject) { return subject.running().train(run, true); },
      [&](const TrainingOutcome& first, const TrainingOutcome& second) {
        for (std::int64_t step = 0; step < run.tokens.size(0); ++step)
          record(compare_two(
              fmt::format("loss before step {}", step + 1), second.losses[step].to(at::kCPU),
              first.losses[step].to(at::kCPU),
              Tolerance::absolute(
                  kNoiseFactor * std::max(loss_noise, roundoff) * largest(finite(first.losses)),
                  fmt::format("{} x the rounding error of the same steps on the reference", kNoiseFactor))));
        record(compare_two("logits in evaluation after three steps", second.logits.to(at::kCPU),
                           first.logits.to(at::kCPU), noise_after_steps(one, exact, rounded, first.logits)));
        for (const auto& [key, values] : first.parameters) {
          const auto what = fmt::format("{} after three steps", key);
          const auto found = second.parameters.find(key);
          const auto before = one.weights().find(key);
          if (found == second.parameters.end() || before == one.weights().end()) {
            one.recorder().not_assessed(fmt::format("{} is not shown by both", what));
            continue;
          }
          const auto now = values.to(at::kCPU);
          const auto share = noise.contains(key) ? noise.at(key) : largest_noise;
          const double change =
              before->second.sizes() == now.sizes()
                  ? largest(finite(now.to(at::kDouble) - before->second.to(at::kCPU, at::kDouble)))
                  : 0;
          record(compare_two(
              what, found->second.to(at::kCPU), now,
              Tolerance::absolute(
                  kNoiseFactor * std::max(share * change, roundoff * largest(finite(now))),
                  fmt::format("{} x the rounding error of the same steps on the reference, {} of what "
                              "they change",
                              kNoiseFactor, number(share)))));
        }
      });
}

}  // namespace plumbline
