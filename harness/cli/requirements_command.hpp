// `plumbline requirements`: what is required, where it comes from, what tests it and what makes it fail.
#pragma once

#include "harness/cli/command.hpp"

namespace plumbline {

void add_requirements(Command& all);

}  // namespace plumbline
