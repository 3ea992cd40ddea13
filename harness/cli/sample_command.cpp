#include "harness/cli/commands.hpp"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "harness/candidate/fast_reference.hpp"
#include "harness/cli/arguments.hpp"
#include "harness/cli/sample.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

// Weights without code are run by the inference engine.
std::unique_ptr<Candidate> with_code(std::unique_ptr<Candidate> candidate, const RunSetup& setup) {
  const bool is_reference = candidate->describe().kind == "reference";
  if (candidate->capabilities().contains("code") && !is_reference) return candidate;
  auto engine = is_reference
                    ? std::move(candidate)
                    : make_engine(candidate->describe().name, setup.specification, setup.type, setup.device);
  try {
    engine->load(is_reference ? discriminating_weights(setup.specification.parameters(), 1)
                              : candidate->weights());
  } catch (const NotShown& why) {
    throw InputError(fmt::format(
        "{}: does not match {}: {}; `plumbline verify` tells more, or name another specification with --spec",
        engine->describe().name, setup.specification.name, why.what()));
  }
  return engine;
}

int run_sample(const Arguments& arguments, SamplingRun run, const CommandContext& command_context) {
  const auto setup = prepare_run(arguments, command_context.data);
  require_output(run.output, "--output", {run.prompts, arguments.candidate, run.tokenizer});
  run.python = PLUMBLINE_PYTHON;
  run.scripts = script_directory(setup.data);
  auto candidate = open_candidate(arguments, setup);
  return sample(std::move(run), with_code(std::move(candidate), setup), setup.specification);
}

void add_drawing_options(Command& command, GenerationOptions& options) {
  command.option("--temperature", options.sampling.temperature, "sampling temperature; 0: greedy")
      .shows_default();
  command.option("--top-k", options.sampling.top_k, "draw from the k largest logits; 0: from all")
      .shows_default();
  command
      .option("--top-p", options.sampling.top_p,
              "draw from the fewest tokens that together have this probability")
      .shows_default();
  command
      .option("--repetition-penalty", options.sampling.repetition_penalty,
              "penalty on tokens that have occurred; 1: none")
      .shows_default();
  command.option("--seed", options.seed, "the same seed gives the same tokens at any batch size")
      .shows_default();
  command.option("--tokens", options.most_tokens, "the most tokens of each sample")
      .between(1, 1 << 20)
      .shows_default();
  command.option("--end", options.end, "the id of the token that ends a text (default: none)");
  command.option("--samples", options.samples, "samples of each prompt").between(1, 1 << 20).shows_default();
  command.option("--batch", options.batch, "sequences at a time").between(1, 4096).shows_default();
}

}  // namespace

void add_sample(Command& all) {
  auto command = all.command(sample_entry.name, sample_entry.what);
  const auto arguments = std::make_shared<Arguments>();
  const auto run = std::make_shared<SamplingRun>();
  command
      .option("candidate", arguments->candidate,
              "a candidate, as for verify; weights without code run on Plumbline's engine")
      .required();
  command
      .option("--prompts", run->prompts,
              "a file: .jsonl with 'ids' or 'prompt' in each line, or text with one prompt a line")
      .required();
  command.option("-o,--output", run->output, "the samples to write: a .jsonl file for `plumbline text`")
      .required();
  command.option("--tokenizer", run->tokenizer, "the model's tokenizer.json, for prompts that are text");
  command.footer(
      "Exit status: 0 written; 2 could not be sampled: bad usage, unreadable input, a model that fails.");
  add_drawing_options(command, run->options);
  add_running_options(command, *arguments);
  command.runs([arguments, run](const CommandContext& command_context) {
    return run_sample(*arguments, *run, command_context);
  });
}

}  // namespace plumbline
