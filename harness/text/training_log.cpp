#include "harness/text/training_log.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "harness/system/files.hpp"
#include "harness/text/statistics.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kLeastPoints = 10;
constexpr double kEarly = 10;          // steps: training has changed nothing yet
constexpr double kMostAboveStart = 1;  // nats over ln V
constexpr double kMostBelowStart = 0.5;
constexpr double kLeastFall = 0.05;     // of the first loss
constexpr double kMostRise = 0.25;      // of what it had fallen
constexpr double kLeastRise = 0.5;      // nats
constexpr double kSpike = 1;            // nats above its neighbours, and
constexpr double kSpikeDeviations = 8;  // median absolute deviations
constexpr std::size_t kMostEvidence = 10;

std::string step_of(const LogPoint& point) {
  return fmt::format("step {:.0f} (line {})", point.step, point.line);
}

Json finite_number(double value) {
  return std::isfinite(value) ? Json(value) : Json(shown_loss(value));
}

class Judgement {
 public:
  Judgement(const TrainingLog& log, std::int64_t vocabulary)
      : log_(log), nothing_(std::log(static_cast<double>(vocabulary))) {
    for (const auto& point : log.points)
      if (std::isfinite(point.loss)) finite_.push_back(point);
    smooth();
  }

  Json all() {
    Json findings = Json::array();
    const auto add = [&](const char* id, const char* level, const char* statement, const Json& finding) {
      Json out = {{"id", id}, {"level", level}, {"statement", statement}};
      out.update(finding);
      findings.push_back(std::move(out));
    };
    add("start", "must", "the first loss is near ln V: nothing is known before anything is learned", start());
    add("finite", "must", "every loss is a number", finite());
    add("falls", "must", "the loss falls", falls());
    add("stays-down", "must", "what it has fallen it does not lose again", stays_down());
    add("spikes", "should", "no loss jumps above its neighbours", spikes());
    add("speed", decides_on_speed() ? "must" : "should", "it does not fall too fast to be true", speed());
    return findings;
  }

 private:
  static Json say(const char* verdict, const std::string& sentence,
                  const std::vector<LogPoint>& evidence = {}) {
    Json points = Json::array();
    for (const auto& point : evidence)
      points.push_back({{"line", point.line}, {"step", point.step}, {"loss", finite_number(point.loss)}});
    return {{"verdict", verdict}, {"sentence", sentence}, {"evidence", points}};
  }

  // A running median over a twenty-fifth of the entries, five at least.
  void smooth() {
    const auto half = std::max<std::size_t>(finite_.size() / 50, 2);
    for (std::size_t i = 0; i < finite_.size(); ++i) {
      const auto begin = i > half ? i - half : 0, end = std::min(i + half + 1, finite_.size());
      std::vector<double> window;
      for (auto k = begin; k < end; ++k) window.push_back(finite_[k].loss);
      smooth_.push_back(median(std::move(window)));
    }
  }

  Json start() const {
    if (finite_.empty()) return say("not assessed", "no loss is a number");
    const auto& first = finite_.front();
    const auto words = fmt::format("it starts at {} at {}, where ln V is {}", shown_loss(first.loss),
                                   step_of(first), shown_loss(nothing_));
    if (first.loss > nothing_ + kMostAboveStart)
      return say(
          "fail",
          fmt::format(
              "{}: worse than knowing nothing; is the initialisation too wide (a tied matrix drawn from a "
              "standard normal starts at hundreds), or is it the sum and not the mean over tokens?",
              words),
          {first});
    if (!log_.steps_known || first.step > kEarly)
      return say(
          "pass",
          fmt::format("{}; by then it may have fallen, so no more is said than that it is not above", words),
          {first});
    if (first.loss < nothing_ - kMostBelowStart) {
      for (const int parts : {2, 4, 8, 16, 32, 64})
        if (std::abs(first.loss * parts - nothing_) < 0.02 * nothing_)
          return say(
              "fail",
              fmt::format("{}: a {}th of it; is the loss divided by the steps of gradient accumulation?",
                          words, parts),
              {first});
      return say(
          "fail",
          fmt::format(
              "{}: it knows something before it has learned; were weights loaded, is the vocabulary another "
              "(--vocabulary), do labels stand where the model sees them?",
              words),
          {first});
    }
    return say("pass", words, {first});
  }

  Json finite() const {
    for (std::size_t i = 0; i < log_.points.size(); ++i) {
      const auto& point = log_.points[i];
      if (std::isfinite(point.loss)) continue;
      std::vector<LogPoint> evidence{point};
      if (i > 0) evidence.insert(evidence.begin(), log_.points[i - 1]);
      const auto later =
          std::count_if(log_.points.begin() + static_cast<std::ptrdiff_t>(i), log_.points.end(),
                        [](const LogPoint& one) { return !std::isfinite(one.loss); });
      return say("fail",
                 fmt::format("{} at {}{}; {} of the {} entries from there on are none",
                             shown_loss(point.loss), step_of(point),
                             i > 0 ? fmt::format(", after {}", shown_loss(log_.points[i - 1].loss)) : "",
                             later, log_.points.size() - i),
                 evidence);
    }
    return say("pass", fmt::format("{} entries, all of them numbers", log_.points.size()));
  }

  bool few() const { return finite_.size() < kLeastPoints; }
  Json too_few() const {
    return say("not assessed",
               fmt::format("{} entries are too few, {} at least are needed", finite_.size(), kLeastPoints));
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

  Json falls() const {
    if (few()) return too_few();
    const double first = smooth_.front(), low = smooth_[lowest()];
    const auto words = fmt::format("from {} to {} at its lowest ({})", shown_loss(first), shown_loss(low),
                                   step_of(finite_[lowest()]));
    const std::vector<LogPoint> evidence{finite_.front(), finite_[lowest()]};
    if (first - low < kLeastFall * std::abs(first))
      return say(
          "fail",
          fmt::format("flat: {}; does the optimiser get the parameters, is the learning rate 0, are labels "
                      "and tokens of the same text?",
                      words),
          evidence);
    return say("pass", words, evidence);
  }

  Json stays_down() const {
    if (few()) return too_few();
    const double low = smooth_[lowest()], end = last();
    const auto words = fmt::format("{} at its lowest ({}), {} at the end", shown_loss(low),
                                   step_of(finite_[lowest()]), shown_loss(end));
    const std::vector<LogPoint> evidence{finite_[lowest()], finite_.back()};
    if (end - low > std::max(kLeastRise, kMostRise * (smooth_.front() - low)))
      return say(
          "fail",
          fmt::format("it went up again: {}; is the learning rate too high, is there no clipping?", words),
          evidence);
    return say("pass", words, evidence);
  }

  Json spikes() const {
    if (few()) return too_few();
    std::vector<double> distances;
    for (std::size_t i = 0; i < finite_.size(); ++i)
      distances.push_back(std::abs(finite_[i].loss - smooth_[i]));
    const double bound = std::max(kSpike, kSpikeDeviations * median(distances));
    std::vector<LogPoint> found;
    std::size_t count = 0;
    for (std::size_t i = 1; i < finite_.size(); ++i)  // the first has no neighbour before it
      if (finite_[i].loss - smooth_[i] > bound) {
        ++count;
        if (found.size() < kMostEvidence) found.push_back(finite_[i]);
      }
    if (count == 0)
      return say("pass", fmt::format("none stands more than {} above the running median", shown_loss(bound)));
    return say(
        "fail",
        fmt::format("{}, the first {} at {}", count == 1 ? "one spike" : fmt::format("{} spikes", count),
                    shown_loss(found[0].loss), step_of(found[0])),
        found);
  }

  // A run that knew nothing when it began.
  bool from_nothing() const {
    return !finite_.empty() && log_.steps_known && finite_.front().step <= kEarly &&
           std::abs(finite_.front().loss - nothing_) <= std::max(kMostAboveStart, kMostBelowStart);
  }

  Json speed() const {
    if (few()) return too_few();
    const auto& c = kSpeedCalibration;
    const auto below = [&](double part) {
      return std::find_if(smooth_.begin(), smooth_.end(),
                          [&](double loss) { return loss < part * nothing_; });
    };
    const auto calibrated = fmt::format(
        "of {} runs of Plumbline's small experiment, on text of known entropy, the {} with a right mask "
        "stayed above "
        "{:.2f} ln V, and the {} that saw what they were to predict fell below {:.4f} ln V",
        c.sound_runs + c.leaking_runs, c.sound_runs, c.sound_lowest, c.leaking_runs, c.leaking_highest);
    auto found = below(c.too_low);
    const bool certain = found != smooth_.end();
    if (!certain) found = below(c.low);
    if (found == smooth_.end())
      return say("pass", fmt::format("it stays above {}, {} of ln V; {}", shown_loss(c.low * nothing_), c.low,
                                     calibrated));
    const auto& point = finite_[static_cast<std::size_t>(found - smooth_.begin())];
    const auto words =
        fmt::format("below {}, {} of ln V, at {}", shown_loss((certain ? c.too_low : c.low) * nothing_),
                    certain ? c.too_low : c.low, step_of(point));
    if (!from_nothing())
      return say(
          "not assessed",
          fmt::format("{}: it does not begin where nothing is known, and what was learned before is not in "
                      "the log",
                      words),
          {point});
    return say(
        "fail",
        fmt::format(
            "{}: {}; does each token see the next one (an inverted or a missing mask in training), are "
            "labels not shifted, or is a small text learned by heart? ({})",
            words,
            certain ? "hardly any text is as easy to predict as that"
                    : "few texts are as easy to predict as that, those of a small vocabulary of words "
                      "and of code among them",
            calibrated),
        {point});
  }

  // Only what no text explains decides.
  bool decides_on_speed() const {
    return from_nothing() && (few() || std::any_of(smooth_.begin(), smooth_.end(), [&](double loss) {
                                return loss < kSpeedCalibration.too_low * nothing_;
                              }));
  }

  const TrainingLog& log_;
  double nothing_;
  std::vector<LogPoint> finite_;
  std::vector<double> smooth_;
};

}  // namespace

std::string shown_loss(double value) {
  return !std::isfinite(value) ? (std::isnan(value) ? "NaN" : "infinity")
         : std::abs(value) >= 1e5 || (value != 0 && std::abs(value) < 1e-3) ? fmt::format("{:.3g}", value)
                                                                            : fmt::format("{:.4g}", value);
}

Json log_document(const TrainingLog& log, std::int64_t vocabulary) {
  Json document = {{"document", "plumbline log"},
                   {"version", 1},
                   {"file", printable(log.file)},
                   {"sha256", log.sha256},
                   {"read_as", log.read_as},
                   {"entries", log.points.size()},
                   {"steps", {log.points.front().step, log.points.back().step}},
                   {"steps_known", log.steps_known},
                   {"vocabulary", vocabulary},
                   {"notes", log.notes},
                   {"findings", Judgement(log, vocabulary).all()}};
  std::vector<std::string> wrong, open;
  for (const auto& finding : document["findings"]) {
    if (finding["level"] != "must") continue;
    if (finding["verdict"] == "fail") wrong.push_back(finding["id"].text());
    if (finding["verdict"] == "not assessed") open.push_back(finding["id"].text());
  }
  document["verdict"] = !wrong.empty()  ? fmt::format("something is wrong: {}", fmt::join(wrong, ", "))
                        : !open.empty() ? fmt::format("incomplete: not assessed: {}", fmt::join(open, ", "))
                                        : "nothing wrong is seen in this log";
  document["status"] = !wrong.empty() ? 1 : !open.empty() ? 3 : 0;
  return document;
}

int log_status(const Json& document) {
  return document.at("status").get<int>();
}

std::string log_summary(const Json& document) {
  auto out =
      fmt::format("{}: {} entries, steps {:.0f} to {:.0f}, read as {}\n", document["file"].get<std::string>(),
                  document["entries"].dump(), document["steps"][0].get<double>(),
                  document["steps"][1].get<double>(), document["read_as"].get<std::string>());
  for (const auto& note : document["notes"]) out += fmt::format("note: {}\n", note.get<std::string>());
  out += '\n';
  for (const auto& finding : document["findings"])
    out += fmt::format("{:<12} {:<11} {}\n", finding["verdict"].get<std::string>(),
                       finding["id"].get<std::string>(), finding["sentence"].get<std::string>());
  return out + fmt::format("\n{}\n", document["verdict"].get<std::string>());
}

}  // namespace plumbline
