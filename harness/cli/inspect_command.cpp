#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "harness/cli/arguments.hpp"
#include "harness/cli/commands.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

constexpr const char* kHelp =
    "Nothing is judged. Exit status: 0 the model was understood; 2 it was not: the line says what is "
    "missing.";

// Becomes the Python program that reads the model, in the user's own environment.
[[noreturn]] void become_inspection(const Arguments& arguments, bool as_json,
                                    const CommandContext& command_context) {
  const auto setup = prepare_run(arguments, command_context.data);
  if (!is_program(arguments.candidate) || arguments.candidate.starts_with("exec:"))
    throw InputError(fmt::format("{}: expected a PyTorch model, FILE.py:NAME, or an adapter (.py)",
                                 printable(arguments.candidate)));
  const auto file = model_file(arguments.candidate);
  if (std::error_code ignored; !std::filesystem::exists(file, ignored))
    throw InputError(fmt::format("{}: no such file", printable(file.string())));
  std::vector<std::string> words{users_python(arguments),
                                 "-m",
                                 "plumbline.inspection",
                                 arguments.candidate,
                                 arguments.specification,
                                 "--folder",
                                 (setup.data / "fixtures" / "specifications").string()};
  if (as_json) words.emplace_back("--json");
  std::vector<char*> pointers;
  for (auto& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  setenv("PYTHONPATH", python_path(setup.data).c_str(), 1);
  execvp(pointers.front(), pointers.data());
  throw InputError(fmt::format("{}: cannot be started: {}; name another interpreter with --python",
                               printable(words.front()), std::strerror(errno)));
}

}  // namespace

void add_inspect(Command& all) {
  auto command = all.command(inspect_entry.name, inspect_entry.what);
  const auto arguments = std::make_shared<Arguments>();
  const auto as_json = std::make_shared<bool>(false);
  command
      .option("model", arguments->candidate,
              "FILE.py:NAME, a class or function that builds it; or an adapter (.py)")
      .required();
  command
      .option("--spec", arguments->specification,
              "what the model claims to be: a NAME in fixtures/specifications, or a FILE")
      .shows_default();
  command.option(
      "--python", arguments->python,
      "the interpreter that runs the model (default: that of the active environment, else python3)");
  command.flag("--json", *as_json, "print the table as JSON, with the mapping of parameters");
  command.footer(kHelp);
  command.runs([arguments, as_json](const CommandContext& command_context) -> int {
    become_inspection(*arguments, *as_json, command_context);
  });
}

}  // namespace plumbline
