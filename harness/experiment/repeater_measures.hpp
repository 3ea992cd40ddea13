// Measurements of a trained model, and of the text that it was trained on.
#pragma once

#include <vector>

#include "harness/experiment/repeater.hpp"

namespace plumbline {

// The data that all runs share.
struct RepeaterTask {
  const RepeaterOptions& options;
  const Corpus& corpus;
  const std::vector<std::vector<Token>>& prompts;
};

// A finished run.
struct TrainedRun {
  const Run& run;
  const Recipe& recipe;
  const Trainer& trainer;
};

Json measure_run(const RepeaterTask& task, const TrainedRun& trained);

// Repetition of the text itself after the same prompts: of its next tokens, and of the greedy continuation.
Json measure_own_text(const RepeaterTask& task);

}  // namespace plumbline
