#include "harness/cli/commands.hpp"

#include <filesystem>
#include <memory>
#include <string>

#include "harness/candidate/checkpoint.hpp"
#include "harness/system/output.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

int run_export(const std::string& specification, const std::string& directory, const fs::path& data) {
  const auto found = find_specification(specification, data / "fixtures" / "specifications");
  export_checkpoint(found, directory);
  print_out("{}: {} parameters of {} written as config.json and model.safetensors\n", directory,
            found.parameter_count(), found.title);
  return 0;
}

}  // namespace

void add_export(Command& all) {
  auto command = all.command(export_entry.name, export_entry.what);
  const auto directory = std::make_shared<std::string>();
  const auto specification = std::make_shared<std::string>("minimind2-small");
  command.option("directory", *directory, "a new or empty directory").required();
  command.option("--spec", *specification, "NAME or FILE of the specification").shows_default();
  command.footer(
      "Exit status: 0 written; 2 could not be written: no such specification, or no empty directory.");
  command.runs([=](const CommandContext& command_context) {
    return run_export(*specification, *directory, command_context.data);
  });
}

}  // namespace plumbline
