#include "harness/cli/commands.hpp"

namespace plumbline {

void add_commands(Command& all) {
  add_experiments(all);
  add_campaign(all);
}

}  // namespace plumbline
