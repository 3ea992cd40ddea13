// The command of a run, changed into that of another.
#pragma once

#include <set>
#include <string>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// The command without these options ("--out") and their values; what is quoted is part of one word.
std::string command_without(const std::string& command, const std::set<std::string>& options);

// The command that runs this chapter alone; the whole command where that cannot be said.
std::string command_for(const Header& header, int chapter);

// Advice speaks of `plumbline verify MODEL`: the same with the command that judged this one, where somebody's
// own model was judged.
std::string for_candidate(const Header& header, const std::string& advice);

}  // namespace plumbline::reports
