#include "harness/cli/commands.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>

#include "harness/candidate/live.hpp"
#include "harness/cli/arguments.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/output.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCheckHelp =
    "Also shows the parameters that the mapping leaves over.\n"
    "Exit status: 0 the adapter works; 2 it does not: it cannot be run, does not hold the weights it was\n"
    "             given, or answers one question in two ways.";

int run_adapter_init(const std::string& file, const fs::path& data) {
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(file, ignored)))
    throw InputError(fmt::format("{}: exists already; name a new file", printable(file)));
  if (!file.ends_with(".py"))
    throw InputError(fmt::format("{}: expected a file name that ends in .py", printable(file)));
  write_atomically(file, read_text(script_directory(data) / "adapter_template.py", 1 << 20));
  print_out("{0}: written; fill it in, then run `plumbline adapter check {0}`\n", file);
  return 0;
}

int run_adapter_check(const Arguments& arguments, const CommandContext& command_context) {
  const auto [data, specification, device, type] = prepare_run(arguments, command_context.data);
  if (!is_program(arguments.candidate))
    throw InputError(fmt::format("{}: is no live model; name an adapter (.py) or 'exec: COMMAND'",
                                 printable(arguments.candidate)));
  for (const auto& line : try_adapter(live_options(arguments, data, type, device), specification))
    print_out("{}\n", line);
  return 0;
}

}  // namespace

void add_adapter(Command& all) {
  auto command = all.command(adapter_entry.name, adapter_entry.what);
  command.required();
  command.footer("Exit status: 0 done; 2 could not be done.");
  auto beginning = command.command("init", "Write a commented adapter to fill in");
  const auto file = std::make_shared<std::string>();
  beginning.option("file", *file, "a new .py file").required();
  beginning.footer(
      "Exit status: 0 written; 2 could not be written: the file exists, or its name does not end in .py.");
  beginning.runs([file](const CommandContext& command_context) {
    return run_adapter_init(*file, command_context.data);
  });
  auto trying = command.command("check", "Try an adapter alone, show what it declares and propose a mapping");
  const auto arguments = std::make_shared<Arguments>();
  trying.option("adapter", arguments->candidate, "an adapter (.py), or 'exec: COMMAND'").required();
  add_running_options(trying, *arguments);
  trying.footer(kCheckHelp);
  trying.runs([arguments](const CommandContext& command_context) {
    return run_adapter_check(*arguments, command_context);
  });
}

}  // namespace plumbline
