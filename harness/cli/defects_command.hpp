// `plumbline defects`: the catalogue, to read.
#pragma once

#include "harness/cli/command.hpp"

namespace plumbline {

void add_defects(Command& all);

}  // namespace plumbline
