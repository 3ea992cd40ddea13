// `plumbline campaign`: what the suites see, measured.
#pragma once

#include "harness/cli/command.hpp"

namespace plumbline {

void add_campaign(Command& all);

}  // namespace plumbline
