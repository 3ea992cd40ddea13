#include "harness/training_log/training_log.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "harness/system/files.hpp"
#include "harness/text/statistics.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kLeastPoints = 10;
constexpr double kFirst = 2;           // steps: training has changed nothing yet
constexpr double kEarly = 10;          // steps: no model learns much in so few
constexpr double kMostAboveStart = 1;  // nats over ln V
constexpr double kMostBelowStart = 0.5;
constexpr double kSurelyUntrained = 0.8;  // of ln V
constexpr double kUntrained = 0.6;        // of ln V: what goes on from a checkpoint starts below
constexpr double kLeastFall = 0.05;       // of the first loss
constexpr double kWarmUp = 200;           // steps: within them it may be flat
constexpr double kMostRise = 0.25;        // of what it had fallen
constexpr double kLeastRise = 0.5;        // nats
constexpr double kMostNoise = 8;          // standard deviations of a running median
constexpr double kSpike = 1;              // nats above its neighbours, and
constexpr double kSpikeDeviations = 8;    // median absolute deviations
constexpr double kByHeart = 5;            // passes over a text, after which it may be known
constexpr double kTunedByHeart = 2;       // the same of a model that could write before
constexpr double kHeldOutLearned = 0.85;  // of ln V: below, a model has learned something of its text
constexpr double kHeldOutApart =
    0.3;                              // of ln V: what is learned by heart leaves the loss of other text above
constexpr std::size_t kZeros = 3;     // losses of exactly 0 in a row
constexpr double kBeforeZeros = 0.5;  // nats: what falls to 0 from there has not learned to
constexpr double kMostAroundZero = 2;  // nats
constexpr std::size_t kMostEvidence = 10;
constexpr std::size_t kWidestWindow = 501;

// Vocabularies in use whose logarithms are far enough apart to be told by a first loss.
constexpr std::int64_t kLargeVocabularies[] = {30522, 32000, 50257, 65536, 100277, 128256, 151936, 256000};
constexpr double kBelowLarge = 0.12, kAboveLarge = 0.35;  // nats: an initialisation adds to ln V
constexpr double kMostOfVocabulary = 13;                  // nats: the logarithm of 440,000
constexpr std::int64_t kSmallVocabularies[] = {65, 256};
constexpr double kNearSmall = 0.06;
// Steps of gradient accumulation, whose losses some trainers add up, and some divide.
constexpr int kAccumulations[] = {2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128};
constexpr double kNearAccumulated = 0.02;  // of the whole
constexpr double kLeastOfSum = 0.15;       // of its start, that a sum of sound losses keeps

enum class Began { from_nothing, from_checkpoint, not_known };

// What to do next.
constexpr const char* kLookAtStart =
    "say what is known of the run (--vocabulary N, --from-checkpoint), then look at the initialisation";
constexpr const char* kGoBack =
    "go back to a checkpoint before it; lower the learning rate, clip gradients, use bfloat16 instead of "
    "float16";
constexpr const char* kLookAtStep =
    "look whether the parameters change at all in a step, then at the learning rate";
constexpr const char* kWait = "judge it again when it has run longer";
constexpr const char* kVerify =
    "plumbline verify ADAPTER --only training,text: it looks for a model that sees what it predicts";
constexpr const char* kSayMore =
    "say --from-checkpoint if it goes on from a trained model, or --vocabulary N; else log from the first "
    "step "
    "on, and the loss of held-out text beside";

std::string step_of(const LogPoint& point) {
  return fmt::format("step {:.0f} (line {})", point.step, point.line);
}

Json finite_number(double value) {
  return std::isfinite(value) ? Json(value) : Json(shown_loss(value));
}

// Of every value the median of those around it: `half` to each side, as far as there are.
std::vector<double> running_median(const std::vector<LogPoint>& points, std::size_t half) {
  std::vector<double> medians, window;
  medians.reserve(points.size());
  const auto insert = [&](double value) {
    window.insert(std::upper_bound(window.begin(), window.end(), value), value);
  };
  for (std::size_t i = 0; i < std::min(half, points.size()); ++i) insert(points[i].loss);
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (i + half < points.size()) insert(points[i + half].loss);
    if (i > half) window.erase(std::lower_bound(window.begin(), window.end(), points[i - half - 1].loss));
    medians.push_back(window[window.size() / 2]);
  }
  return medians;
}

// Losses of exactly 0 after others that are far from it were NaN, which a trainer left out of a sum.
std::vector<bool> written_as_zero(const std::vector<LogPoint>& points) {
  std::vector<bool> found(points.size(), false);
  double before = 0;
  for (std::size_t i = 0; i < points.size();) {
    if (points[i].loss != 0) {
      before = std::isfinite(points[i].loss) ? points[i].loss : before;
      ++i;
      continue;
    }
    auto end = i;
    while (end < points.size() && points[end].loss == 0) ++end;
    if (end - i >= kZeros && before > kBeforeZeros)
      std::fill(found.begin() + static_cast<std::ptrdiff_t>(i),
                found.begin() + static_cast<std::ptrdiff_t>(end), true);
    i = end;
  }
  return found;
}

struct Finding {
  std::string verdict, level, sentence;
  std::vector<LogPoint> evidence;
  const char* next = "";  // what to do about it
};

// One curve.
class Judgement {
 public:
  Judgement(const TrainingLog& log, const LogCurve& curve, const LogKnowledge& known, Objective objective)
      : log_(log), curve_(curve), known_(known), objective_(objective), points_(curve.points) {
    if (is_cross_entropy()) {
      zeros_ = written_as_zero(points_);
      for (std::size_t i = 0; i < points_.size(); ++i)
        if (zeros_[i]) points_[i].loss = std::numeric_limits<double>::quiet_NaN();
    }
    for (const auto& point : points_)
      if (std::isfinite(point.loss)) finite_.push_back(point);
    // Over a twenty-fifth of the entries, five at least.
    half_ = std::clamp<std::size_t>(finite_.size() / 50, 2, kWidestWindow / 2);
    smooth_ = running_median(finite_, half_);
    find_beginning();
  }

  Finding start() const { return start_; }
  Began began() const { return began_; }
  // What it costs to know nothing, in nats.
  double nothing() const { return nothing_; }
  // Which vocabulary it may be; empty: the one that was given, or the usual one.
  const std::string& asked() const { return asked_; }
  // The same in what the log counts in.
  double even() const { return even_; }

  Finding finite() const {
    for (std::size_t i = 0; i < points_.size(); ++i) {
      const auto& point = points_[i];
      if (std::isfinite(point.loss)) continue;
      std::vector<LogPoint> evidence{point};
      if (i > 0) evidence.insert(evidence.begin(), points_[i - 1]);
      const auto later = std::count_if(points_.begin() + static_cast<std::ptrdiff_t>(i), points_.end(),
                                       [](const LogPoint& one) { return !std::isfinite(one.loss); });
      const bool zero = !zeros_.empty() && zeros_[i];
      return {
          "fail", "must",
          fmt::format("{} at {}{}; {} of the {} entries from there on are none{}", shown_loss(point.loss),
                      step_of(point), i > 0 ? fmt::format(", after {}", shown_loss(points_[i - 1].loss)) : "",
                      later, points_.size() - i,
                      zero                ? "; it is written as 0, which no loss falls to at once"
                      : curve_.hidden > 0 ? "; it is written as 0, beside a gradient that is NaN"
                                          : ""),
          evidence, kGoBack};
    }
    const auto at_end = curve_.nan_gradients_at_end;
    if (at_end >= std::max(kLeastPoints, points_.size() / 20))
      return {"fail",
              "must",
              fmt::format("the gradient is NaN in the last {} entries: nothing is learned any more", at_end),
              {points_.back()},
              kGoBack};
    if (curve_.missing > 0)
      return {"fail",
              "must",
              fmt::format("the last {} entries hold no loss, after {}: NaN is often written so",
                          curve_.missing, shown_loss(points_.back().loss)),
              {points_.back()},
              kGoBack};
    return {"pass", "must", fmt::format("{} entries, all of them numbers", points_.size()), {}};
  }

  Finding falls() const {
    if (!is_cross_entropy())
      return {"not assessed", "should", "a loss of this kind need not fall for the model to learn", {}};
    if (few()) return too_few();
    const double first = smooth_.front(), low = smooth_[lowest()];
    const auto words = fmt::format("from {} to {} at its lowest ({})", shown_loss(first), shown_loss(low),
                                   step_of(finite_[lowest()]));
    const std::vector<LogPoint> evidence{finite_.front(), finite_[lowest()]};
    if (first - low >= kLeastFall * std::abs(first)) return {"pass", "must", words, evidence};
    if (began_ != Began::from_nothing)
      return {"pass", "must", fmt::format("flat: {}; so late in learning that may be so", words), evidence};
    const bool short_run = curve_.steps_known ? finite_.back().step - finite_.front().step < kWarmUp
                                              : finite_.size() < 2 * kLeastPoints;
    if (short_run)
      return {"not assessed", "must",
              fmt::format("flat: {}; while the learning rate is warmed up that may be so", words), evidence,
              kWait};
    return {
        "fail", "must",
        fmt::format("flat: {}; does the optimiser get the parameters, is the learning rate 0, are labels and "
                    "tokens of the same text?",
                    words),
        evidence, kLookAtStep};
  }

  Finding stays_down() const {
    if (objective_ == Objective::reward)
      return {"not assessed", "should", "a loss of this kind goes up and down with what is tried", {}};
    if (few()) return too_few();
    const double low = smooth_[lowest()], end = last();
    const auto words = fmt::format("{} at its lowest ({}), {} at the end", shown_loss(low),
                                   step_of(finite_[lowest()]), shown_loss(end));
    const std::vector<LogPoint> evidence{finite_[lowest()], finite_.back()};
    const double bound =
        std::max({kLeastRise * scale_, kMostRise * (smooth_.front() - low), kMostNoise * noise_of_median()});
    if (end - low > bound)
      return {
          "fail", "must",
          fmt::format("it went up again: {}; is the learning rate too high, is there no clipping?", words),
          evidence, kGoBack};
    return {"pass", "must", words, evidence};
  }

  Finding spikes() const {
    if (few()) return {"not assessed", "should", too_few().sentence, {}};
    const double bound = std::max(kSpike * scale_, kSpikeDeviations * noise());
    std::vector<LogPoint> found;
    std::size_t count = 0;
    for (std::size_t i = 1; i < finite_.size(); ++i)  // the first has no neighbour before it
      if (finite_[i].loss - smooth_[i] > bound) {
        ++count;
        if (found.size() < kMostEvidence) found.push_back(finite_[i]);
      }
    if (count == 0)
      return {"pass",
              "should",
              fmt::format("none stands more than {} above the running median", shown_loss(bound)),
              {}};
    return {"fail", "should",
            fmt::format("{}, the first {} at {}", count == 1 ? "one spike" : fmt::format("{} spikes", count),
                        shown_loss(found[0].loss), step_of(found[0])),
            found};
  }

  Finding speed() const {
    if (!is_cross_entropy())
      return {"not assessed", "should", "a loss of this kind may be as low as it likes", {}};
    const auto& c = kSpeedCalibration;
    if (few()) return speed_of_few();
    const auto below = [&](double part) {
      return std::find_if(smooth_.begin(), smooth_.end(), [&](double loss) { return loss < part * even_; });
    };
    const auto calibrated = fmt::format(
        "of {} runs of Plumbline's small experiment, on text of known entropy, the {} with a right mask "
        "stayed above {:.2f} ln V, and the {} that saw what they were to predict fell below {:.4f} ln V",
        c.sound_runs + c.leaking_runs, c.sound_runs, c.sound_lowest, c.leaking_runs, c.leaking_highest);
    auto found = below(c.too_low);
    const bool certain = found != smooth_.end();
    if (!certain) found = below(c.low);
    if (found == smooth_.end())
      return {"pass",
              "must",
              fmt::format("it stays above {}, {} of ln V; {}", shown_loss(c.low * even_), c.low, calibrated),
              {}};
    const auto& point = finite_[static_cast<std::size_t>(found - smooth_.begin())];
    const auto words =
        fmt::format("below {}, {} of ln V, at {}", shown_loss((certain ? c.too_low : c.low) * even_),
                    certain ? c.too_low : c.low, step_of(point));
    if (certain) return too_low(point, words, calibrated);
    if (began_ != Began::from_nothing)
      return {"pass", "must", fmt::format("{}; what was learned before is not in the log", words), {point}};
    return {"fail", "should", fmt::format("{}: {}", words, suspicion(false, calibrated)), {point}};
  }

 private:
  bool is_cross_entropy() const { return objective_ == Objective::cross_entropy; }
  bool few() const { return finite_.size() < kLeastPoints; }
  Finding too_few() const {
    return {"not assessed",
            "must",
            fmt::format("{} entries are too few, {} at least are needed", finite_.size(), kLeastPoints),
            {},
            kWait};
  }

  static std::string suspicion(bool certain, const std::string& calibrated) {
    return fmt::format(
        "{}; does each token see the next one (an inverted or a missing mask in training), are labels not "
        "shifted, or is a small text learned by heart? ({})",
        certain
            ? "hardly any text is as easy to predict as that"
            : "few texts are as easy to predict as that, those of a small vocabulary of words and of code "
              "among them",
        calibrated);
  }

  Finding too_low(const LogPoint& point, const std::string& words, const std::string& calibrated) const {
    const double passes = point.epoch - points_.front().epoch;
    const bool seen_once = points_.back().epoch > 0 && passes < 1;
    if (const auto held_out = held_out_by(point); held_out && !seen_once)
      return {"fail",
              "should",
              fmt::format("{}: learned by heart, since the loss of held-out text is {} by then", words,
                          shown_loss(*held_out)),
              {point}};
    if (began_ == Began::from_nothing) {
      if (passes >= kByHeart)
        return {
            "not assessed",
            "must",
            fmt::format("{}, after {:.0f} passes over the text: it may be learned by heart, which the loss "
                        "of held-out text would tell",
                        words, passes),
            {point},
            kSayMore};
      return {"fail", "must", fmt::format("{}: {}", words, suspicion(true, calibrated)), {point}, kVerify};
    }
    const auto before = "what was learned before is not in the log";
    const bool surely_tuned = known_.from_checkpoint || (passes >= kTunedByHeart && !may_be_divided_);
    if (began_ == Began::from_checkpoint && surely_tuned)
      return {
          "fail", "should", fmt::format("{}: {}; is a small text learned by heart?", words, before), {point}};
    return {"not assessed",
            "must",
            fmt::format("{}: it does not begin where nothing is known, and {}", words, before),
            {point},
            kSayMore};
  }

  // The loss of held-out text from there on, if the model has learned to predict some of it and stays far
  // from what it says of its own.
  std::optional<double> held_out_by(const LogPoint& point) const {
    std::vector<double> from_there;
    double least = even_;
    for (const auto& one : log_.validation) {
      if (!std::isfinite(one.loss)) continue;
      least = std::min(least, one.loss);
      if (one.line >= point.line) from_there.push_back(one.loss);
    }
    if (from_there.empty() || least > kHeldOutLearned * even_) return std::nullopt;
    const double middle = median(std::move(from_there));
    return middle > kHeldOutApart * even_ ? std::optional(middle) : std::nullopt;
  }

  // Where there is too little to smooth, the last entry tells.
  Finding speed_of_few() const {
    if (finite_.size() < 2 || finite_.back().loss >= kSpeedCalibration.too_low * even_ ||
        began_ != Began::from_nothing)
      return too_few();
    return too_low(finite_.back(),
                   fmt::format("at {} by {}", shown_loss(finite_.back().loss), step_of(finite_.back())),
                   fmt::format("{} entries", finite_.size()));
  }

  double last() const {
    std::vector<double> tail;
    for (auto i = finite_.size() - std::max<std::size_t>(finite_.size() / 20, 5); i < finite_.size(); ++i)
      tail.push_back(finite_[i].loss);
    return median(std::move(tail));
  }
  std::size_t lowest() const {
    return static_cast<std::size_t>(std::min_element(smooth_.begin(), smooth_.end()) - smooth_.begin());
  }
  // By how much a running median varies where nothing changes: normally distributed differences between
  // neighbours have a median of 0.954 standard deviations, and a median of n values one of 1.25 / sqrt(n).
  double noise_of_median() const {
    std::vector<double> steps;
    for (std::size_t i = 1; i < finite_.size(); ++i)
      steps.push_back(std::abs(finite_[i].loss - finite_[i - 1].loss));
    return 1.25 * median(std::move(steps)) / 0.954 / std::sqrt(static_cast<double>(2 * half_ + 1));
  }
  double noise() const {
    std::vector<double> distances;
    for (std::size_t i = 0; i < finite_.size(); ++i)
      distances.push_back(std::abs(finite_[i].loss - smooth_[i]));
    return median(std::move(distances));
  }

  // How it begins, and with that what everything else is measured by.
  void find_beginning() {
    const double given = std::log(static_cast<double>(known_.vocabulary.value_or(kUsualVocabulary)));
    nothing_ = even_ = given;
    if (finite_.empty()) {
      start_ = {"not assessed", "must", "no loss is a number", {}};
      return;
    }
    const auto& first = finite_.front();
    const double loss = first.loss;
    if (objective_ == Objective::preference) {
      start_ = {
          "pass",
          "should",
          fmt::format("it starts at {} at {}; a loss of preferences starts near ln 2 = 0.6931, not at ln V",
                      shown_loss(loss), step_of(first)),
          {first}};
      began_ = Began::from_checkpoint;
      return;
    }
    if (objective_ == Objective::reward) {
      start_ = {
          "not assessed",
          "should",
          fmt::format("it starts at {} at {}; a loss of rewards is no cross-entropy and may start anywhere",
                      shown_loss(loss), step_of(first)),
          {first}};
      began_ = Began::from_checkpoint;
      return;
    }
    if (log_.in_bits) {
      nothing_ = even_ = std::max(loss, 1.0);
      began_ = loss > 4 ? Began::from_nothing : Began::not_known;
      start_ = {"pass",
                "must",
                fmt::format("it starts at {} at {}, in bits: of how many tokens is not known",
                            shown_loss(loss), step_of(first)),
                {first}};
      return;
    }
    const auto words = fmt::format("it starts at {} at {}, where ln V is {}", shown_loss(loss),
                                   step_of(first), shown_loss(given));
    const bool at_first = curve_.steps_known && first.step <= kFirst;
    const bool early = curve_.steps_known && first.step <= kEarly;
    began_ = Began::from_nothing;
    if (loss > given + kMostAboveStart)
      start_ = above(words, given);
    else if (loss < given - kMostBelowStart)
      start_ = below(words, given, at_first, early);
    else
      start_ = {"pass", "must", words, {first}};
    if (!early && start_.verdict == "pass" && nothing_ == given && scale_ == 1)
      start_.sentence += "; by then it may have fallen, so no more is said than that it is not above";
    if (known_.from_checkpoint) {
      began_ = Began::from_checkpoint;
      if (loss <= given + kMostAboveStart)
        start_ = {"pass", "must", fmt::format("{}; it goes on from a checkpoint", words), {first}};
    }
  }

  std::string question(std::int64_t vocabulary) const {
    return fmt::format("it starts at {}: ln {} = {}?", shown_loss(finite_.front().loss), vocabulary,
                       shown_loss(std::log(static_cast<double>(vocabulary))));
  }

  // Takes it for a run of another vocabulary.
  Finding of_vocabulary(const std::string& words, std::int64_t vocabulary) {
    nothing_ = even_ = std::log(static_cast<double>(vocabulary));
    asked_ = question(vocabulary);
    return {
        "pass",
        "must",
        fmt::format("{}; {} The vocabulary is taken to be that one; --vocabulary says which", words, asked_),
        {finite_.front()}};
  }

  Finding above(const std::string& words, double given) {
    const auto& first = finite_.front();
    std::string hint;
    const auto apart = [&](std::int64_t vocabulary) {
      return first.loss - std::log(static_cast<double>(vocabulary));
    };
    const auto nearest = *std::min_element(
        std::begin(kLargeVocabularies), std::end(kLargeVocabularies),
        [&](auto one, auto other) { return std::abs(apart(one)) < std::abs(apart(other)); });
    const bool is_near = apart(nearest) > -kBelowLarge && apart(nearest) < kAboveLarge;
    if (!known_.vocabulary && first.loss < kMostOfVocabulary)
      return of_vocabulary(words, is_near ? nearest : std::llround(std::exp(first.loss)));
    if (is_near) hint = " " + question(nearest);
    // What is too wide at its beginning falls much further than a sum of sound losses.
    const bool falls_like_a_sum = smooth_[lowest()] > kLeastOfSum * first.loss;
    for (const int parts : kAccumulations) {
      if (!falls_like_a_sum || std::abs(first.loss - parts * given) > kNearAccumulated * parts * given)
        continue;
      scale_ = parts;
      even_ = given * parts;
      return {"pass",
              "must",
              fmt::format("{}: {} times that; it is taken for the sum over {} steps of gradient accumulation",
                          words, parts, parts),
              {first}};
    }
    if (known_.from_checkpoint && falls_like_a_sum)
      return {"pass",
              "must",
              fmt::format("{}; is it the sum over steps of gradient accumulation, or over tokens?", words),
              {first}};
    return {"fail",
            "must",
            fmt::format("{}: worse than knowing nothing; is the initialisation too wide (a tied matrix drawn "
                        "from a standard normal starts at hundreds), or is it the sum and not the mean over "
                        "tokens?{}",
                        words, hint),
            {first},
            kLookAtStart};
  }

  Finding below(const std::string& words, double given, bool at_first, bool early) {
    const auto& first = finite_.front();
    if (early && !known_.vocabulary)
      for (const auto vocabulary : kSmallVocabularies)
        if (std::abs(first.loss - std::log(static_cast<double>(vocabulary))) < kNearSmall)
          return of_vocabulary(words, vocabulary);
    if (first.loss >= kUntrained * given) {
      if (first.loss < kSurelyUntrained * given) began_ = Began::not_known;
      if (!at_first) return {"pass", "must", words, {first}};
      if (!known_.vocabulary) return of_vocabulary(words, std::llround(std::exp(first.loss)));
      return {
          "fail",
          "must",
          fmt::format("{}: it knows something before it has learned; were weights loaded "
                      "(--from-checkpoint), is the vocabulary another (--vocabulary), do labels stand where "
                      "the model sees them?",
                      words),
          {first},
          kLookAtStart};
    }
    if (!early) {
      began_ = Began::not_known;
      return {"pass", "must", words, {first}};
    }
    began_ = Began::from_checkpoint;
    for (const int parts : kAccumulations)
      if (std::abs(first.loss * parts - given) < kNearAccumulated * given) {
        may_be_divided_ = true;
        return {"pass",
                "must",
                fmt::format(
                    "{}: does it go on from a checkpoint? Or it is a {}th of ln V; is the loss divided by "
                    "the steps of gradient accumulation?",
                    words, parts),
                {first}};
      }
    return {"pass",
            "must",
            fmt::format("{}: it knows something before it learns, so it is taken to go on from a checkpoint",
                        words),
            {first}};
  }

  std::string asked_;  // of the vocabulary
  const TrainingLog& log_;
  const LogCurve& curve_;
  const LogKnowledge& known_;
  Objective objective_;
  std::vector<LogPoint> points_, finite_;
  std::vector<bool> zeros_;  // of points_: those that were written as 0
  std::size_t half_ = 0;     // of the window of the running median
  std::vector<double> smooth_;
  Finding start_;
  Began began_ = Began::not_known;
  double nothing_ = 0, even_ = 0, scale_ = 1;
  bool may_be_divided_ = false;
};

struct Asked {
  const char *id, *statement;
  Finding (Judgement::*judge)() const;
};
constexpr Asked kAsked[] = {
    {"start", "the first loss is near ln V: nothing is known before anything is learned", &Judgement::start},
    {"finite", "every loss is a number", &Judgement::finite},
    {"falls", "the loss falls", &Judgement::falls},
    {"stays-down", "what it has fallen it does not lose again", &Judgement::stays_down},
    {"spikes", "no loss jumps above its neighbours", &Judgement::spikes},
    {"speed", "it does not fall too fast to be true", &Judgement::speed},
};

// The larger, the more it says against a run.
int weight(const Finding& finding) {
  return (finding.level == "must" ? 2 : 0) + (finding.verdict == "fail"   ? 2
                                              : finding.verdict == "pass" ? -4
                                                                          : 1);
}

// Losses around 0 are no cross-entropy; one that falls below it from high above is a cross-entropy gone
// wrong.
bool is_around_zero(const TrainingLog& log) {
  std::size_t negative = 0, all = 0;
  for (const auto& curve : log.curves) {
    if (curve.points.front().loss > kMostAroundZero) return false;
    all += curve.points.size();
    negative += static_cast<std::size_t>(std::count_if(curve.points.begin(), curve.points.end(),
                                                       [](const LogPoint& point) { return point.loss < 0; }));
  }
  return negative * 20 > all;
}

const char* name_of(Objective objective) {
  return objective == Objective::reward       ? "reward"
         : objective == Objective::preference ? "preference"
                                              : "cross-entropy";
}

}  // namespace

std::string shown_loss(double value) {
  return !std::isfinite(value) ? (std::isnan(value) ? "NaN" : "infinity")
         : std::abs(value) >= 1e5 || (value != 0 && std::abs(value) < 1e-3) ? fmt::format("{:.3g}", value)
                                                                            : fmt::format("{:.4g}", value);
}

Json log_document(const TrainingLog& log, const LogKnowledge& known) {
  auto objective = log.objective;
  auto notes = log.notes;
  if (objective == Objective::cross_entropy && is_around_zero(log)) {
    objective = Objective::reward;
    notes.push_back(
        "losses below 0 are in it: no cross-entropy, so it is taken for a run that learns from rewards");
  }
  // An attempt that was given up at once says nothing beside one that was not.
  std::vector<const LogCurve*> curves;
  for (const auto& curve : log.curves)
    if (curve.points.size() >= kLeastPoints) curves.push_back(&curve);
  if (curves.empty())
    for (const auto& curve : log.curves) curves.push_back(&curve);
  std::vector<Judgement> judgements;
  judgements.reserve(curves.size());
  for (const auto* curve : curves) judgements.emplace_back(log, *curve, known, objective);

  Json findings = Json::array();
  std::vector<std::string> wrong, open;
  for (const auto& asked : kAsked) {
    Finding worst;
    std::size_t run = 0;
    for (std::size_t i = 0; i < judgements.size(); ++i) {
      auto finding = (judgements[i].*asked.judge)();
      if (i > 0 && weight(finding) <= weight(worst)) continue;
      worst = std::move(finding);
      run = i;
    }
    if (judgements.size() > 1)
      worst.sentence =
          fmt::format("run {} of {} ({}, from line {}): {}", run + 1, judgements.size(),
                      printable(curves[run]->column, 60), curves[run]->points.front().line, worst.sentence);
    Json evidence = Json::array();
    for (const auto& point : worst.evidence)
      evidence.push_back({{"line", point.line}, {"step", point.step}, {"loss", finite_number(point.loss)}});
    if (worst.level == "must" && worst.verdict == "fail") wrong.push_back(asked.id);
    if (worst.level == "must" && worst.verdict == "not assessed") open.push_back(asked.id);
    findings.push_back({{"id", asked.id},
                        {"level", worst.level},
                        {"statement", asked.statement},
                        {"verdict", worst.verdict},
                        {"sentence", worst.sentence},
                        {"next", worst.next},
                        {"evidence", evidence}});
  }
  const auto& first = judgements.front();
  const auto began = objective != Objective::cross_entropy     ? "from a checkpoint"
                     : first.began() == Began::from_nothing    ? "from nothing"
                     : first.began() == Began::from_checkpoint ? "from a checkpoint"
                                                               : "not known";
  Json document = {{"document", "plumbline log"},
                   {"version", 2},
                   {"file", printable(log.file)},
                   {"sha256", log.sha256},
                   {"read_as", log.read_as},
                   {"column", printable(curves.front()->column)},
                   {"objective", name_of(objective)},
                   {"began", began},
                   {"entries", log.entries},
                   {"steps", {curves.front()->points.front().step, curves.front()->points.back().step}},
                   {"steps_known", curves.front()->steps_known},
                   {"vocabulary", known.vocabulary.value_or(
                                      std::max<std::int64_t>(std::llround(std::exp(first.nothing())), 2))},
                   {"vocabulary_given", known.vocabulary.has_value()},
                   {"nothing_known", first.even()},
                   {"notes", notes},
                   {"findings", findings}};
  document["verdict"] = !wrong.empty()  ? fmt::format("something is wrong: {}", fmt::join(wrong, ", "))
                        : !open.empty() ? fmt::format("incomplete: not assessed: {}", fmt::join(open, ", "))
                                        : "nothing wrong is seen in this log";
  if (!first.asked().empty())
    document["verdict"] = fmt::format("{} ({})", document["verdict"].text(), first.asked());
  document["status"] = !wrong.empty() ? 1 : !open.empty() ? 3 : 0;
  return document;
}

int log_status(const Json& document) {
  return document.at("status").get<int>();
}

std::string log_summary(const Json& document) {
  auto out = fmt::format("{}\n{}: {} entries, steps {:.0f} to {:.0f}, read as {}, column {}\n",
                         document["verdict"].text(), document["file"].text(), document["entries"].dump(),
                         document["steps"][0].get<double>(), document["steps"][1].get<double>(),
                         document["read_as"].text(), document["column"].text());
  for (const auto& note : document["notes"]) out += fmt::format("note: {}\n", note.text());
  out += '\n';
  std::vector<std::pair<std::string, std::string>> advice;  // what to do, and about which findings
  // What decides comes first.
  for (const bool deciding : {true, false})
    for (const auto& finding : document["findings"]) {
      const auto verdict = finding["verdict"].text(), id = finding["id"].text(),
                 next = finding["next"].text();
      if ((finding["level"] == "must" && verdict != "pass") != deciding) continue;
      out += fmt::format("{:<12} {:<11} {}\n", verdict, id, finding["sentence"].text());
      if (next.empty()) continue;
      const auto same =
          std::find_if(advice.begin(), advice.end(), [&](auto& one) { return one.first == next; });
      if (same == advice.end())
        advice.emplace_back(next, id);
      else
        same->second += ", " + id;
    }
  if (!advice.empty()) out += '\n';
  for (const auto& [next, findings] : advice) out += fmt::format("next ({}): {}\n", findings, next);
  return out;
}

}  // namespace plumbline
