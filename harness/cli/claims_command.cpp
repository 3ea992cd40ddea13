#include "harness/cli/commands.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/candidate/reference.hpp"
#include "harness/cli/arguments.hpp"
#include "harness/system/output.hpp"
#include "harness/system/visible.hpp"
#include "suites/catch2_bridge.hpp"

namespace plumbline {
namespace {

// Prints the findings on the claims of chapter 11. Returns 0, or 3 where one could not be decided.
int run_claims(const std::filesystem::path& data) {
  constexpr int chapter = 11, width = 96;
  const auto setup = prepare_run({}, data);
  const auto reference = make_reference("reference", {setup.specification, {}}, setup.type, at::kCPU);
  Recorder recorder(read_requirements(data / "fixtures" / "requirements.json"), "reference");
  Subject subject(*reference, setup.specification, std::nullopt, data / "fixtures", recorder);
  std::vector<std::string> ids;
  for (const auto& claim : of_chapter(recorder, chapter)) ids.push_back(claim.id);
  judge(subject, ids, {});
  bool all_hold = true;
  for (const auto& claim : of_chapter(recorder, chapter)) {
    print_out("{}  {}\n", claim.id, claim.statement);
    const auto text =
        claim.verdict == reports::Verdict::pass
            ? claim.finding
            : fmt::format("not decided: {}",
                          claim.reason.empty() ? claim.finding : reports::sentence_of(claim.reason));
    for (const auto& line : reports::wrap(text, width)) print_out("         {}\n", line);
    all_hold = all_hold && claim.verdict == reports::Verdict::pass;
  }
  return all_hold ? 0 : 3;
}

}  // namespace

void add_claims(Command& all) {
  auto command = all.command(claims_entry.name, claims_entry.what);
  command.footer(
      "Exit status: 0 every claim is decided; 2 bad usage or broken data; 3 a claim could not be decided.");
  command.runs([](const CommandContext& command_context) { return run_claims(command_context.data); });
}

}  // namespace plumbline
