#include "harness/candidate/leak.hpp"

#include <cmath>
#include <limits>

#include "harness/evidence/replay.hpp"
#include "harness/text/source.hpp"

namespace plumbline {

Leak look_for_leak(Candidate& candidate, std::int64_t vocabulary, const AdamW& optimiser,
                   std::uint32_t seed) {
  constexpr std::int64_t kSteps = 10, kBatch = 128;
  SourceSettings settings;  // no token depends on another
  settings.vocabulary = static_cast<Token>(vocabulary);
  settings.successors = 1;
  settings.loose = 1;
  settings.zipf = 0;
  settings.copying = 0;
  settings.seed = seed;
  const Source source(settings);
  const auto ids = at::empty({kSteps, kBatch, 2}, at::kLong);
  auto* id = ids.data_ptr<std::int64_t>();
  std::vector<double> by_source(kSteps);  // ln P of each step's second tokens
  for (std::int64_t pair = 0; pair < kSteps * kBatch; ++pair) {
    const auto drawn = source.draw(static_cast<std::uint64_t>(pair), 2);
    for (const auto token : drawn.tokens) *id++ = static_cast<std::int64_t>(token);
    by_source[static_cast<std::size_t>(pair / kBatch)] += drawn.log_probabilities[1];
  }
  const auto losses = candidate.train({ids, ids, optimiser}, false).losses;
  // Each loss may have been rounded to the type that it came in, or to that of the model.
  const double roundoff = std::max(unit_roundoff(losses.scalar_type()), unit_roundoff(candidate.type()));
  const auto curve = losses.to(at::kCPU, at::kDouble);
  Leak leak;
  double since = 0;
  leak.most = -std::numeric_limits<double>::infinity();
  leak.steps = kSteps;
  leak.pairs = kSteps * kBatch;
  leak.loss = curve;
  leak.floor = -at::tensor(by_source, at::kDouble) / kBatch;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    const double surprise = static_cast<double>(kBatch) * curve[step].item<double>();
    const double gain = -surprise - by_source[static_cast<std::size_t>(step)];
    leak.gained += gain;
    since = std::max(since, 0.0) + gain;  // from whichever step was best to begin at
    if (std::isfinite(surprise)) leak.rounding += std::abs(surprise) * roundoff;
    leak.finite = leak.finite && std::isfinite(surprise);
    if (!(since <= leak.most)) leak.most = since, leak.when = step + 1;
  }
  leak.allowed = std::log(static_cast<double>(kSteps) / kLeakError) + leak.rounding;
  return leak;
}

}  // namespace plumbline
