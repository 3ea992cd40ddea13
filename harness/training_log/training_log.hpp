// Judges the log of a training run: whether its loss starts where it has to, falls, and stays low.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>
#include "harness/system/json.hpp"

namespace plumbline {

// Bounds on the loss, as parts of ln V, of a run that began near ln V. Below `too_low` it is too good to be
// true; below `low` it is so unless its text is easy (models of children's stories end near it). The other
// numbers were measured on the curves of fixtures/repeater/small-result.json; a test compares them.
struct SpeedCalibration {
  double too_low, low;
  int sound_runs, leaking_runs;
  double sound_lowest;     // the least that any sound run came to
  double leaking_highest;  // the most that any leaking run ended with
};
constexpr SpeedCalibration kSpeedCalibration{0.02, 0.1, 18, 16, 0.427, 0.0015};

struct LogPoint {
  std::size_t line = 0;  // of the file
  double step =
      0;  // as it is logged, counted on where it starts again; a running number where it is not logged
  double loss = 0;   // nats a token; may be NaN or infinite
  double epoch = 0;  // as it is logged; 0 where it is not
};

// One run's loss, in the order of the log.
struct LogCurve {
  std::string column;
  bool steps_known = false;
  std::vector<LogPoint> points;
  std::size_t hidden = 0;                // losses of 0 beside a NaN gradient: NaN, written as 0
  std::size_t missing = 0;               // entries at the end that hold no loss where others do
  std::size_t nan_gradients_at_end = 0;  // entries at the end whose gradient is no number
};

// What the loss is of.
enum class Objective { cross_entropy, preference, reward };

struct TrainingLog {
  std::string file, sha256;
  std::string read_as;  // "JSON lines", "CSV", "text"
  std::size_t entries = 0;
  Objective objective = Objective::cross_entropy;
  bool in_bits = false;              // a byte: its start says nothing of the vocabulary
  std::vector<LogCurve> curves;      // one at least, of at least one point each
  std::vector<LogPoint> validation;  // the loss of held-out text, if there is one beside
  std::vector<std::string> notes;
};

struct LogReading {
  std::string column;   // the name of the loss; empty: one of the usual ones
  std::string pattern;  // of text: a regular expression with one group (the loss) or two (step, loss); empty:
                        // the usual
};

// Reads text, tables and JSON in the usual shapes, recognised by content and not by name;
// also in gzip and UTF-16. Of more than half a million entries as many are kept, evenly spread, and every
// first NaN. Errors: InputError where there is no loss at all, with the columns that there are.
TrainingLog read_training_log(const std::filesystem::path& file, const LogReading& reading);

// Knowledge of the run that is not in its log.
struct RunKnowledge {
  std::optional<std::int64_t> vocabulary;
  bool from_checkpoint = false;
};
constexpr std::int64_t kUsualVocabulary = 6400;

// The document (training_log.schema.json): the findings, each with its evidence, and the verdict.
Json log_document(const TrainingLog& log, const RunKnowledge& known);
// 0: nothing is wrong; 1: something is; 3: something that decides could not be assessed.
int log_status(const Json& document);
std::string log_summary(const Json& document);
// Four digits, or the word for what is no number.
std::string shown_loss(double value);
// The curve as a picture that stands alone.
std::string log_picture(const TrainingLog& log, const Json& document);

}  // namespace plumbline
