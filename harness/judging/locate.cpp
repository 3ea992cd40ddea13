#include "harness/judging/locate.hpp"

#include <algorithm>

#include "harness/judging/expectations.hpp"
#include "harness/judging/run_modes.hpp"
#include "harness/judging/traits_of_stage.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

reports::Check compare_stage(const Stage& stage, const at::Tensor& actual, const at::Tensor& expected,
                             const Tolerance& tolerance, const Tokens& tokens) {
  const bool hides = stage.kind == "scores" && actual.sizes() == expected.sizes();
  return compare(to_string(stage), hides ? hidden_as_infinity(actual, causal_mask_of(tokens)) : actual,
                 expected, tolerance);
}

std::vector<reports::StageErrors> errors_of(Subject& subject, const StageRun& mode, const Stages& shown) {
  const auto& tokens = mode.tokens;
  const auto exact = stages_of(subject.exact(), tokens);
  std::vector<reports::StageErrors> all;
  for (const auto& stage : stages_in_order(subject.specification().num_hidden_layers)) {
    all.push_back({stage, {}, {}});
    const auto actual = shown.find(stage);
    if (actual == shown.end()) continue;
    const auto& expected = exact.at(stage);
    // The noise was measured near position 0; far from it, rounding of angles is larger.
    if (mode.first_position == 0)
      all.back().inherited =
          compare_stage(stage, actual->second, expected, subject.noise(stage.kind, expected), tokens);
    if (const auto replay = try_replay(subject, stage, shown, tokens, mode.first_position))
      all.back().local = compare_stage(stage, actual->second, replay->expected, replay->tolerance, tokens);
  }
  return all;
}

// What the numbers of the first stage that is wrong by itself tell.
std::vector<reports::Trait> traits_of_first(Subject& subject, const StageRun& mode, const Stages& shown,
                                            const std::vector<reports::StageErrors>& all) {
  const auto wrong =
      std::find_if(all.begin(), all.end(), [](const auto& one) { return one.local && !one.local->within; });
  if (wrong == all.end()) return {};
  const auto& tokens = mode.tokens;
  const auto replay = [&](std::int64_t later) {
    return try_replay(subject, wrong->stage, shown, tokens, mode.first_position + later);
  };
  const auto due = replay(0);
  if (!due) return {};
  const auto wide = [](const at::Tensor& x) { return x.to(at::kCPU, at::kDouble); };
  const auto& actual = shown.at(wrong->stage);
  if (actual.sizes() != due->expected.sizes()) return {};
  const bool hides = wrong->stage.kind == "scores";
  WrongStage stage{wrong->stage,
                   wide(hides ? hidden_as_infinity(actual, causal_mask_of(tokens)) : actual),
                   wide(due->expected),
                   wide(due->tolerance.bound),
                   subject.specification().head_size(),
                   subject.candidate().type()};
  if (const bool query = wrong->stage.kind == "q_rotated"; query || wrong->stage.kind == "k_rotated") {
    stage.turned = [&](std::int64_t later) {
      const auto other = replay(later);
      return other ? std::optional(wide(other->expected)) : std::nullopt;
    };
    if (const auto found = shown.find({query ? "q" : "k", wrong->stage.layer}); found != shown.end())
      stage.not_turned = wide(found->second);
  }
  const auto input = [&](const char* kind) {
    const auto found = shown.find({kind, wrong->stage.layer});
    return found == shown.end() ? std::nullopt : std::optional(wide(found->second));
  };
  if (wrong->stage.kind == "after_attention") stage.branch = input("attention_out");
  if (wrong->stage.kind == "after_feed_forward") stage.branch = input("feed_forward_out");
  if (wrong->stage.kind == "gated") {
    stage.gate = input("gate");
    stage.up = input("up");
  }
  return traits_of(stage);
}

reports::Check compare_logits(Subject& subject, const std::string& what, const at::Tensor& actual,
                              const at::Tensor& exact) {
  const auto expected = exact.to(at::kCPU);
  return compare(what, actual, expected, subject.noise("logits", expected));
}

// Compares logits with other weights loaded.
reports::Check compare_with_weights(Subject& subject, const std::string& what, const Weights& weights) {
  reports::Check check;
  const auto tokens = standard_probe(subject);
  subject.with_weights(weights, [&](Candidate& candidate) {
    const Model exact(subject.specification(),
                      convert(convert(weights, candidate.type(), at::kCPU), at::kDouble, candidate.device()));
    check = compare_logits(subject, what, candidate.forward(tokens, {}).to(at::kCPU), exact.forward(tokens));
  });
  return check;
}

void localise(Subject& subject, reports::Localisation& found) {
  subject.running();
  for (const auto& mode : stage_runs(subject)) {
    if (!subject.can(mode.needs)) continue;
    Stages shown;
    try {
      shown = mode.show(subject, mode.tokens);
      found.stages = errors_of(subject, mode, shown);
    } catch (const NotShown&) {
      continue;
    } catch (const InputError&) {
      throw;  // not the candidate's fault
    } catch (const std::exception& error) {
      const auto name = "the stages in " + mode.name;
      found.situations.push_back({name, failed_check(name, error)});
      continue;
    }
    found.mode = mode.name;
    found.traits = traits_of_first(subject, mode, shown, found.stages);
    if (const auto* wrong = first_locally_wrong(found))
      if (const auto line = subject.description().lines.find(to_string(wrong->stage));
          line != subject.description().lines.end())
        found.line = line->second;
    if (first_divergent(found) != nullptr || first_locally_wrong(found) != nullptr) break;
    found.mode.clear();
    found.stages.clear();
  }
  for (const auto& run : logits_runs(subject)) {
    if (!subject.can(run.needs)) continue;
    found.situations.push_back(try_run(run.name, [&](const std::string& what) {
      PassOptions options;
      options.first_position = run.first_position;
      const auto expected = subject.exact().forward(run.tokens, options).to(at::kCPU);
      const auto tolerance = run.of_ways ? noise_of_pass(subject, run.tokens, options, expected)
                                         : subject.noise("logits", expected);
      return compare(what, run.logits(subject, run.tokens), expected, tolerance);
    }));
  }
  if (!told_by_stages(found) && subject.can("load") && !right_in(found.situations, "24 tokens")) {
    const auto blocks = block_by_block(subject, [&](const std::string& what, const Weights& weights) {
      return compare_with_weights(subject, what, weights);
    });
    found.situations.insert(found.situations.end(), blocks.begin(), blocks.end());
  }
}

}  // namespace

reports::Localisation localise(Subject& subject) {
  const at::NoGradGuard no_gradients;
  reports::Localisation found;
  try {
    localise(subject, found);
  } catch (const std::exception& error) {
    const std::string message = error.what();
    found.not_assessed = message.substr(0, message.find('\n'));
  }
  return found;
}

}  // namespace plumbline
