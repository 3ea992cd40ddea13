// `plumbline report`: documents rendered again, merged, compared and checked.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "harness/text_commands.hpp"

namespace plumbline {

void add_report(CLI::App& app, std::function<int(const Circumstance&)>& chosen);

}  // namespace plumbline
