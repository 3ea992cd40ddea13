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

int run_adapter_init(const std::string& file, const fs::path& data) {
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(file, ignored)))
    throw InputError(fmt::format("{}: is there already; name a new file", printable(file)));
  if (!file.ends_with(".py"))
    throw InputError(fmt::format("{}: expected a name that ends in .py", printable(file)));
  write_atomically(file, read_text(script_directory(data) / "adapter_template.py", 1 << 20));
  print_out("{0}: written; fill it in, then `plumbline adapter check {0}`\n", file);
  return 0;
}

int run_adapter_check(const Arguments& arguments, const Circumstance& circumstance) {
  const auto [data, specification, device, type] = prepare(arguments, circumstance.data);
  if (!is_program(arguments.candidate))
    throw InputError(
        fmt::format("{}: expected an adapter (.py) or 'exec: COMMAND'", printable(arguments.candidate)));
  for (const auto& line : try_adapter(live_options(arguments, data, type, device), specification))
    print_out("{}\n", line);
  return 0;
}

}  // namespace

void add_adapter(Command& all) {
  auto command = all.command("adapter", "Write or try an adapter, what connects a live model");
  command.required();
  auto beginning = command.command("init", "Write a commented adapter to fill in");
  const auto file = std::make_shared<std::string>();
  beginning.option("file", *file, "a new .py file").required();
  beginning.runs(
      [file](const Circumstance& circumstance) { return run_adapter_init(*file, circumstance.data); });
  auto trying = command.command(
      "check", "Try an adapter alone: what it declares, what its mapping leaves over; proposes a mapping");
  const auto given = std::make_shared<Arguments>();
  trying.option("adapter", given->candidate, "an adapter (.py), or 'exec: COMMAND'").required();
  add_running_options(trying, *given);
  trying.runs([given](const Circumstance& circumstance) { return run_adapter_check(*given, circumstance); });
}

}  // namespace plumbline
