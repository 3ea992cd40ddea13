// `plumbline report`: documents rendered again, merged, compared and checked.
#pragma once

#include "harness/cli/command.hpp"

namespace plumbline {

void add_report(Command& all);

}  // namespace plumbline
