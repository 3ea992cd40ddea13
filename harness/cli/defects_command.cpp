#include "harness/cli/commands.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "harness/candidate/variants.hpp"
#include "harness/catalogue/defect_catalogue.hpp"
#include "harness/catalogue/requirement_list.hpp"
#include "harness/model/departures/departures.hpp"
#include "harness/model/text_placeholders.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/output.hpp"

namespace plumbline {
namespace {

constexpr const char* kHelp =
    "`plumbline verify defect:NAME` judges the reference model with this defect; + joins several\n"
    "defects. NAME=NUMBER gives the defect another number, if it has one. NAME@3 puts it in layer 3\n"
    "alone; NAME@training, NAME@evaluation, NAME@cache, NAME@no-cache, NAME@padded and NAME@unpadded put it "
    "in\n"
    "one mode alone.\n"
    "Exit status: 0 shown; 2 no such defect.";

void list(const std::vector<Defect>& catalogue, const std::filesystem::path& fixtures) {
  std::size_t longest = 0;
  for (const auto& defect : catalogue) longest = std::max(longest, defect.name.size());
  for (const auto& chapter : read_requirements(fixtures / "requirements.json").chapters) {
    bool first = true;
    for (const auto& defect : catalogue) {
      if (defect.chapter != chapter.number) continue;
      if (std::exchange(first, false)) print_out("{} {}\n", chapter.number, chapter.title);
      print_out("  {:{}}  {:6}  {}\n", defect.name, longest, defect.severity, defect.departure);
    }
    if (!first) print_out("\n");
  }
  print_out("Honest variants, which have to pass everything\n");
  for (const auto& [name, what] : variants()) print_out("  variant:{:{}}  {}\n", name, longest - 1, what);
  print_out("\n{} defects and {} variants; `plumbline defects NAME` tells more about a defect\n",
            catalogue.size(), variants().size());
}

void tell(const Defect& defect, const Specification& specification) {
  print_out("{} ({})\n  {}\n\n", defect.name, defect.severity, defect.departure);
  print_out("  arises from     {}\n  looks like      {}\n  seen by         {}\n", defect.arises,
            defect.looks_like, fmt::join(defect.seen_by, ", "));
  if (!defect.stage.kind.empty()) print_out("  first wrong     {}\n", defect.stage);
  if (const auto* number = departure_parameter(defect.name); number != nullptr)
    print_out("  other numbers   {}=NUMBER: {}\n", defect.name, describe(*number, "NUMBER"));
  print_out("  figures of      {}\n", printable(specification.name));
  print_out("\n{}\n\n{}\n\n  ./plumbline verify defect:{}\n", defect.advice, defect.advice_in_chinese,
            defect.name);
}

int show(const std::string& name, const std::string& specification, const CommandContext& command_context) {
  const auto fixtures = command_context.data / "fixtures";
  const auto catalogue = read_catalogue(fixtures);
  if (name.empty()) {
    list(catalogue, fixtures);
    return 0;
  }
  const auto found = std::find_if(catalogue.begin(), catalogue.end(), [&](const Defect& defect) {
    return defect.name == name.substr(0, name.find_first_of("=@"));
  });
  if (found == catalogue.end())
    throw InputError(
        fmt::format("defects: there is no defect '{}'; `plumbline defects` lists them", printable(name, 60)));
  const auto judged_by = find_specification(specification, fixtures / "specifications");
  tell(fill_in_advice(*found, judged_by), judged_by);
  return 0;
}

}  // namespace

void add_defects(Command& all) {
  auto command = all.command(defects_entry.name, defects_entry.what);
  const auto name = std::make_shared<std::string>();
  command.option("name", *name, "a defect to explain");
  const auto specification = std::make_shared<std::string>("minimind2-small");
  command.option("--spec", *specification, "NAME or FILE of the specification whose figures the advice uses")
      .shows_default();
  command.footer(kHelp);
  command.runs([name, specification](const CommandContext& command_context) {
    return show(*name, *specification, command_context);
  });
}

}  // namespace plumbline
