#include "suites/catch2_bridge.hpp"

#include <catch2/catch_session.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#include <catch2/reporters/catch_reporter_streaming_base.hpp>

namespace plumbline {
namespace {

struct JudgedRun {
  Subject* subject = nullptr;
  const Progress* progress = nullptr;
};
JudgedRun current_run;

// Prints nothing: the recorder has the results.
class Silent : public Catch::StreamingReporterBase {
 public:
  using StreamingReporterBase::StreamingReporterBase;
  static std::string getDescription() { return "says nothing"; }
};
CATCH_REGISTER_REPORTER("silent", Silent)

}  // namespace

void judge(Subject& subject, const std::vector<std::string>& ids, const Progress& progress) {
  if (ids.empty()) return;
  static Catch::Session session;  // Catch2 allows one a process
  Catch::ConfigData config;
  std::string tags;
  for (const auto& id : ids) tags += (tags.empty() ? "[" : ",[") + id + "]";
  config.testsOrTags = {tags};
  config.reporterSpecifications.push_back(Catch::ReporterSpec("silent", {}, {}, {}));
  session.useConfigData(config);
  current_run = {&subject, &progress};
  session.run();
  current_run = {};
}

void judge_requirement(const char* id, const char* title, void (*look)(Subject&)) {
  auto& subject = *current_run.subject;
  run_requirement(subject.recorder(), *current_run.progress, id, title, subject.probes().seed,
                  [&] { look(subject); });
}

}  // namespace plumbline
