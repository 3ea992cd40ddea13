// Commands and their options. Only command.cpp includes the library that reads the command line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace plumbline {

// The context that every command gets.
struct CommandContext {
  std::string command;  // as it was typed
  std::string version;
  std::filesystem::path data;  // holds fixtures/ and golden/
};

// An option or an argument; the initial value of its variable is the default.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}
  Option& required();
  Option& shows_default();  // in the help
  Option& hidden();         // not in the help
  Option& separated_by_commas();
  Option& one_of(const std::vector<std::string>& words);
  Option& between(int least, int most);
  Option& between(std::uint32_t least, std::uint32_t most);
  Option& between(std::int64_t least, std::int64_t most);
  Option& between(double least, double most);
  Option& not_empty(const std::string& complaint);  // "is empty; name a directory"
  Option& excludes(const std::string& other);

 private:
  CLI::Option* option_;
};

class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}
  Command command(const std::string& name, const std::string& description);
  // Requires one of its subcommands.
  Command& required();
  Command& footer(const std::string& text);
  // The value has to outlive the command line. `names`: "file" or "-o,--output".
  Option option(const std::string& names, std::string& value, const std::string& description);
  Option option(const std::string& names, std::vector<std::string>& value, const std::string& description);
  Option option(const std::string& names, std::vector<std::uint32_t>& value, const std::string& description);
  Option option(const std::string& names, int& value, const std::string& description);
  Option option(const std::string& names, std::uint32_t& value, const std::string& description);
  Option option(const std::string& names, std::int64_t& value, const std::string& description);
  Option option(const std::string& names, double& value, const std::string& description);
  Option option(const std::string& names, std::optional<std::uint32_t>& value,
                const std::string& description);
  void flag(const std::string& names, bool& value, const std::string& description);
  // Adds a command that another program, beside this one, implements.
  void external(const std::string& name, const std::string& description, const std::string& program);
  // `action` returns the exit status.
  void runs(std::function<int(const CommandContext&)> action);

 private:
  CLI::App* app_;
};

// Reads the command line, runs the chosen command and returns its exit status, or 2 for bad usage. `add` adds
// the commands. Errors: InputError, and those of the command.
int run_command_line(int count, char** values, const std::string& version,
                     const std::function<std::filesystem::path()>& data, const std::string& footer,
                     const std::function<void(Command&)>& add);

}  // namespace plumbline
