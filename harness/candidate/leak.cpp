#include "harness/candidate/leak.hpp"

#include <cmath>
#include <limits>

#include "harness/evidence/replay.hpp"
#include "harness/text/source.hpp"

namespace plumbline {

Leak detect_leak(Candidate& candidate, std::int64_t vocabulary, const AdamW& optimiser, std::uint32_t seed) {
  constexpr std::int64_t kSteps = 10, kBatch = 128;
  SourceSettings settings;  // of independent, uniform tokens
  settings.vocabulary = static_cast<Token>(vocabulary);
  settings.successors = 1;
  settings.loose = 1;
  settings.zipf = 0;
  settings.copying = 0;
  settings.seed = seed;
  const Source source(settings);
  const auto ids = at::empty({kSteps, kBatch, 2}, at::kLong);
  auto* id = ids.data_ptr<std::int64_t>();
  std::vector<double> source_log_likelihood(kSteps);  // ln P of each step's second tokens
  for (std::int64_t pair = 0; pair < kSteps * kBatch; ++pair) {
    const auto drawn = source.draw(static_cast<std::uint64_t>(pair), 2);
    for (const auto token : drawn.tokens) *id++ = static_cast<std::int64_t>(token);
    source_log_likelihood[static_cast<std::size_t>(pair / kBatch)] += drawn.log_probabilities[1];
  }
  const auto losses = candidate.train({ids, ids, optimiser}, false).losses;
  // A loss may have been rounded to its own type or to the model's.
  const double roundoff = std::max(unit_roundoff(losses.scalar_type()), unit_roundoff(candidate.type()));
  const auto curve = losses.to(at::kCPU, at::kDouble);
  Leak leak;
  double gain_from_best_start = 0;
  leak.largest_gain = -std::numeric_limits<double>::infinity();
  leak.steps = kSteps;
  leak.pairs = kSteps * kBatch;
  leak.loss = curve;
  leak.source_loss = -at::tensor(source_log_likelihood, at::kDouble) / kBatch;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    const double loss = static_cast<double>(kBatch) * curve[step].item<double>();
    const double gain = -loss - source_log_likelihood[static_cast<std::size_t>(step)];
    leak.total_gain += gain;
    gain_from_best_start = std::max(gain_from_best_start, 0.0) + gain;
    if (std::isfinite(loss)) leak.rounding_allowance += std::abs(loss) * roundoff;
    leak.finite = leak.finite && std::isfinite(loss);
    if (!(gain_from_best_start <= leak.largest_gain))
      leak.largest_gain = gain_from_best_start, leak.largest_gain_step = step + 1;
  }
  leak.allowed = std::log(static_cast<double>(kSteps) / kLeakError) + leak.rounding_allowance;
  return leak;
}

}  // namespace plumbline
