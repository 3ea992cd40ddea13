// Whether the loss falls too fast to be true.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "harness/text/statistics.hpp"
#include "harness/training_log/log_findings.hpp"

namespace plumbline {
namespace {

constexpr double kByHeart = 5;            // passes over a text, after which it may be known
constexpr double kTunedByHeart = 2;       // the same for a model that was trained before
constexpr double kHeldOutLearned = 0.85;  // of ln V: below, a model has learned something of its text
// Of ln V: if a text was learned by heart, the loss of other text stays above.
constexpr double kHeldOutApart = 0.3;

// What to do next.
constexpr const char* kVerify =
    "run plumbline verify ADAPTER --only training,text, which detects a model that sees the tokens it "
    "predicts";
constexpr const char* kSayMore =
    "give --from-checkpoint if the run continues from a trained model, or --vocabulary N; otherwise log from "
    "the first step on, and log the loss of held-out text, too";

std::string suspicion(bool certain, const std::string& calibrated) {
  return fmt::format(
      "{}; does each token see the next one (an inverted or a missing mask in training), are labels not "
      "shifted, or is a small text learned by heart? ({})",
      certain ? "hardly any text is as easy to predict as that"
              : "few texts are as easy to predict as that; code and texts of few different words can be",
      calibrated);
}

// The median loss of held-out text from `point` on. Empty: the model has learned nothing of such text, or
// this loss is low, too.
std::optional<double> loss_of_held_out_text(const JudgedCurve& curve, const Beginning& beginning,
                                            const LogPoint& point) {
  std::vector<double> from_there;
  double least = beginning.uninformed_loss_as_logged;
  for (const auto& entry : curve.log.validation) {
    if (!std::isfinite(entry.loss)) continue;
    least = std::min(least, entry.loss);
    if (entry.line >= point.line) from_there.push_back(entry.loss);
  }
  if (from_there.empty() || least > kHeldOutLearned * beginning.uninformed_loss_as_logged)
    return std::nullopt;
  const double middle = median(std::move(from_there));
  return middle > kHeldOutApart * beginning.uninformed_loss_as_logged ? std::optional(middle) : std::nullopt;
}

Finding judge_too_low(const JudgedCurve& curve, const Beginning& beginning, const LogPoint& point,
                      const std::string& words, const std::string& calibrated) {
  const double passes = point.epoch - curve.points.front().epoch;
  const bool seen_once = curve.points.back().epoch > 0 && passes < 1;
  if (const auto held_out = loss_of_held_out_text(curve, beginning, point); held_out && !seen_once)
    return {"fail",
            "should",
            fmt::format("{}: learned by heart, since the loss of held-out text is {} by then", words,
                        shown_loss(*held_out)),
            {point}};
  if (beginning.began == Began::from_scratch) {
    if (passes >= kByHeart)
      return {"not assessed",
              "must",
              fmt::format("{}, after {:.0f} passes over the text: it may be learned by heart, which the loss "
                          "of held-out text would tell",
                          words, passes),
              {point},
              kSayMore};
    return {"fail", "must", fmt::format("{}: {}", words, suspicion(true, calibrated)), {point}, kVerify};
  }
  const auto before = "the log does not show what was learned before";
  const bool surely_tuned =
      curve.known.from_checkpoint || (passes >= kTunedByHeart && !beginning.may_be_divided);
  if (beginning.began == Began::from_checkpoint && surely_tuned)
    return {
        "fail", "should", fmt::format("{}: {}; is a small text learned by heart?", words, before), {point}};
  return {"not assessed",
          "must",
          fmt::format("{}: the log does not begin with an untrained model, and {}", words, before),
          {point},
          kSayMore};
}

// Judges by the last entry, where there are too few to smooth.
Finding judge_speed_of_few(const JudgedCurve& curve, const Beginning& beginning) {
  if (curve.finite.size() < 2 ||
      curve.finite.back().loss >= kSpeedCalibration.too_low * beginning.uninformed_loss_as_logged ||
      beginning.began != Began::from_scratch)
    return too_few_entries(curve);
  return judge_too_low(
      curve, beginning, curve.finite.back(),
      fmt::format("at {} by {}", shown_loss(curve.finite.back().loss), shown_step(curve.finite.back())),
      fmt::format("{} entries", curve.finite.size()));
}

}  // namespace

Finding judge_speed(const JudgedCurve& curve, const Beginning& beginning) {
  if (!curve.is_cross_entropy())
    return {"not assessed", "should", "a loss of this kind may be as low as it likes", {}};
  const auto& c = kSpeedCalibration;
  if (curve.is_too_short()) return judge_speed_of_few(curve, beginning);
  const auto below = [&](double part) {
    return std::find_if(curve.smoothed.begin(), curve.smoothed.end(),
                        [&](double loss) { return loss < part * beginning.uninformed_loss_as_logged; });
  };
  const auto calibrated = fmt::format(
      "of {} runs of Plumbline's small experiment, on text of known entropy, the {} with a right mask "
      "stayed above {:.2f} ln V, and the {} that saw the tokens they had to predict fell below {:.4f} ln V",
      c.sound_runs + c.leaking_runs, c.sound_runs, c.sound_lowest, c.leaking_runs, c.leaking_highest);
  auto found = below(c.too_low);
  const bool certain = found != curve.smoothed.end();
  if (!certain) found = below(c.low);
  if (found == curve.smoothed.end())
    return {"pass",
            "must",
            fmt::format("it stays above {}, {} of ln V; {}",
                        shown_loss(c.low * beginning.uninformed_loss_as_logged), c.low, calibrated),
            {}};
  const auto& point = curve.finite[static_cast<std::size_t>(found - curve.smoothed.begin())];
  const auto words =
      fmt::format("below {}, {} of ln V, at {}",
                  shown_loss((certain ? c.too_low : c.low) * beginning.uninformed_loss_as_logged),
                  certain ? c.too_low : c.low, shown_step(point));
  if (certain) return judge_too_low(curve, beginning, point, words, calibrated);
  if (beginning.began != Began::from_scratch)
    return {"pass", "must", fmt::format("{}; the log does not show what was learned before", words), {point}};
  return {"fail", "should", fmt::format("{}: {}", words, suspicion(false, calibrated)), {point}};
}

}  // namespace plumbline
