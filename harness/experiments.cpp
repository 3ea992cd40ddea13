#include "harness/experiments.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <thread>
#include <utility>

#include "harness/model/device.hpp"
#include "harness/experiment/repeater.hpp"
#include "harness/cli/progress.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

struct RepeaterArguments {
  std::string scale = "small", out = "out/repeater", tokens, device;
  int workers = 0;  // 0: as many as there are processors
};

constexpr const char* kHelp =
    "Trains models that differ in layers, key/value heads, training mask, initialisation and dropout on text "
    "of\n"
    "known entropy, lets them write, and says which of the differences makes them repeat themselves. "
    "Stopped\n"
    "and called again, it goes on where it was.\n"
    "Exit status: 0 done; 2 could not be done.";

// " 12 of 34 runs, about 3 min left": of what is done, `before` was when this call began.
std::string told(double done, double before, std::size_t runs, std::size_t all, double seconds) {
  const bool known = done - before > 0.02 && runs < all;
  return fmt::format(
      ", {} of {} runs{}", runs, all,
      known ? fmt::format(", about {:.0f} min left", std::ceil(seconds / (done - before) * (1 - done) / 60))
            : "");
}

int run_repeater_command(const RepeaterArguments& arguments, const Circumstance& circumstance) {
  RepeaterOptions options;
  options.scale = read_scale(arguments.scale, circumstance.data / "fixtures");
  if (arguments.device.empty() && arguments.scale == "full" && !at::hasCUDA())
    throw InputError(
        "--scale full: is made for a GPU, and LibTorch finds none here; on processors it would take months "
        "(--device cpu, if you must)");
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
      fmt::print("Which difference makes the model repeat itself? Scale '{}', {}, {} at a time\n",
                 options.scale.name, device_name(options.device), options.workers);
    std::fflush(stdout);
    if (before < 0) before = done;
    progress.tell(done, told(done, before, runs, all, progress.seconds()));
  });
  document["program"] = circumstance.version;
  document["command"] = printable(circumstance.command, 2000);
  document["device"] = device_name(options.device);
  conclude_repeater(document);
  for (const auto& [file, content] :
       {std::pair<std::string, std::string>{"result.json", document.dump(1) + "\n"},
        {"loss.svg", repeater_curves(document)},
        {"effects.svg", repeater_effects(document)},
        {"report.md", repeater_report(document)}})
    write_atomically(options.out / file, content);
  fmt::print("{}\n   {}\n   {}\n", repeater_summary(document),
             printable((options.out / "report.md").string()),
             printable((options.out / "result.json").string()));
  return 0;
}

}  // namespace

void add_experiments(CLI::App& app, std::function<int(const Circumstance&)>& chosen) {
  auto* command = app.add_subcommand("experiment", "Find out by training: experiment repeater");
  command->require_subcommand(1);
  const auto given = std::make_shared<RepeaterArguments>();
  auto* repeater = command->add_subcommand(
      "repeater", "Which difference between before and after makes it repeat itself?");
  repeater->add_option("--scale", given->scale, "small (two processors, about ten minutes) or full (a GPU)")
      ->capture_default_str();
  repeater
      ->add_option("--out", given->out, "directory for the report, the results and what is needed to go on")
      ->capture_default_str();
  repeater->add_option("--tokens", given->tokens,
                       "a file of token ids to train on instead (.jsonl with 'ids' in each line)");
  repeater->add_option("--device", given->device, "auto, cpu or cuda[:N] (default: cpu; of full, auto)");
  repeater->add_option("--workers", given->workers, "runs at a time (default: one for each processor)")
      ->check(CLI::Range(1, 256));
  repeater->footer(kHelp);
  repeater->callback([given, &chosen] {
    chosen = [given](const Circumstance& circumstance) { return run_repeater_command(*given, circumstance); };
  });
}

}  // namespace plumbline
