#include "harness/cli/commands.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "harness/campaign/campaign.hpp"
#include "harness/catalogue/requirement_list.hpp"
#include "harness/cli/progress.hpp"
#include "harness/model/device.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"
#include "harness/system/output.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

struct CampaignArguments {
  std::vector<std::string> names;
  std::string out = "out/campaign";
  std::uint32_t seed = 1;
  int jobs = 0;  // 0: as many as there are processors
  bool small_alone = false, no_diagnosis = false;
};

constexpr const char* kHelp =
    "Checks that every known defect fails the suites and every honest variant of the reference passes\n"
    "them: all of them on 'tiny', a tenth at full size. Reports which requirement sees which defect and\n"
    "how clearly, what the diagnosis names, and which requirement no defect fails.\n"
    "Exit status: 0 all as expected; 1 a defect passed, a variant failed or no defect fails some\n"
    "             requirement; 2 could not be done.";

int run(const CampaignArguments& arguments, const CommandContext& command_context) {
  CampaignOptions options;
  options.fixtures = command_context.data / "fixtures";
  options.program = fs::read_symlink("/proc/self/exe").parent_path() / "plumbline";
  options.out = arguments.out;
  options.diagnosing = !arguments.no_diagnosis;
  options.seed = arguments.seed;
  options.cases = plan_campaign(options.fixtures, arguments.names, !arguments.small_alone);
  options.jobs = arguments.jobs > 0 ? arguments.jobs
                                    : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  make_writable(options.out, "--out");
  const DirectoryLock lock(options.out, "--out");
  print_out("{} runs of the suites, {} at a time\n", options.cases.size(), options.jobs);
  std::fflush(stdout);
  Progress progress;
  auto document = run_campaign(options, [&](std::size_t done, std::size_t all) {
    const double share = static_cast<double>(done) / static_cast<double>(all);
    progress.tell(share, fmt::format(", {} of {} runs", done, all));
  });
  document["program"] = command_context.version;
  document["command"] = printable(command_context.command, 2000);
  document["device"] = device_name(at::kCPU);
  document["complete"] = arguments.names.empty();
  document["requirements"] = Json::array();
  for (const auto& entry : read_requirements(options.fixtures / "requirements.json").entries)
    document["requirements"].push_back(entry.requirement.id);
  conclude_campaign(
      document, parse_json(read_text(options.fixtures / "campaign.json", 1 << 20), "fixtures/campaign.json"));
  for (const auto& [file, content] :
       {std::pair<std::string, std::string>{"result.json", document.dump({.indent = 1}) + "\n"},
        {"matrix.svg", campaign_matrix(document)},
        {"report.md", campaign_report(document)}})
    write_atomically(options.out / file, content);
  print_out("{}\n   {}\n   {}\n", campaign_summary(document), printable((options.out / "report.md").string()),
            printable((options.out / "result.json").string()));
  return document["conclusion"]["status"].get<int>();
}

}  // namespace

void add_campaign(Command& all) {
  auto command = all.command(campaign_entry.name, campaign_entry.what);
  const auto arguments = std::make_shared<CampaignArguments>();
  command.option("names", arguments->names, "defects, or variant:NAME (default: all)");
  command.option("--out", arguments->out, "directory for the report, the matrix and every run's result")
      .shows_default();
  command.option("--jobs", arguments->jobs, "runs at a time (default: one for each processor)")
      .between(1, 1024);
  command.option("--seed", arguments->seed, "the seed of weights and tokens").shows_default();
  command.flag("--small-alone", arguments->small_alone, "leave out the runs at full size");
  command.flag("--no-diagnosis", arguments->no_diagnosis, "do not diagnose the defects");
  command.footer(kHelp);
  command.runs(
      [arguments](const CommandContext& command_context) { return run(*arguments, command_context); });
}

}  // namespace plumbline
