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

int run_compare(Arguments arguments, const std::string& one, const std::string& other,
                const Circumstance& circumstance) {
  const auto prepared = prepare(arguments, circumstance.data);
  const auto circumstances = circumstances_of(arguments, prepared, circumstance);
  const auto open = [&](const std::string& name) {
    arguments.candidate = name;
    return open_candidate(arguments, prepared);
  };
  auto first = open(one);
  auto second = open(other);
  return compare_candidates(circumstances, std::move(first), std::move(second));
}

}  // namespace

void add_compare(Command& all) {
  auto command =
      all.command("compare", "Compare two candidates: did a refactor change anything? Neither is judged");
  const auto given = std::make_shared<Arguments>();
  const auto names = std::make_shared<std::pair<std::string, std::string>>();
  command.option("one", names->first, "a candidate, as for verify: the model before").required();
  command.option("other", names->second, "a candidate, as for verify: the model now").required();
  add_running_options(command, *given);
  add_bundle_option(command, *given);
  command.footer(kCompareHelp);
  command.runs([given, names](const Circumstance& circumstance) {
    return run_compare(*given, names->first, names->second, circumstance);
  });
}

}  // namespace plumbline
