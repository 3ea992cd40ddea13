// The experiment "repeater": which difference between the model before and the one after makes it repeat
// itself?
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include "harness/system/json.hpp"

#include "harness/experiment/corpus.hpp"
#include "harness/experiment/design.hpp"
#include "harness/experiment/trainer.hpp"

namespace plumbline {

// The size of an experiment: fixtures/repeater/scales.json.
struct Scale {
  std::string name;
  Specification after, before;
  SourceSettings source;
  std::int64_t steps = 0, batch = 0, length = 0, warm_up = 0;
  AdamW optimiser;
  double clip = 1;
  std::uint32_t seeds = 2;
  std::int64_t held_out_batches = 0;
  std::int64_t prompts = 0, prompt_tokens = 0, new_tokens = 0;
  at::ScalarType compute = at::kFloat;
};

// Errors: InputError naming the file and the key, or the scales that there are.
Scale read_scale(const std::string& name, const std::filesystem::path& fixtures);

// The specification of a run: the model after, with the factors at level before changed.
Specification model_of(const Scale& scale, const Levels& before);

struct RepeaterOptions {
  Scale scale;
  std::filesystem::path out;  // of states, results of each run, and the report
  std::string tokens;         // a file in place of the source; empty: the source
  at::Device device = at::kCPU;
  int workers = 1;  // runs at a time
};

// Makes the runs that are not done yet, resuming from saved states. Locks `out`. `progress` gets the done
// part of the work and the number of finished runs. Returns the measurements of runs and source. Errors:
// InputError: another experiment's results in `out`, what cannot be written, a loss that is no number with
// run, step and parameter.
Json run_repeater(const RepeaterOptions& options,
                  const std::function<void(double done, std::size_t runs, std::size_t all)>& progress);

// Adds effects, answers and claims to the measurements (repeater.schema.json).
void conclude_repeater(Json& document);
// What the terminal shows, the report in Markdown, and its pictures.
std::string repeater_summary(const Json& document);
std::string repeater_report(const Json& document);
std::string repeater_curves(const Json& document);
std::string repeater_effects(const Json& document);

}  // namespace plumbline
