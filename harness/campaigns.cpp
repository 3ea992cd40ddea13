#include "harness/campaigns.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "harness/campaign/campaign.hpp"
#include "harness/model/device.hpp"
#include "harness/evidence/recorder.hpp"
#include "harness/cli/progress.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

struct CampaignArguments {
  std::vector<std::string> names;
  std::string out = "out/campaign";
  int jobs = 0;  // 0: as many as there are processors
  bool small_alone = false, no_diagnosis = false;
};

constexpr const char* kHelp =
    "Every known defect has to fail the suites and every honest variant of the reference has to pass them: "
    "on\n"
    "'tiny' all of them, and a tenth at full size. Says which requirement sees what, how plainly, what the\n"
    "diagnosis names, and which requirement nothing can fail.\n"
    "Exit status: 0 as it should be; 1 a defect passed, a variant failed or a requirement is idle; 2 could "
    "not be\n"
    "done.";

int run(const CampaignArguments& arguments, const Circumstance& circumstance) {
  CampaignOptions options;
  options.fixtures = circumstance.data / "fixtures";
  options.program = fs::read_symlink("/proc/self/exe");
  options.out = arguments.out;
  options.diagnosing = !arguments.no_diagnosis;
  options.cases = plan_campaign(options.fixtures, arguments.names, !arguments.small_alone);
  options.jobs = arguments.jobs > 0 ? arguments.jobs
                                    : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  make_writable(options.out, "--out");
  const DirectoryLock lock(options.out, "--out");
  fmt::print("{} runs of the suites, {} at a time\n", options.cases.size(), options.jobs);
  std::fflush(stdout);
  Progress progress;
  auto document = run_campaign(options, [&](std::size_t done, std::size_t all) {
    const double share = static_cast<double>(done) / static_cast<double>(all);
    progress.tell(share, fmt::format(", {} of {} runs", done, all));
  });
  document["program"] = circumstance.version;
  document["command"] = printable(circumstance.command, 2000);
  document["device"] = device_name(at::kCPU);
  document["complete"] = arguments.names.empty();
  document["requirements"] = nlohmann::json::array();
  for (const auto& entry : read_requirements(options.fixtures / "requirements.json").entries)
    document["requirements"].push_back(entry.requirement.id);
  conclude_campaign(
      document, parse_json(read_text(options.fixtures / "campaign.json", 1 << 20), "fixtures/campaign.json"));
  for (const auto& [file, content] :
       {std::pair<std::string, std::string>{"result.json", document.dump(1) + "\n"},
        {"matrix.svg", campaign_matrix(document)},
        {"report.md", campaign_report(document)}})
    write_atomically(options.out / file, content);
  fmt::print("{}\n   {}\n   {}\n", campaign_summary(document),
             printable((options.out / "report.md").string()),
             printable((options.out / "result.json").string()));
  return document["conclusion"]["status"].get<int>();
}

}  // namespace

void add_campaign(CLI::App& app, std::function<int(const Circumstance&)>& chosen) {
  auto* command = app.add_subcommand(
      "campaign", "Whether the suites see every known defect, and leave honest variants in peace");
  const auto given = std::make_shared<CampaignArguments>();
  command->add_option("names", given->names, "of defects, or variant:NAME (default: all)");
  command->add_option("--out", given->out, "directory for the report, the matrix and every run's result")
      ->capture_default_str();
  command->add_option("--jobs", given->jobs, "runs at a time (default: one for each processor)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--small-alone", given->small_alone, "leave out the runs at full size");
  command->add_flag("--no-diagnosis", given->no_diagnosis, "do not ask what the diagnosis names");
  command->footer(kHelp);
  command->callback([given, &chosen] {
    chosen = [given](const Circumstance& circumstance) { return run(*given, circumstance); };
  });
}

}  // namespace plumbline
