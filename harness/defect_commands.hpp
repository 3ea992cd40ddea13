// `plumbline defects`: the catalogue, to read.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "harness/text_commands.hpp"

namespace plumbline {

void add_defects(CLI::App& app, std::function<int(const Circumstance&)>& chosen);

}  // namespace plumbline
