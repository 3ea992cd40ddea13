#include "harness/cli/commands.hpp"

#include <memory>
#include <string>
#include <utility>

#include "harness/cli/arguments.hpp"
#include "harness/cli/compare_candidates.hpp"

namespace plumbline {
namespace {

constexpr const char* kCompareHelp =
    "Both get the same tokens and the same weights. If one of them takes no weights, the other gets its\n"
    "weights.\n"
    "Exit status: 0 the same, bit for bit or within rounding; the verdict says which.\n"
    "             1 different.\n"
    "             2 could not be compared: bad usage, unreadable or impossible input, broken evidence.\n"
    "             3 incomplete: no difference was found, but an applicable comparison could not be made.";

int run_compare(Arguments arguments, const std::string& before, const std::string& after,
                const CommandContext& command_context) {
  const auto setup = prepare_run(arguments, command_context.data);
  const auto context = make_run_context(arguments, setup, command_context);
  const auto open_named = [&](const std::string& name) {
    arguments.candidate = name;
    return open_candidate(arguments, setup);
  };
  auto first = open_named(before);
  auto second = open_named(after);
  return compare_candidates(context, std::move(first), std::move(second));
}

}  // namespace

void add_compare(Command& all) {
  auto command = all.command(compare_entry.name, compare_entry.what);
  const auto arguments = std::make_shared<Arguments>();
  const auto names = std::make_shared<std::pair<std::string, std::string>>();
  command.option("one", names->first, "a candidate, as for verify: the model before").required();
  command.option("other", names->second, "a candidate, as for verify: the model now").required();
  add_running_options(command, *arguments);
  add_probe_options(command, *arguments);
  add_bundle_option(command, *arguments);
  command.footer(kCompareHelp);
  command.runs([arguments, names](const CommandContext& command_context) {
    return run_compare(*arguments, names->first, names->second, command_context);
  });
}

}  // namespace plumbline
