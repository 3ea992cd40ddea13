#include "harness/cli/compare_candidates.hpp"

#include <fmt/format.h>

#include <chrono>

#include "harness/comparison/comparison.hpp"
#include "harness/judging/run_requirement.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "reports/terminal.hpp"

namespace plumbline {
namespace {

constexpr const char* kRequirements = "comparison.json";

void look_at_chapter(Recorder& recorder, Comparison& comparison, std::uint32_t seed,
                     const reports::Chapter& chapter, reports::Terminal& terminal) {
  const Progress progress{
      [&](const std::string& id, const std::string& title) { terminal.requirement_begin(id, title); },
      [&](const reports::Requirement& judged) { terminal.requirement_end(judged); }};
  const auto requirements = of_chapter(recorder, chapter.number);
  terminal.chapter_begin(chapter, static_cast<int>(requirements.size()));
  for (const auto& requirement : requirements) {
    if (requirement.verdict == reports::Verdict::not_applicable)
      terminal.requirement_end(requirement);
    else
      run_requirement(recorder, progress, requirement.id, requirement.statement, seed,
                      [&] { comparison.look(requirement.id); });
  }
  terminal.chapter_end();
}

reports::Localisation localised(Comparison& comparison) try {
  return comparison.localise();
} catch (const std::exception& error) {
  return {.mode = {}, .stages = {}, .situations = {}, .not_assessed = one_line(error)};
}

}  // namespace

int compare_candidates(const RunContext& context, std::unique_ptr<Candidate> before,
                       std::unique_ptr<Candidate> after) {
  using Clock = std::chrono::steady_clock;
  const auto began = Clock::now();
  for (auto* candidate : {before.get(), after.get()}) candidate->check_adapter();
  const auto fixtures = context.data / "fixtures";
  Recorder recorder(read_requirements(fixtures / kRequirements), "pair");
  Subject first(*before, context.specification, std::nullopt, fixtures, recorder, context.probes);
  Subject second(*after, context.specification, std::nullopt, fixtures, recorder, context.probes);
  const bool runs_code = first.can("code") && second.can("code");
  const auto& baseline = before->describe();
  reports::Result result;
  result.header = header_of(context, after->describe(), runs_code, kRequirements);
  result.header.baseline = {baseline.name, baseline.kind, baseline.sha256};
  for (const auto& note : baseline.notes)
    result.header.notes.push_back(fmt::format("{}: {}", baseline.name, note));
  result.chapters = recorder.chapters();
  reports::Terminal terminal(stdout);
  terminal.begin(result.header);
  Comparison comparison(first, &second);
  result.header.baseline->alone = comparison.prepare();
  for (const auto& chapter : recorder.chapters())
    look_at_chapter(recorder, comparison, context.probes.seed, chapter, terminal);
  result.requirements = recorder.requirements();
  result.plots = recorder.plots();
  if (runs_code && reports::any_failed(result)) result.localisation = localised(comparison);
  result.footer.longest_pass = recorder.longest_pass();
  result.footer.seconds = std::chrono::duration<double>(Clock::now() - began).count();
  reports::conclude(result);
  reports::write(result, context.out.string(), logs_of({before.get(), after.get()}));
  terminal.end(result, context.out.string(), context.verbose);
  return result.footer.status;
}

}  // namespace plumbline
