#include "harness/cli/campaign_command.hpp"
#include "harness/cli/commands.hpp"
#include "harness/cli/experiment_command.hpp"
#include "harness/cli/text_command.hpp"

namespace plumbline {

void add_commands(Command& all) {
  add_text_commands(all);
  add_experiments(all);
  add_campaign(all);
}

}  // namespace plumbline
