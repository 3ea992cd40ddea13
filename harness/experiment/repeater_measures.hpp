// What is measured of a model that the experiment has trained, and of the text that it was trained on.
#pragma once

#include <vector>

#include "harness/experiment/repeater.hpp"

namespace plumbline {

// What all runs have in common.
struct RepeaterTask {
  const RepeaterOptions& options;
  const Corpus& corpus;
  const std::vector<std::vector<Token>>& prompts;
};

// One run, trained to its end.
struct TrainedRun {
  const Run& run;
  const Recipe& recipe;
  const Trainer& trainer;
};

Json measure_run(const RepeaterTask& task, const TrainedRun& trained);

// The text itself, after the same prompts: its next tokens, and what is likeliest by its own probabilities.
Json measure_own_text(const RepeaterTask& task);

}  // namespace plumbline
