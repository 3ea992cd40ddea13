// `plumbline campaign`: what the suites see, measured.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "harness/text_commands.hpp"

namespace plumbline {

void add_campaign(CLI::App& app, std::function<int(const Circumstance&)>& chosen);

}  // namespace plumbline
