// The commands that read text and no model: `text` and `log`.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace plumbline {

struct Circumstance {
  std::string command;  // as it was typed
  std::string version;
  std::filesystem::path data;
};

// Adds them to the command line. Where one of them is given, `chosen` runs it and returns the exit status.
void add_text_commands(CLI::App& app, std::function<int(const Circumstance&)>& chosen);

// Refuses an output that cannot be written, or that is one of the inputs or lies in one. Empty: none is
// wanted. Errors: InputError.
void require_output(const std::string& file, const std::string& option,
                    const std::vector<std::string>& inputs);

}  // namespace plumbline
