// Findings on a curve of a training log: its beginning, and the course of its losses.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "harness/training_log/training_log.hpp"

namespace plumbline {

constexpr std::size_t kLeastPoints = 10;

struct Finding {
  std::string verdict, level, sentence;
  std::vector<LogPoint> evidence;
  const char* next = "";  // advice
};

// One curve, prepared for the judgements, with what is known of its run.
struct JudgedCurve {
  JudgedCurve(const TrainingLog& log, const LogCurve& curve, const RunKnowledge& known, Objective objective);

  bool is_cross_entropy() const { return objective == Objective::cross_entropy; }
  bool is_too_short() const { return finite.size() < kLeastPoints; }
  std::size_t lowest() const;  // the index of the least smoothed loss
  double loss_at_end() const;  // the median of the last entries
  // The median distance of a loss from the smoothed one, and by how much a smoothed loss varies where nothing
  // changes.
  double noise() const;
  double noise_of_smoothed() const;

  const TrainingLog& log;
  const LogCurve& logged;
  const RunKnowledge& known;
  Objective objective;
  std::vector<LogPoint> points;
  std::vector<bool> written_as_zero;  // points that are NaN and were logged as 0; empty: none is looked for
  std::vector<LogPoint> finite;       // of the points
  std::size_t half_window = 0;        // of the running median
  std::vector<double> smoothed;       // the running median of `finite`
};

enum class Began { from_scratch, from_checkpoint, not_known };

// The beginning of a curve, with which the other findings compare.
struct Beginning {
  Finding finding;
  Began began = Began::not_known;
  double uninformed_loss = 0;            // the loss of a model that knows nothing, in nats
  double uninformed_loss_as_logged = 0;  // the same in what the log counts in
  double scale = 1;                      // so many losses were added up to one
  bool may_be_divided = false;           // by the steps of gradient accumulation
  std::string vocabulary_question;       // which vocabulary it may be; empty: the one given, or the usual one
};
Beginning find_beginning(const JudgedCurve& curve);

// The judgements, in the order of the document.
Finding judge_start(const JudgedCurve& curve, const Beginning& beginning);
Finding judge_finite(const JudgedCurve& curve, const Beginning& beginning);
Finding judge_fall(const JudgedCurve& curve, const Beginning& beginning);
Finding judge_stay(const JudgedCurve& curve, const Beginning& beginning);
Finding judge_spikes(const JudgedCurve& curve, const Beginning& beginning);
Finding judge_speed(const JudgedCurve& curve, const Beginning& beginning);

// The finding for fewer than kLeastPoints entries.
Finding too_few_entries(const JudgedCurve& curve);

// "step 200 (line 3)"
std::string shown_step(const LogPoint& point);

}  // namespace plumbline
