// The ways to run a model that show where it goes wrong, or where two differ, and what can be told from them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "harness/judging/passes.hpp"

namespace plumbline {

// A way to see the stages of one sequence.
struct StageRun {
  std::string name, needs;  // needs: what a candidate has to declare
  Tokens tokens;
  std::function<Stages(Subject&, const Tokens&)> show;
  std::int64_t first_position = 0;
};
std::vector<StageRun> stage_runs(Subject& subject);

// A way to run the model that ends in logits, and the tokens they are of.
struct LogitsRun {
  std::string name, needs;
  Tokens tokens;
  std::function<at::Tensor(Subject&, const Tokens&)> logits;
};
std::vector<LogitsRun> logits_runs(Subject& subject);

// A check of nothing, with the reason.
reports::Check impossible(const std::string& what, const std::exception& error);
// Never throws: what the candidate answers instead of logits is what there is to say.
reports::Situation tried(const std::string& name,
                         const std::function<reports::Check(const std::string& what)>& judge);

// Judges the model with every block silenced (what it adds to the residual stream is 0) and then, if that is
// right, with all silenced but one, for each.
std::vector<reports::Situation> block_by_block(
    Subject& subject,
    const std::function<reports::Check(const std::string& what, const Weights& weights)>& judge);

}  // namespace plumbline
