// Changes the command of a run into one for another run.
#pragma once

#include <set>
#include <string>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// The command without these options ("--out") and their values; a quoted text is part of one word.
std::string command_without(const std::string& command, const std::set<std::string>& options);

// The command that runs this chapter alone; for other commands than verify, the command itself.
std::string command_for(const Header& header, int chapter);

// The advice, with the command that judged this model in the place of `plumbline verify MODEL`. Advice on our
// own models stays as it is.
std::string for_candidate(const Header& header, const std::string& advice);

}  // namespace plumbline::reports
