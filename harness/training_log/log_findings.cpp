// Whether the losses of a curve are numbers, fall, stay down, and do not jump.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/training_log/log_findings.hpp"

namespace plumbline {
namespace {

constexpr double kLeastFall = 0.05;     // of the first loss
constexpr double kWarmUp = 200;         // steps: within them it may be flat
constexpr double kMostRise = 0.25;      // of the fall before
constexpr double kLeastRise = 0.5;      // nats
constexpr double kMostNoise = 8;        // standard deviations of a running median
constexpr double kSpike = 1;            // nats above its neighbours, and
constexpr double kSpikeDeviations = 8;  // median absolute deviations
constexpr std::size_t kMostEvidence = 10;

// What to do next.
constexpr const char* kGoBack =
    "go back to a checkpoint before it; lower the learning rate, clip gradients, use bfloat16 instead of "
    "float16";
constexpr const char* kLookAtStep =
    "look whether the parameters change at all in a step, then at the learning rate";
constexpr const char* kWait = "judge the log again when the run is longer";

}  // namespace

Finding too_few_entries(const JudgedCurve& curve) {
  return {"not assessed",
          "must",
          fmt::format("{} entries are too few, {} at least are needed", curve.finite.size(), kLeastPoints),
          {},
          kWait};
}

Finding judge_finite(const JudgedCurve& curve, const Beginning&) {
  for (std::size_t i = 0; i < curve.points.size(); ++i) {
    const auto& point = curve.points[i];
    if (std::isfinite(point.loss)) continue;
    std::vector<LogPoint> evidence{point};
    if (i > 0) evidence.insert(evidence.begin(), curve.points[i - 1]);
    const auto later =
        std::count_if(curve.points.begin() + static_cast<std::ptrdiff_t>(i), curve.points.end(),
                      [](const LogPoint& one) { return !std::isfinite(one.loss); });
    const bool zero = !curve.written_as_zero.empty() && curve.written_as_zero[i];
    return {"fail", "must",
            fmt::format("{} at {}{}; {} of the {} entries from there on are not numbers{}",
                        shown_loss(point.loss), shown_step(point),
                        i > 0 ? fmt::format(", after {}", shown_loss(curve.points[i - 1].loss)) : "", later,
                        curve.points.size() - i,
                        zero                      ? "; it is written as 0, but no loss falls to 0 at once"
                        : curve.logged.hidden > 0 ? "; it is written as 0, beside a gradient that is NaN"
                                                  : ""),
            evidence, kGoBack};
  }
  const auto at_end = curve.logged.nan_gradients_at_end;
  if (at_end >= std::max(kLeastPoints, curve.points.size() / 20))
    return {"fail",
            "must",
            fmt::format("the gradient is NaN in the last {} entries: nothing is learned any more", at_end),
            {curve.points.back()},
            kGoBack};
  if (curve.logged.missing > 0)
    return {"fail",
            "must",
            fmt::format("the last {} entries hold no loss, after {}: many trainers write NaN like this",
                        curve.logged.missing, shown_loss(curve.points.back().loss)),
            {curve.points.back()},
            kGoBack};
  return {"pass", "must", fmt::format("{} entries, all of them numbers", curve.points.size()), {}};
}

Finding judge_fall(const JudgedCurve& curve, const Beginning& beginning) {
  if (!curve.is_cross_entropy())
    return {"not assessed", "should", "a loss of this kind need not fall for the model to learn", {}};
  if (curve.is_too_short()) return too_few_entries(curve);
  const double first = curve.smoothed.front(), low = curve.smoothed[curve.lowest()];
  const auto words = fmt::format("from {} to {} at its lowest ({})", shown_loss(first), shown_loss(low),
                                 shown_step(curve.finite[curve.lowest()]));
  const std::vector<LogPoint> evidence{curve.finite.front(), curve.finite[curve.lowest()]};
  if (first - low >= kLeastFall * std::abs(first)) return {"pass", "must", words, evidence};
  if (beginning.began != Began::from_scratch)
    return {"pass", "must", fmt::format("flat: {}; late in training this can be normal", words), evidence};
  const bool short_run = curve.logged.steps_known
                             ? curve.finite.back().step - curve.finite.front().step < kWarmUp
                             : curve.finite.size() < 2 * kLeastPoints;
  if (short_run)
    return {"not assessed", "must",
            fmt::format("flat: {}; during warm-up of the learning rate this can be normal", words), evidence,
            kWait};
  return {
      "fail", "must",
      fmt::format("flat: {}; does the optimiser get the parameters, is the learning rate 0, are labels and "
                  "tokens of the same text?",
                  words),
      evidence, kLookAtStep};
}

Finding judge_stay(const JudgedCurve& curve, const Beginning& beginning) {
  if (curve.objective == Objective::reward)
    return {"not assessed", "should", "a loss of this kind goes up and down with what is tried", {}};
  if (curve.is_too_short()) return too_few_entries(curve);
  const double low = curve.smoothed[curve.lowest()], end = curve.loss_at_end();
  const auto words = fmt::format("{} at its lowest ({}), {} at the end", shown_loss(low),
                                 shown_step(curve.finite[curve.lowest()]), shown_loss(end));
  const std::vector<LogPoint> evidence{curve.finite[curve.lowest()], curve.finite.back()};
  const double bound = std::max({kLeastRise * beginning.scale, kMostRise * (curve.smoothed.front() - low),
                                 kMostNoise * curve.noise_of_smoothed()});
  if (end - low > bound)
    return {"fail", "must",
            fmt::format("it went up again: {}; is the learning rate too high, is there no clipping?", words),
            evidence, kGoBack};
  return {"pass", "must", words, evidence};
}

Finding judge_spikes(const JudgedCurve& curve, const Beginning& beginning) {
  if (curve.is_too_short()) return {"not assessed", "should", too_few_entries(curve).sentence, {}};
  const double bound = std::max(kSpike * beginning.scale, kSpikeDeviations * curve.noise());
  std::vector<LogPoint> found;
  std::size_t count = 0;
  for (std::size_t i = 1; i < curve.finite.size(); ++i)  // the first has no neighbour before it
    if (curve.finite[i].loss - curve.smoothed[i] > bound) {
      ++count;
      if (found.size() < kMostEvidence) found.push_back(curve.finite[i]);
    }
  if (count == 0)
    return {"pass",
            "should",
            fmt::format("no loss is more than {} above the running median", shown_loss(bound)),
            {}};
  return {"fail", "should",
          fmt::format("{}, the first {} at {}", count == 1 ? "one spike" : fmt::format("{} spikes", count),
                      shown_loss(found[0].loss), shown_step(found[0])),
          found};
}

}  // namespace plumbline
