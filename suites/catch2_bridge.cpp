#include "suites/catch2_bridge.hpp"

#include <catch2/catch_session.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#include <catch2/reporters/catch_reporter_streaming_base.hpp>

namespace plumbline {
namespace {

struct Current {
  Subject* subject = nullptr;
  const Progress* progress = nullptr;
};
Current current;

// The recorder has what there is to say.
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
  current = {&subject, &progress};
  session.run();
  current = {};
}

void judge_the_subject_of_this_run(const char* id, const char* title, void (*look)(Subject&)) {
  auto& subject = *current.subject;
  run_requirement(subject.recorder(), *current.progress, id, title, [&] { look(subject); });
}

}  // namespace plumbline
