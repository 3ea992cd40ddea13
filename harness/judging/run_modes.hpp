// Modes in which a model is run to locate an error, or a difference between two models.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "harness/judging/passes.hpp"

namespace plumbline {

// A mode that shows stages.
struct StageRun {
  std::string name, needs;  // needs: the capability that it takes
  Tokens tokens;
  std::function<Stages(Subject&, const Tokens&)> show;
  std::int64_t first_position = 0;
};
std::vector<StageRun> stage_runs(Subject& subject);

// A mode that shows logits alone.
struct LogitsRun {
  std::string name, needs;
  Tokens tokens;
  std::function<at::Tensor(Subject&, const Tokens&)> logits;
  std::int64_t first_position = 0;
  bool of_ways = false;  // one of ways(), see Subject::note_wrong_way
  PassKind kind = {};    // `padded`: a padding mask is given
};
std::vector<LogitsRun> logits_runs(Subject& subject);

// A check that compared nothing, with the error as its reason.
reports::Check failed_check(const std::string& what, const std::exception& error);
// Runs `judge`; an error of the candidate becomes a failed check. Errors: InputError.
reports::Situation try_run(const std::string& name,
                           const std::function<reports::Check(const std::string& what)>& judge);

// Judges the model with the output projection of every block set to 0 and then, if that is right, with each
// block alone restored.
std::vector<reports::Situation> block_by_block(
    Subject& subject,
    const std::function<reports::Check(const std::string& what, const Weights& weights)>& judge);

}  // namespace plumbline
