// The commands that read text and no model: `text` and `log`.
#pragma once

#include "harness/cli/command.hpp"

namespace plumbline {

void add_text_commands(Command& all);

}  // namespace plumbline
