#include "harness/cli/command.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/output.hpp"

namespace plumbline {
namespace {

// The action of the command that was named.
std::function<int(const CommandContext&)> chosen;

std::map<std::string, std::string> programs;  // of commands that another program runs

[[noreturn]] void hand_over(const std::string& command, const std::string& name, char** values) {
  const auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
  execv(program.c_str(), values);
  throw InputError(fmt::format("{}: cannot start {}: {}; build the target {} or install Plumbline again",
                               command, program.string(), std::strerror(errno), name));
}

// The command line, quoted so that a shell reads it back.
std::string command_line(int count, char** values) {
  std::vector<std::string> words{"plumbline"};
  for (int i = 1; i < count; ++i) {
    const std::string word = values[i];
    const bool plain =
        !word.empty() &&
        word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:+=,") ==
            std::string::npos;
    std::string quoted = "'";
    for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    words.push_back(plain ? word : quoted + "'");
  }
  return fmt::format("{}", fmt::join(words, " "));
}

}  // namespace

Option& Option::required() {
  option_->required();
  return *this;
}
Option& Option::shows_default() {
  option_->capture_default_str();
  return *this;
}
Option& Option::hidden() {
  option_->group("");
  return *this;
}
Option& Option::separated_by_commas() {
  option_->delimiter(',');
  return *this;
}
Option& Option::one_of(const std::vector<std::string>& words) {
  option_->check(CLI::IsMember(words));
  return *this;
}
Option& Option::between(int least, int most) {
  option_->check(CLI::Range(least, most));
  return *this;
}
Option& Option::between(std::uint32_t least, std::uint32_t most) {
  option_->check(CLI::Range(least, most));
  return *this;
}
Option& Option::between(std::int64_t least, std::int64_t most) {
  option_->check(CLI::Range(least, most));
  return *this;
}
Option& Option::between(double least, double most) {
  option_->check(CLI::Range(least, most));
  return *this;
}
Option& Option::not_empty(const std::string& complaint) {
  option_->check([complaint](const std::string& value) { return value.empty() ? complaint : std::string(); });
  return *this;
}
Option& Option::excludes(const std::string& other) {
  option_->excludes(other);
  return *this;
}

Command Command::command(const std::string& name, const std::string& description) {
  return Command(app_->add_subcommand(name, description));
}
Command& Command::required() {
  app_->require_subcommand(1);
  return *this;
}
Command& Command::footer(const std::string& text) {
  app_->footer(text);
  return *this;
}
Option Command::option(const std::string& names, std::string& value, const std::string& description) {
  return Option(app_->add_option(names, value, description));
}
Option Command::option(const std::string& names, std::vector<std::string>& value,
                       const std::string& description) {
  return Option(app_->add_option(names, value, description));
}
Option Command::option(const std::string& names, std::vector<std::uint32_t>& value,
                       const std::string& description) {
  return Option(app_->add_option(names, value, description));
}
Option Command::option(const std::string& names, int& value, const std::string& description) {
  return Option(app_->add_option(names, value, description));
}
Option Command::option(const std::string& names, std::uint32_t& value, const std::string& description) {
  return Option(app_->add_option(names, value, description));
}
Option Command::option(const std::string& names, std::int64_t& value, const std::string& description) {
  return Option(app_->add_option(names, value, description));
}
Option Command::option(const std::string& names, double& value, const std::string& description) {
  return Option(app_->add_option(names, value, description));
}
Option Command::option(const std::string& names, std::optional<std::uint32_t>& value,
                       const std::string& description) {
  return Option(app_->add_option(names, value, description));
}
void Command::flag(const std::string& names, bool& value, const std::string& description) {
  app_->add_flag(names, value, description);
}
void Command::external(const std::string& name, const std::string& description, const std::string& program) {
  app_->add_subcommand(name, description);
  programs[name] = program;
}
void Command::runs(std::function<int(const CommandContext&)> action) {
  app_->callback([action = std::move(action)] { chosen = action; });
}

int run_command_line(int count, char** values, const std::string& version,
                     const std::function<std::filesystem::path()>& data, const std::string& footer,
                     const std::function<void(Command&)>& add) {
  CLI::App app{
      "Plumbline judges whether a model has the architecture it claims, and finds where it first goes wrong.",
      "plumbline"};
  app.require_subcommand(1);
  app.set_version_flag("--version", version);
  app.footer(footer);
  Command all(&app);
  add(all);
  if (count > 1 && values[1][0] != '-' &&
      app.get_subcommands([&](const CLI::App* known) { return known->get_name() == values[1]; }).empty())
    throw InputError(fmt::format("unknown command '{}'; see plumbline --help", printable(values[1], 60)));
  if (const auto external = count > 1 ? programs.find(values[1]) : programs.end(); external != programs.end())
    hand_over(external->first, external->second, values);
  try {
    app.parse(count, values);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    print_error("plumbline: {}; see plumbline --help\n", printable(error.what(), 2000));
    return 2;
  }
  return chosen({command_line(count, values), version, data()});
}

}  // namespace plumbline
