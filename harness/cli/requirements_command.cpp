#include "harness/cli/commands.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <catch2/catch_test_case_info.hpp>
#include <catch2/interfaces/catch_interfaces_registry_hub.hpp>
#include <catch2/interfaces/catch_interfaces_testcase.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness/catalogue/defect_catalogue.hpp"
#include "harness/catalogue/requirement_list.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"
#include "harness/system/output.hpp"

namespace plumbline {
namespace {

constexpr const char* kHelp =
    "Lists every requirement with its level, tests and defects. `plumbline requirements ID` shows the\n"
    "source of one, its tests (file and line) and the known defects that fail it.\n"
    "Exit status: 0 each has a test, and a defect that fails it or a stated reason why none does;\n"
    "             1 some do not, and are named; 2 no such requirement.";

// A requirement with its tests, and with the defects that fail it.
struct Traced {
  const RequirementList::Entry* entry = nullptr;
  std::vector<std::string> tests;  // "suites/kv_cache.cpp:20"
  std::vector<const Defect*> failed_by;
  std::string why_no_defect;  // where none fails it
};

struct Traces {
  RequirementList list;
  std::vector<Defect> catalogue;
  std::vector<Traced> all;            // in the specification's order
  std::vector<std::string> problems;  // what is not traced, a sentence each
};

std::string place_of(const Catch::TestCaseInfo& test) {
  const std::string file = test.lineInfo.file;
  const auto folder = file.rfind("suites/");
  return fmt::format("{}:{}", folder == std::string::npos ? file : file.substr(folder), test.lineInfo.line);
}

// nullptr: no such requirement.
Traced* find(Traces& traces, const std::string& id) {
  const auto found = std::find_if(traces.all.begin(), traces.all.end(),
                                  [&](const Traced& one) { return one.entry->requirement.id == id; });
  return found == traces.all.end() ? nullptr : &*found;
}

void trace_tests(Traces& traces) {
  for (const auto* test : Catch::getRegistryHub().getTestCaseRegistry().getAllInfos()) {
    bool any = false;
    for (const auto& tag : test->tags) {
      auto* traced = find(traces, static_cast<std::string>(tag.original));
      if (traced == nullptr) continue;
      traced->tests.push_back(place_of(*test));
      any = true;
    }
    if (!any)
      traces.problems.push_back(fmt::format("the test at {} belongs to no requirement", place_of(*test)));
  }
  for (const auto& one : traces.all)
    if (one.tests.empty())
      traces.problems.push_back(one.entry->requirement.id + " has no test: nothing looks at it");
}

void trace_defects(Traces& traces, const std::filesystem::path& fixtures) {
  for (const auto& defect : traces.catalogue)
    for (const auto& id : defect.seen_by) {
      auto* traced = find(traces, id);
      if (traced == nullptr)
        traces.problems.push_back(
            fmt::format("fixtures/defects.json says that {} fails {}, which is no requirement", defect.name,
                        printable(id, 40)));
      else
        traced->failed_by.push_back(&defect);
    }
  const auto settings = parse_json(read_text(fixtures / "campaign.json", 1 << 20), "fixtures/campaign.json");
  for (const auto& exception : settings.at("not_failed_by_defects")) {
    const auto id = exception.at("name").get<std::string>();
    auto* traced = find(traces, id);
    if (traced == nullptr)
      traces.problems.push_back(fmt::format(
          "fixtures/campaign.json gives a reason for {}, which is no requirement", printable(id, 40)));
    else
      traced->why_no_defect = exception.at("reason").get<std::string>();
  }
  for (const auto& one : traces.all) {
    const auto& id = one.entry->requirement.id;
    if (one.failed_by.empty() && one.why_no_defect.empty())
      traces.problems.push_back(id + " is failed by no known defect: nobody has seen its test fail");
    if (!one.failed_by.empty() && !one.why_no_defect.empty())
      traces.problems.push_back(
          fmt::format("{} is failed by {}, and fixtures/campaign.json says that nothing does", id,
                      one.failed_by.front()->name));
  }
}

std::unique_ptr<Traces> trace(const std::filesystem::path& fixtures) {
  auto traces = std::make_unique<Traces>();
  traces->list = read_requirements(fixtures / "requirements.json");
  traces->catalogue = read_catalogue(fixtures);
  for (const auto& entry : traces->list.entries) traces->all.push_back({&entry, {}, {}, {}});
  trace_tests(*traces);
  trace_defects(*traces, fixtures);
  return traces;
}

void list(const Traces& traces) {
  std::size_t tests = 0, failed = 0;
  for (const auto& chapter : traces.list.chapters) {
    print_out("{} {}\n", chapter.number, chapter.title);
    for (const auto& [entry, places, failed_by, why] : traces.all) {
      if (entry->requirement.chapter != chapter.number) continue;
      tests += places.size();
      failed += failed_by.empty() ? 0 : 1;
      const auto counted = [](std::size_t count, const char* what) {
        return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
      };
      print_out("  {:<8}{:<7}{:<8} {:<12}{}\n", entry->requirement.id,
                reports::to_string(entry->requirement.level), counted(places.size(), "test"),
                counted(failed_by.size(), "defect"), entry->requirement.statement);
    }
    print_out("\n");
  }
  print_out(
      "{} requirements, {} tests, {} defects; {} requirements are failed by a defect, {} by none and say "
      "why\n",
      traces.all.size(), tests, traces.catalogue.size(), failed,
      std::count_if(traces.all.begin(), traces.all.end(),
                    [](const Traced& one) { return one.failed_by.empty() && !one.why_no_defect.empty(); }));
}

void tell(const Traced& traced) {
  const auto& [entry, tests, failed_by, why] = traced;
  const auto& requirement = entry->requirement;
  print_out("{} ({})\n  {}\n\n", requirement.id, reports::to_string(requirement.level),
            requirement.statement);
  print_out("  source          {}\n  applies to      {}{}\n", requirement.source,
            fmt::join(entry->applicable, ", "),
            entry->needs.empty() ? "" : fmt::format(", with: {}", fmt::join(entry->needs, ", ")));
  print_out("  tested at       {}\n", tests.empty() ? "nowhere" : fmt::format("{}", fmt::join(tests, ", ")));
  if (failed_by.empty())
    print_out("  failed by       no defect: {}\n", why.empty() ? "and nothing says why" : why);
  std::size_t longest = 0;
  for (const auto* defect : failed_by) longest = std::max(longest, defect->name.size());
  for (const auto* defect : failed_by)
    print_out("  {:<15} {:<{}}  {}\n", defect == failed_by.front() ? "failed by" : "", defect->name, longest,
              defect->departure);
  print_out("\n  ./plumbline verify CANDIDATE --only {}\n", requirement.chapter);
}

int show(const std::string& id, const CommandContext& command_context) {
  const auto traces = trace(command_context.data / "fixtures");
  if (!id.empty()) {
    const auto* traced = find(*traces, id);
    if (traced == nullptr)
      throw InputError(
          fmt::format("requirements: there is no requirement '{}'; `plumbline requirements` lists them",
                      printable(id, 40)));
    tell(*traced);
    return 0;
  }
  list(*traces);
  for (const auto& problem : traces->problems) print_out("! {}\n", problem);
  return traces->problems.empty() ? 0 : 1;
}

}  // namespace

void add_requirements(Command& all) {
  auto command = all.command(requirements_entry.name, requirements_entry.what);
  const auto id = std::make_shared<std::string>();
  command.option("id", *id, "a requirement to show");
  command.footer(kHelp);
  command.runs([id](const CommandContext& command_context) { return show(*id, command_context); });
}

}  // namespace plumbline
