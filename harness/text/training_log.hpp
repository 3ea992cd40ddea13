// The log of anyone's training run: does its loss start where it has to, fall, and stay down?
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>
#include "harness/system/json.hpp"

namespace plumbline {

// From which loss on, as a part of ln V, a run that began near ln V is too good to be true (`too_low`), or is
// so unless its text is easy (`low`: models of children's stories end near it), and what was seen of the
// curves of fixtures/repeater/small-result.json (a test holds the two together).
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
  double loss = 0;  // nats a token; may be NaN or infinite
};

struct TrainingLog {
  std::string file, sha256;
  std::string read_as;  // "JSON lines", "CSV", "text"
  bool steps_known = false;
  std::vector<LogPoint> points;
  std::vector<std::string> notes;
};

struct LogReading {
  std::string column;   // the name of the loss in JSON or CSV; empty: one of the usual ones
  std::string pattern;  // of text: a regular expression with one group (the loss) or two (step, loss); empty:
                        // the usual
};

// .jsonl and .json (also the log_history of a trainer_state.json), .csv and .tsv with a header, anything else
// as text: what stands behind "loss", unless it is that of a validation, and behind "step", "iter" and the
// like, or as (100/2000). Errors: InputError where there is no loss at all, with what was looked for.
TrainingLog read_training_log(const std::filesystem::path& file, const LogReading& reading);

// The document (training_log.schema.json): the findings, each with its evidence, and the verdict.
Json log_document(const TrainingLog& log, std::int64_t vocabulary);
// 0: nothing is wrong; 1: something is; 3: not assessed, there are too few points.
int log_status(const Json& document);
std::string log_summary(const Json& document);
// Four digits, or the word for what is no number.
std::string shown_loss(double value);
// The curve as a picture that stands alone.
std::string log_picture(const TrainingLog& log, const Json& document);

}  // namespace plumbline
