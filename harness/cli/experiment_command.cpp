#include "harness/cli/commands.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <thread>
#include <utility>

#include "harness/cli/progress.hpp"
#include "harness/experiment/repeater.hpp"
#include "harness/model/device.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/output.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

struct RepeaterArguments {
  std::string scale = "small", out = "out/repeater", tokens, device;
  int workers = 0;  // 0: as many as there are processors
};

constexpr const char* kHelp =
    "Trains models that differ in layers, key/value heads, training mask, initialisation and dropout on\n"
    "text of known entropy, lets them write, and reports which difference makes them repeat themselves.\n"
    "An interrupted run continues when it is started again.\n"
    "Exit status: 0 done; 2 could not be done.";

// " 12 of 34 runs, about 3 min left". `before`: the part that was done when this call began.
std::string progress_text(double done, double before, std::size_t runs, std::size_t all, double seconds) {
  const bool known = done - before > 0.02 && runs < all;
  return fmt::format(
      ", {} of {} runs{}", runs, all,
      known ? fmt::format(", about {:.0f} min left", std::ceil(seconds / (done - before) * (1 - done) / 60))
            : "");
}

int run_repeater_command(const RepeaterArguments& arguments, const CommandContext& command_context) {
  RepeaterOptions options;
  options.scale = read_scale(arguments.scale, command_context.data / "fixtures");
  if (arguments.device.empty() && arguments.scale == "full" && !at::hasCUDA())
    throw InputError(
        "--scale full: needs a GPU, and LibTorch finds none; use --scale small, or force it with --device "
        "cpu, "
        "which takes months");
  options.device = parse_device(!arguments.device.empty()   ? arguments.device
                                : arguments.scale == "full" ? "auto"
                                                            : "cpu");
  options.out = arguments.out;
  options.tokens = arguments.tokens;
  options.workers = arguments.workers > 0 ? arguments.workers
                    : options.device.is_cuda()
                        ? 1
                        : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  make_writable(options.out, "--out");
  Progress progress;
  double before = -1;  // what was done when this call began
  bool silent = true;  // until it is known that there is something to do
  auto document = run_repeater(options, [&](double done, std::size_t runs, std::size_t all) {
    if (std::exchange(silent, false))
      print_out("Which difference makes the model repeat itself? Scale '{}', {}, {} at a time\n",
                options.scale.name, device_name(options.device), options.workers);
    std::fflush(stdout);
    if (before < 0) before = done;
    progress.tell(done, progress_text(done, before, runs, all, progress.seconds()));
  });
  document["program"] = command_context.version;
  document["command"] = printable(command_context.command, 2000);
  document["device"] = device_name(options.device);
  conclude_repeater(document);
  for (const auto& [file, content] :
       {std::pair<std::string, std::string>{"result.json", document.dump({.indent = 1}) + "\n"},
        {"loss.svg", repeater_curves(document)},
        {"effects.svg", repeater_effects(document)},
        {"report.md", repeater_report(document)}})
    write_atomically(options.out / file, content);
  print_out("{}\n   {}\n   {}\n", repeater_summary(document), printable((options.out / "report.md").string()),
            printable((options.out / "result.json").string()));
  return 0;
}

}  // namespace

void add_experiments(Command& all) {
  auto command = all.command(experiment_entry.name, experiment_entry.what);
  command.required();
  command.footer("Exit status: 0 done; 2 could not be done.");
  const auto arguments = std::make_shared<RepeaterArguments>();
  auto repeater =
      command.command("repeater", "Find out which difference between two models makes one repeat itself");
  repeater.option("--scale", arguments->scale, "small (two processors, about ten minutes) or full (a GPU)")
      .shows_default();
  repeater
      .option("--out", arguments->out,
              "directory for the report, the results and what a later run needs to continue")
      .shows_default();
  repeater.option("--tokens", arguments->tokens,
                  "a file of token ids to train on instead (.jsonl with 'ids' in each line)");
  repeater.option("--device", arguments->device, "auto, cpu or cuda[:N] (default: cpu; for full, auto)");
  repeater.option("--workers", arguments->workers, "runs at a time (default: one for each processor)")
      .between(1, 256);
  repeater.footer(kHelp);
  repeater.runs([arguments](const CommandContext& command_context) {
    return run_repeater_command(*arguments, command_context);
  });
}

}  // namespace plumbline
