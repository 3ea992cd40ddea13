#include "harness/cli/commands.hpp"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "harness/candidate/live.hpp"
#include "harness/cli/arguments.hpp"
#include "harness/cli/verify.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/output.hpp"
#include "reports/merge.hpp"

namespace plumbline {
namespace {

int run_verify(const Arguments& arguments, const CommandContext& command_context) {
  const auto setup = prepare_run(arguments, command_context.data);
  Verification verification{make_run_context(arguments, setup, command_context),
                            nullptr,
                            arguments.only,
                            arguments.recording != nullptr,
                            arguments.golden,
                            !arguments.no_diagnosis,
                            arguments.left_out,
                            {},
                            arguments.waivers};
  if (!arguments.shard.empty()) verification.shard = reports::parse_shard(arguments.shard);
  verification.candidate = open_candidate(arguments, setup);
  return verify(std::move(verification));
}

int run_record(Arguments arguments, const std::string& file, const CommandContext& command_context) {
  if (!is_program(arguments.candidate))
    throw InputError(fmt::format(
        "{}: is no live model; name an adapter (.py) or 'exec: COMMAND'. Anything else needs no recording: "
        "verify and compare read its files",
        printable(arguments.candidate)));
  if (!is_recording(file))
    throw InputError(fmt::format("{}: expected a file name that ends in .h5", printable(file)));
  arguments.recording = std::make_shared<RecordingWriter>(file);
  const auto status = run_verify(arguments, command_context);
  print_out("   {}\n", arguments.recording->commit());
  return status;
}

void add_judging_options(Command& command, Arguments& arguments) {
  command.flag(
      "--no-diagnosis", arguments.no_diagnosis,
      "do not search for known defects that explain a failure (the search takes 30 s or more at full size)");
  command.option("--name", arguments.name,
                 "the name of a live model in the results (default: as typed here)");
  command.option("--golden", arguments.golden,
                 "a folder of golden tensors for your own specification (plumbline golden make)");
}

}  // namespace

void add_verify(Command& all) {
  auto command = all.command(verify_entry.name, verify_entry.what);
  const auto arguments = std::make_shared<Arguments>();
  command
      .option(
          "candidate", arguments->candidate,
          "a live model's adapter (.py), 'exec: COMMAND' (a program that answers the protocol), a recording "
          "(.h5), a Hugging Face checkpoint directory, a .safetensors or .pth file, reference (the built-in "
          "model), reference:fast (its inference engine), defect:NAME, or variant:NAME (`plumbline defects` "
          "lists both)")
      .shows_default();
  add_running_options(command, *arguments);
  add_probe_options(command, *arguments);
  command
      .option("--only", arguments->only,
              "judge only these chapters (numbers or names, separated by commas: configuration, parameters, "
              "attention, cache, rope, blocks, modes, numerics, training, text, claims) or requirements "
              "(NUM-9); the verdict is then incomplete")
      .separated_by_commas();
  command
      .option(
          "--shard", arguments->shard,
          "I/N: judge the I-th of N parts of the requirements; `plumbline report merge` merges all N into "
          "one result")
      .not_empty("expected I/N, such as 2/4")
      .excludes("--only");
  command.option("--waivers", arguments->waivers,
                 "a file of failures that somebody accepts until a date (docs/waivers-and-shards.md)");
  command
      .option("--leave-out", arguments->left_out,
              "a defect to hide from the diagnosis (to measure the diagnosis)")
      .hidden();
  add_bundle_option(command, *arguments);
  add_judging_options(command, *arguments);
  command.footer(status_help);
  command.runs(
      [arguments](const CommandContext& command_context) { return run_verify(*arguments, command_context); });
}

void add_record(Command& all) {
  auto command = all.command(record_entry.name, record_entry.what);
  const auto arguments = std::make_shared<Arguments>();
  const auto file = std::make_shared<std::string>();
  command.option("candidate", arguments->candidate, "an adapter (.py), or 'exec: COMMAND'").required();
  command.option("-o,--output", *file, "the recording to write (.h5)").required();
  add_running_options(command, *arguments);
  add_probe_options(command, *arguments);
  add_bundle_option(command, *arguments);
  add_judging_options(command, *arguments);
  command.footer(status_help);
  command.runs([arguments, file](const CommandContext& command_context) {
    return run_record(*arguments, *file, command_context);
  });
}

}  // namespace plumbline
