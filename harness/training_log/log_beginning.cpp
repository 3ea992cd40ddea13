// How a training run begins: near ln V, from a checkpoint, or with something wrong.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "harness/training_log/log_findings.hpp"

namespace plumbline {
namespace {

constexpr double kFirst = 2;           // steps: training has changed nothing yet
constexpr double kEarly = 10;          // steps: no model learns much in so few
constexpr double kMostAboveStart = 1;  // nats over ln V
constexpr double kMostBelowStart = 0.5;
constexpr double kSurelyUntrained = 0.8;  // of ln V
constexpr double kUntrained = 0.6;        // of ln V: a run from a checkpoint starts below
constexpr double kUntrainedBits = 4;      // the same in bits

// Vocabularies in use whose logarithms are far enough apart to be told by a first loss.
constexpr std::int64_t kLargeVocabularies[] = {30522, 32000, 50257, 65536, 100277, 128256, 151936, 256000};
constexpr double kBelowLarge = 0.12, kAboveLarge = 0.35;  // nats: an initialisation adds to ln V
constexpr double kMostOfVocabulary = 13;                  // nats: the logarithm of 440,000
constexpr std::int64_t kSmallVocabularies[] = {65, 256};
constexpr double kNearSmall = 0.06;
// Steps of gradient accumulation, whose losses some trainers add up, and some divide.
constexpr int kAccumulations[] = {2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128};
constexpr double kNearAccumulated = 0.02;  // of the whole
constexpr double kLeastOfSum = 0.15;       // of its start: a sum of sound losses stays above

// What to do next.
constexpr const char* kLookAtStart =
    "say what is known of the run (--vocabulary N, --from-checkpoint), then look at the initialisation";

double log_of(std::int64_t vocabulary) {
  return std::log(static_cast<double>(vocabulary));
}

std::string question(double loss, std::int64_t vocabulary) {
  return fmt::format("it starts at {}: ln {} = {}?", shown_loss(loss), vocabulary,
                     shown_loss(log_of(vocabulary)));
}

// The first loss of a cross-entropy, and ln V, the loss of a model that knows nothing.
struct Start {
  const JudgedCurve& curve;
  const LogPoint& first;
  double ln_v;           // of the vocabulary that was given, or the usual one
  std::string sentence;  // where it starts
  bool at_first, early;  // as its steps say

  bool vocabulary_is_known() const { return curve.known.vocabulary.has_value(); }
  Finding passes(const std::string& words) const { return {"pass", "must", words, {first}}; }
  Finding fails(const std::string& words) const { return {"fail", "must", words, {first}, kLookAtStart}; }
};

Beginning with_finding(Beginning beginning, Finding finding) {
  beginning.finding = std::move(finding);
  return beginning;
}

// Takes the run for one with another vocabulary.
Beginning with_vocabulary(const Start& start, Beginning beginning, std::int64_t vocabulary) {
  beginning.uninformed_loss = beginning.uninformed_loss_as_logged = log_of(vocabulary);
  beginning.vocabulary_question = question(start.first.loss, vocabulary);
  return with_finding(
      beginning, start.passes(fmt::format("{}; {} This vocabulary size is assumed; --vocabulary sets another",
                                          start.sentence, beginning.vocabulary_question)));
}

struct NearestVocabulary {
  std::int64_t vocabulary;
  bool is_near;
};

NearestVocabulary nearest_large_vocabulary(double loss) {
  const auto distance = [&](std::int64_t vocabulary) { return loss - log_of(vocabulary); };
  const auto nearest =
      *std::min_element(std::begin(kLargeVocabularies), std::end(kLargeVocabularies),
                        [&](auto a, auto b) { return std::abs(distance(a)) < std::abs(distance(b)); });
  return {nearest, distance(nearest) > -kBelowLarge && distance(nearest) < kAboveLarge};
}

Beginning above_ln_v(const Start& start, Beginning beginning) {
  const double loss = start.first.loss;
  const auto [nearest, is_near] = nearest_large_vocabulary(loss);
  if (!start.vocabulary_is_known() && loss < kMostOfVocabulary)
    return with_vocabulary(start, beginning, is_near ? nearest : std::llround(std::exp(loss)));
  // A loss that starts high because of a wide initialisation falls much further than a sum of sound losses.
  const bool falls_like_a_sum = start.curve.smoothed[start.curve.lowest()] > kLeastOfSum * loss;
  for (const int parts : kAccumulations) {
    if (!falls_like_a_sum || std::abs(loss - parts * start.ln_v) > kNearAccumulated * parts * start.ln_v)
      continue;
    beginning.scale = parts;
    beginning.uninformed_loss_as_logged = start.ln_v * parts;
    return with_finding(
        beginning, start.passes(fmt::format(
                       "{}: {} times ln V, so it is read as the sum over {} steps of gradient accumulation",
                       start.sentence, parts, parts)));
  }
  if (start.curve.known.from_checkpoint && falls_like_a_sum)
    return with_finding(
        beginning,
        start.passes(fmt::format("{}; is it the sum over steps of gradient accumulation, or over tokens?",
                                 start.sentence)));
  return with_finding(
      beginning,
      start.fails(fmt::format(
          "{}: worse than an untrained model; is the initialisation too wide (a tied matrix drawn "
          "from a standard normal starts at hundreds), or is the loss a sum over tokens instead of a mean?{}",
          start.sentence, is_near ? " " + question(loss, nearest) : "")));
}

// Below ln V, and too high for a trained model.
Beginning somewhat_below_ln_v(const Start& start, Beginning beginning) {
  if (start.first.loss < kSurelyUntrained * start.ln_v) beginning.began = Began::not_known;
  if (!start.at_first) return with_finding(beginning, start.passes(start.sentence));
  if (!start.vocabulary_is_known())
    return with_vocabulary(start, beginning, std::llround(std::exp(start.first.loss)));
  return with_finding(
      beginning, start.fails(fmt::format(
                     "{}: lower than an untrained model starts; were weights loaded (--from-checkpoint), is "
                     "the vocabulary size another (--vocabulary), or can the model see the labels?",
                     start.sentence)));
}

Beginning below_ln_v(const Start& start, Beginning beginning) {
  const double loss = start.first.loss;
  if (start.early && !start.vocabulary_is_known())
    for (const auto vocabulary : kSmallVocabularies)
      if (std::abs(loss - log_of(vocabulary)) < kNearSmall)
        return with_vocabulary(start, beginning, vocabulary);
  if (loss >= kUntrained * start.ln_v) return somewhat_below_ln_v(start, beginning);
  if (!start.early) {
    beginning.began = Began::not_known;
    return with_finding(beginning, start.passes(start.sentence));
  }
  beginning.began = Began::from_checkpoint;
  for (const int parts : kAccumulations)
    if (std::abs(loss * parts - start.ln_v) < kNearAccumulated * start.ln_v) {
      beginning.may_be_divided = true;
      return with_finding(
          beginning, start.passes(fmt::format("{}: does the run continue from a checkpoint? Or is the loss "
                                              "(ln V / {}) divided by the steps of gradient accumulation?",
                                              start.sentence, parts)));
    }
  return with_finding(
      beginning,
      start.passes(fmt::format(
          "{}: lower than an untrained model starts, so the run is taken to continue from a checkpoint",
          start.sentence)));
}

Beginning of_cross_entropy(const JudgedCurve& curve, Beginning beginning) {
  const auto& first = curve.finite.front();
  const double ln_v = beginning.uninformed_loss;
  const bool early = curve.logged.steps_known && first.step <= kEarly;
  const Start start{curve,
                    first,
                    ln_v,
                    fmt::format("it starts at {} at {}, where ln V is {}", shown_loss(first.loss),
                                shown_step(first), shown_loss(ln_v)),
                    curve.logged.steps_known && first.step <= kFirst,
                    early};
  beginning.began = Began::from_scratch;
  if (first.loss > ln_v + kMostAboveStart)
    beginning = above_ln_v(start, beginning);
  else if (first.loss < ln_v - kMostBelowStart)
    beginning = below_ln_v(start, beginning);
  else
    beginning.finding = start.passes(start.sentence);
  if (!early && beginning.finding.verdict == "pass" && beginning.uninformed_loss == ln_v &&
      beginning.scale == 1)
    beginning.finding.sentence +=
        "; the loss may have fallen by that step, so it is only known not to begin above ln V";
  if (curve.known.from_checkpoint) {
    beginning.began = Began::from_checkpoint;
    if (first.loss <= ln_v + kMostAboveStart)
      beginning.finding = start.passes(fmt::format("{}; it goes on from a checkpoint", start.sentence));
  }
  return beginning;
}

// In bits a byte or a character. How many of them a token has is not known, so ln V is not, either.
Beginning of_bits(const LogPoint& first, Beginning beginning) {
  beginning.uninformed_loss = beginning.uninformed_loss_as_logged = std::max(first.loss, 1.0);
  beginning.began = first.loss > kUntrainedBits ? Began::from_scratch : Began::not_known;
  return with_finding(
      beginning, {"pass",
                  "must",
                  fmt::format("it starts at {} at {}, in bits; how many tokens these belong to is not known",
                              shown_loss(first.loss), shown_step(first)),
                  {first}});
}

}  // namespace

Beginning find_beginning(const JudgedCurve& curve) {
  Beginning beginning;
  beginning.uninformed_loss = beginning.uninformed_loss_as_logged =
      log_of(curve.known.vocabulary.value_or(kUsualVocabulary));
  if (curve.finite.empty())
    return with_finding(beginning, {"not assessed", "must", "no loss is a number", {}});
  const auto& first = curve.finite.front();
  const auto place = fmt::format("it starts at {} at {}", shown_loss(first.loss), shown_step(first));
  if (!curve.is_cross_entropy()) beginning.began = Began::from_checkpoint;
  if (curve.objective == Objective::preference)
    return with_finding(beginning, {"pass",
                                    "should",
                                    place + "; a loss of preferences starts near ln 2 = 0.6931, not at ln V",
                                    {first}});
  if (curve.objective == Objective::reward)
    return with_finding(beginning, {"not assessed",
                                    "should",
                                    place + "; a loss of rewards is no cross-entropy and may start anywhere",
                                    {first}});
  return curve.log.in_bits ? of_bits(first, beginning) : of_cross_entropy(curve, beginning);
}

Finding judge_start(const JudgedCurve&, const Beginning& beginning) {
  return beginning.finding;
}

}  // namespace plumbline
