// `plumbline experiment`: what is found out by training, and not by looking at one model.
#pragma once

#include "harness/cli/command.hpp"

namespace plumbline {

void add_experiments(Command& all);

}  // namespace plumbline
