// `plumbline requirements`: what is required, where it comes from, what tests it and what makes it fail.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "harness/text_commands.hpp"

namespace plumbline {

void add_requirements(CLI::App& app, std::function<int(const Circumstance&)>& chosen);

}  // namespace plumbline
