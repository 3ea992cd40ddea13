// `plumbline experiment`: what is found out by training, and not by looking at one model.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "harness/text_commands.hpp"

namespace plumbline {

void add_experiments(CLI::App& app, std::function<int(const Circumstance&)>& chosen);

}  // namespace plumbline
