#include "harness/cli/commands.hpp"

namespace plumbline {

void add_commands(Command& all) {
  add_verify(all);
  add_inspect(all);
  add_record(all);
  add_compare(all);
  add_play(all);
  add_adapter(all);
  add_sample(all);
  add_requirements(all);
  add_defects(all);
  add_claims(all);
  add_export(all);
}

}  // namespace plumbline
