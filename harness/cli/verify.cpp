#include "harness/cli/verify.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>
#include <tuple>

#include "harness/candidate/better_specification.hpp"
#include "harness/comparison/comparison.hpp"
#include "harness/diagnosis/diagnosis.hpp"
#include "harness/diagnosis/reproduction.hpp"
#include "harness/judging/locate.hpp"
#include "harness/result/waivers.hpp"
#include "harness/result/words.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/output.hpp"
#include "harness/system/visible.hpp"
#include "reports/merge.hpp"
#include "reports/terminal.hpp"
#include "suites/catch2_bridge.hpp"

namespace plumbline {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kSecondsOfDiagnosis = 30, kSecondsOfAttribution = 10;
constexpr const char* kRequirements = "requirements.json";

// What this run judges.
struct Plan {
  Recorder recorder;
  std::optional<Golden> golden;
  std::vector<reports::Waiver> waivers;
  std::set<std::string> asked_for;           // ids of requirements, by --only; empty: all
  std::string scope;                         // the same in words; empty: all
  std::set<std::string> shard_requirements;  // requirements of this shard
  bool runs_code = false;
};

// Excludes requirements that this run cannot show, whatever the candidate does.
void exclude_inapplicable(Recorder& recorder, const Verification& verification) {
  recorder.declare(verification.candidate->capabilities());
  if (!verification.specification.tie_word_embeddings)
    recorder.exclude("PAR-7", "the output head of this specification is a separate matrix");
  if (verification.dtype == "bf16" && verification.candidate->capabilities().contains("code"))
    for (const auto* id : {"NUM-1", "NUM-2", "NUM-3", "TRN-4"})
      recorder.exclude(id,
                       "golden tensors are for float32: in bfloat16, rounding adds up over a pass, so NUM-4 "
                       "replays each stage instead");
  if (verification.probes.longest <= 604)
    recorder.exclude("NUM-9",
                     "passes of up to 604 tokens are those of NUM-6 and KVC-11; --longest N asks for more");
  // Logits of variance v make the loss ln V + v/2.
  const auto& s = verification.specification;
  const auto& rows = s.tie_word_embeddings ? s.initialization.embedding : s.initialization.head;
  const double deviation = rows.deviation(s.hidden_size);
  if (deviation * deviation * static_cast<double>(s.hidden_size) / 2 > 0.25)
    recorder.exclude("TRN-1", "with the initialisation of this specification the loss starts far above ln V");
  if (verification.dtype == "bf16") {
    recorder.exclude("TRN-5", "in bfloat16 a step is smaller than the rounding of the parameter");
    for (const auto* id : {"TXT-1", "TXT-2", "TXT-3", "TXT-6", "TXT-7"})
      recorder.exclude(id, "in bfloat16 rounding decides between tokens that are about equally likely");
  }
}

// Golden tensors, for code that can be run. Errors: InputError where --golden has none of this specification.
std::optional<Golden> load_golden(const Verification& verification) {
  const bool uses_default = verification.golden.empty();
  auto golden = Golden::load(uses_default ? verification.data / "golden" : verification.golden,
                             verification.specification);
  if (!uses_default && !golden)
    throw InputError(
        fmt::format("--golden {}: lists no tensors for '{}'; make them with `./plumbline golden make --spec "
                    "FILE --out DIR`",
                    verification.golden.string(), verification.specification.name));
  return golden;
}

// To the chapters and requirements that --only names. Errors: InputError.
void restrict_to(const std::vector<std::string>& only, Plan& plan) {
  const auto all = plan.recorder.requirements();
  std::set<int> chapters;
  std::set<std::string> single;
  for (const auto& word : only) {
    const auto named = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.id == word; });
    if (named != all.end())
      single.insert(named->id);
    else
      try {
        chapters.insert(plan.recorder.chapter(word));
      } catch (const InputError& error) {
        throw InputError(fmt::format("--only {}: {}; or name a requirement, such as {}", printable(word, 40),
                                     error.what(), all.front().id));
      }
  }
  std::vector<std::string> ids;  // of those that no chapter has, in their order
  for (const auto& one : all) {
    if (chapters.contains(one.chapter) || single.contains(one.id)) plan.asked_for.insert(one.id);
    if (single.contains(one.id) && !chapters.contains(one.chapter)) ids.push_back(one.id);
  }
  if (!chapters.empty()) plan.scope = fmt::format("chapter {}", fmt::join(chapters, ", "));
  if (!ids.empty())
    plan.scope += fmt::format("{}requirement{} {}", plan.scope.empty() ? "" : " and ",
                              ids.size() > 1 ? "s" : "", fmt::join(ids, ", "));
}

Plan make_plan(const Verification& verification) {
  auto& candidate = *verification.candidate;
  const auto kind = candidate.describe().kind;
  const bool runs_code = candidate.capabilities().contains("code");
  auto golden = runs_code ? load_golden(verification) : std::nullopt;
  candidate.check_adapter();
  Plan plan{Recorder(read_requirements(verification.data / "fixtures" / kRequirements), kind),
            std::move(golden),
            {},
            {},
            {},
            {},
            runs_code};
  exclude_inapplicable(plan.recorder, verification);
  restrict_to(verification.only, plan);
  std::vector<std::string> ids;
  for (const auto& requirement : plan.recorder.requirements()) ids.push_back(requirement.id);
  if (!verification.waivers.empty())
    plan.waivers = reports::read_waivers(verification.waivers, {ids.begin(), ids.end()});
  const auto ids_of_shard = verification.shard ? reports::of_shard(ids, *verification.shard) : ids;
  plan.shard_requirements = {ids_of_shard.begin(), ids_of_shard.end()};
  for (const auto& id : ids)
    if (!plan.shard_requirements.contains(id))
      plan.recorder.skip(id, reports::Reason::of_other_shards(*verification.shard));
  for (const auto& requirement : plan.recorder.requirements())
    if (!plan.asked_for.empty() && !plan.asked_for.contains(requirement.id))
      plan.recorder.skip(requirement.id, reports::Reason::not_asked_for());
  return plan;
}

reports::Header header_of_plan(const Verification& verification, const Plan& plan) {
  auto header = header_of(verification, verification.candidate->describe(), plan.runs_code, kRequirements);
  header.shard = verification.shard;
  header.waivers = plan.waivers;
  if (!plan.scope.empty()) header.scope = plan.scope;
  return header;
}

void judge_chapter(Subject& subject, const Plan& plan, const reports::Chapter& chapter,
                   reports::Terminal& terminal) {
  auto requirements = of_chapter(subject.recorder(), chapter.number);
  std::erase_if(requirements, [&](const auto& requirement) {
    return !plan.shard_requirements.contains(requirement.id) ||
           (!plan.asked_for.empty() && !plan.asked_for.contains(requirement.id));
  });
  if (requirements.empty()) return;
  terminal.chapter_begin(chapter, static_cast<int>(requirements.size()));
  std::vector<std::string> applicable;
  for (const auto& requirement : requirements) {
    if (requirement.verdict == reports::Verdict::not_applicable)
      terminal.requirement_end(requirement);
    else
      applicable.push_back(requirement.id);
  }
  judge(subject, applicable,
        {[&](const std::string& id, const std::string& title) { terminal.requirement_begin(id, title); },
         [&](const reports::Requirement& judged) { terminal.requirement_end(judged); }});
  terminal.chapter_end();
}

// Judges the requirements of other shards silently, since a diagnosis uses all failures.
void judge_other_shards(Subject& subject, const Plan& plan) {
  std::vector<std::string> rest;
  for (const auto& requirement : subject.recorder().requirements())
    if (!plan.shard_requirements.contains(requirement.id) &&
        requirement.verdict != reports::Verdict::not_applicable)
      rest.push_back(requirement.id);
  judge(subject, rest, {});
}

reports::Result judge_all(Subject& subject, const Plan& plan, reports::Result result,
                          reports::Terminal& terminal) {
  for (const auto& chapter : subject.recorder().chapters()) judge_chapter(subject, plan, chapter, terminal);
  result.requirements = subject.recorder().requirements();
  result.plots = subject.recorder().plots();
  return result;
}

reports::Requirement judge_one(Subject& subject, const std::string& id) {
  reports::Requirement found;
  Progress progress;
  progress.end = [&](const reports::Requirement& judged) { found = judged; };
  judge(subject, {id}, progress);
  return found;
}

// Locates failures of code, and diagnoses them and weights without code.
reports::Result explain(Subject& subject, const Verification& verification, const Plan& plan,
                        reports::Result result, reports::Terminal& terminal) {
  const bool failed = reports::any_failed(result);
  if (plan.runs_code && failed) {
    if (verification.diagnosing && verification.shard) {
      terminal.activity("the diagnosis needs the requirements of other shards (--no-diagnosis skips this)");
      judge_other_shards(subject, plan);
    }
    terminal.activity("locating");
    result.localisation = localise(subject);
  }
  const bool weights_alone = !plan.runs_code && plan.asked_for.empty();
  if (verification.diagnosing && (weights_alone || (plan.runs_code && failed))) {
    terminal.activity("diagnosing");
    result.diagnosis = diagnose(subject, kSecondsOfDiagnosis, result.localisation, verification.left_out);
  }
  if (result.diagnosis) attribute_failures(subject, *result.diagnosis, kSecondsOfAttribution, judge_one);
  return result;
}

// The closing notes.
std::vector<std::string> closing_notes(const Verification& verification, const reports::Result& result) {
  const auto& candidate = *verification.candidate;
  const auto& [name, notes, kind] =
      std::tie(candidate.describe().name, candidate.describe().notes, candidate.describe().kind);
  if (kind == "reference" && name.starts_with("defect:") && notes.empty() && !reports::any_failed(result) &&
      !verification.shard)
    return {
        fmt::format("no requirement failed for {}: this defect changes nothing in this specification, or "
                    "nothing that was tested",
                    name)};
  std::vector<std::string> closing;
  const auto& claimed = verification.specification;
  if (const auto other = better_specification(candidate.describe(), claimed,
                                              verification.data / "fixtures" / "specifications");
      kind != "reference" && !other.empty())
    closing.push_back(fmt::format(
        "its settings and parameters are those of {0}, not of {1}: to judge it as that, --spec {0}", other,
        claimed.name));
  if (auto own = verification.candidate->closing_note(); !own.empty()) closing.push_back(std::move(own));
  return closing;
}

}  // namespace

int verify(Verification verification) {
  const auto start = Clock::now();
  auto planned = make_plan(verification);
  Subject subject(*verification.candidate, verification.specification, std::move(planned.golden),
                  verification.data / "fixtures", planned.recorder, verification.probes);
  reports::Result result;
  result.header = header_of_plan(verification, planned);
  result.chapters = planned.recorder.chapters();
  reports::Terminal terminal(stdout);
  terminal.begin(result.header);
  result = judge_all(subject, planned, std::move(result), terminal);
  result = explain(subject, verification, planned, std::move(result), terminal);
  if (verification.for_recording) Comparison(subject, nullptr).ask_everything();
  result.footer.longest_pass = planned.recorder.longest_pass();
  result.footer.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const auto closing = closing_notes(verification, result);
  auto& notes = result.header.notes;
  for (const auto& one : closing)
    if (std::find(notes.begin(), notes.end(), one) == notes.end()) notes.push_back(one);
  reports::conclude(result);
  reports::write(result, verification.out.string(), logs_of({verification.candidate.get()}));
  terminal.end(result, verification.out.string(), verification.verbose);
  for (const auto& one : closing) print_out("   {}\n", one);
  return result.footer.status;
}

}  // namespace plumbline
