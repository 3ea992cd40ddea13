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

int run_verify(const Arguments& arguments, const Circumstance& circumstance) {
  const auto prepared = prepare(arguments, circumstance.data);
  Verification verification{circumstances_of(arguments, prepared, circumstance),
                            nullptr,
                            arguments.only,
                            arguments.recording != nullptr,
                            arguments.golden,
                            !arguments.no_diagnosis,
                            arguments.left_out,
                            {},
                            arguments.waivers};
  if (!arguments.shard.empty()) verification.shard = reports::parse_shard(arguments.shard);
  verification.candidate = open_candidate(arguments, prepared);
  return verify(std::move(verification));
}

int run_record(Arguments arguments, const std::string& file, const Circumstance& circumstance) {
  if (!is_program(arguments.candidate))
    throw InputError(
        fmt::format("{}: expected a live model: an adapter (.py) or 'exec: COMMAND'; anything else is "
                    "judged and compared from its own files",
                    printable(arguments.candidate)));
  if (!is_recording(file))
    throw InputError(fmt::format("{}: expected a name that ends in .h5", printable(file)));
  arguments.recording = std::make_shared<RecordingWriter>(file);
  const auto status = run_verify(arguments, circumstance);
  print_out("   {}\n", arguments.recording->commit());
  return status;
}

void add_judging_options(Command& command, Arguments& arguments) {
  command.flag(
      "--no-diagnosis", arguments.no_diagnosis,
      "of a model that fails, do not look for known defects that explain it (20 s at full size, or more)");
  command.option("--name", arguments.name, "what results call a live model (default: as it is typed here)");
  command.option("--golden", arguments.golden,
                 "a folder of golden tensors for a specification of your own (plumbline golden make)");
}

}  // namespace

void add_verify(Command& all) {
  auto command = all.command("verify", "Judge a candidate against a specification");
  const auto given = std::make_shared<Arguments>();
  command
      .option(
          "candidate", given->candidate,
          "a live model's adapter (.py), 'exec: COMMAND' (a program that answers the protocol), a recording "
          "(.h5), a Hugging Face checkpoint directory, a .safetensors or .pth file, reference (the built-in "
          "model), reference:fast (its inference engine), defect:NAME, or variant:NAME (`plumbline defects` "
          "lists both)")
      .shows_default();
  add_running_options(command, *given);
  command
      .option(
          "--only", given->only,
          "look at these chapters alone (numbers or names, separated by commas: configuration, parameters, "
          "attention, cache, rope, blocks, modes, numerics, training, text, claims); the verdict is then "
          "incomplete")
      .separated_by_commas();
  command
      .option(
          "--shard", given->shard,
          "I/N: look at the I-th of N parts of the requirements; `plumbline report merge` makes one result "
          "of all N")
      .not_empty("expected I/N, as in 2/4")
      .excludes("--only");
  command.option("--waivers", given->waivers,
                 "a file of failures that somebody answers for until a day (docs/waivers-and-shards.md)");
  command
      .option("--leave-out", given->left_out,
              "a defect that the diagnosis is to know nothing of (to measure how it does then)")
      .hidden();
  add_bundle_option(command, *given);
  add_judging_options(command, *given);
  command.footer(status_help);
  command.runs([given](const Circumstance& circumstance) { return run_verify(*given, circumstance); });
}

void add_record(Command& all) {
  auto command =
      all.command("record", "Judge a live model and keep all that it answered, to be judged again elsewhere");
  const auto given = std::make_shared<Arguments>();
  const auto file = std::make_shared<std::string>();
  command.option("candidate", given->candidate, "an adapter (.py), or 'exec: COMMAND'").required();
  command.option("-o,--output", *file, "the recording, an .h5 file").required();
  add_running_options(command, *given);
  add_bundle_option(command, *given);
  add_judging_options(command, *given);
  command.footer(status_help);
  command.runs(
      [given, file](const Circumstance& circumstance) { return run_record(*given, *file, circumstance); });
}

}  // namespace plumbline
