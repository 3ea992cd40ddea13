#include "harness/cli/commands.hpp"

namespace plumbline {

void add_commands(Command& all) {
  add_verify(all);
  add_record(all);
  add_compare(all);
  add_play(all);
  add_adapter(all);
  add_sample(all);
  for (const auto& study : {text_study, log_study, experiment_study, campaign_study})
    all.external(study.name, study.what, "plumbline-studies");
  add_requirements(all);
  add_defects(all);
  add_claims(all);
  add_report(all);
  add_export(all);
}

}  // namespace plumbline
