#include "harness/cli/session.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/chrono.h>
#include <fmt/ranges.h>
#include <hdf5.h>
#include <sys/utsname.h>
#include <torch/version.h>

#include <algorithm>
#include <catch2/catch_session.hpp>
#include <catch2/catch_test_case_info.hpp>
#include <catch2/catch_translate_exception.hpp>
#include <catch2/catch_version.hpp>
#include <catch2/interfaces/catch_interfaces_reporter.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#include <catch2/reporters/catch_reporter_streaming_base.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <set>
#include <tuple>
#include <utility>
#include "harness/system/json.hpp"

#include "harness/comparison/comparison.hpp"
#include "harness/diagnosis/diagnosis.hpp"
#include "harness/judging/locate.hpp"
#include "harness/judging/subject.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/result.hpp"
#include "harness/result/waivers.hpp"
#include "harness/result/words.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/output.hpp"
#include "harness/system/processors.hpp"
#include "harness/system/visible.hpp"
#include "reports/bundle.hpp"
#include "reports/merge.hpp"
#include "reports/terminal.hpp"

namespace plumbline {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kSecondsOfDiagnosis = 20;
constexpr std::uint32_t kSeed = 1;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What the reporter below has to reach; Catch2 makes it itself.
struct Running {
  Recorder* recorder = nullptr;
  reports::Terminal* terminal = nullptr;
  Clock::time_point began;
};
Running running;

// The requirement's id is the tag that REQUIREMENT gave the test.
std::string requirement_of(const Catch::TestCaseInfo& info) {
  for (const auto& tag : info.tags) {
    const auto id = static_cast<std::string>(tag.original);
    if (running.recorder->knows(id)) return id;
  }
  throw std::logic_error("the test '" + info.name + "' names no requirement");
}

std::string one_line(const std::exception& exception) {
  std::string message = exception.what();
  if (const auto* from_torch = dynamic_cast<const c10::Error*>(&exception))
    message = from_torch->what_without_backtrace();
  return message.substr(0, message.find('\n'));
}

// Turns what happens in a test into a verdict, and shows it.
class Reporter : public Catch::StreamingReporterBase {
 public:
  using StreamingReporterBase::StreamingReporterBase;
  static std::string getDescription() { return "verdicts by requirement"; }

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    running.began = Clock::now();
    at::manual_seed(kSeed);  // what is drawn is the same whatever was looked at before, as in a shard
    const auto id = requirement_of(info);
    running.recorder->begin(id);
    running.terminal->requirement_begin(id, info.name.substr(std::min(info.name.size(), id.size() + 2)));
  }

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    const auto& judged = running.recorder->end(seconds_since(running.began));
    if (stats.totals.assertions.failed > 0 && judged.verdict == reports::Verdict::pass)
      running.recorder->error("its test failed without saying what it saw");
    running.terminal->requirement_end(judged);
  }
};
CATCH_REGISTER_REPORTER("plumbline", Reporter)

// What a candidate cannot show leaves a requirement unassessed; anything else that goes wrong is an error of
// the evidence. Neither says that the model is wrong, and neither passes. A cache that refuses what it was
// opened for is wrong: more than it holds is asked for, and caught, in one place alone (probes.cpp).
reports::Check failed_fact(const std::string& what, const std::string& actual, const std::string& expected) {
  auto check = compare_text(what, actual, expected);
  check.within = false;
  return check;
}

CATCH_TRANSLATE_EXCEPTION(const std::exception& exception) {
  const auto message = one_line(exception);
  if (dynamic_cast<const NotShown*>(&exception) != nullptr)
    running.recorder->not_assessed(message);
  else if (dynamic_cast<const CacheOverrun*>(&exception) != nullptr)
    running.recorder->add(
        failed_fact("the KV cache", "refused: " + message, "room for what it was opened for"));
  else
    running.recorder->error(message);
  return message;
}

std::string system_name() {
  utsname system{};
  uname(&system);
  return fmt::format("{} {} {}", system.sysname, system.release, system.machine);
}

reports::Header header_of(const Circumstances& run, const Description& description, bool runs_code,
                          const std::string& requirements) {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  reports::Header header;
  header.plumbline_version = run.version;
  header.specification = run.specification.name;
  header.specification_sha256 = run.specification.sha256;
  header.candidate = description.name;
  header.candidate_kind = description.kind;
  header.candidate_sha256 = description.sha256;
  header.notes = description.notes;
  header.device = runs_code ? run.device : reports::nothing_is_run;
  header.dtype = runs_code ? run.dtype : "as stored";
  header.threads = at::get_num_threads();
  header.seed = kSeed;
  header.versions = {
      {"libtorch", TORCH_VERSION},
      {"catch2", fmt::format("{}.{}.{}", Catch::libraryVersion().majorVersion,
                             Catch::libraryVersion().minorVersion, Catch::libraryVersion().patchNumber)},
      {"hdf5", fmt::format("{}.{}.{}", major, minor, release)},
      {"compiler", __VERSION__},
      {"system", system_name()}};
  if (runs_code && run.device.starts_with("cuda")) {
    header.versions.emplace_back("cuda driver", cuda_device(0).driver);
    header.versions.emplace_back("cpu", cpu_name());
  }
  header.versions.emplace_back("requirements",
                               sha256_of_file(run.data / "fixtures" / requirements).substr(0, 16));
  header.commit = run.commit;
  header.started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  header.command = run.command;
  header.scope = "everything";
  return header;
}

// What this run, for all that the candidate is, can never show.
void exclude_what_cannot_be(Recorder& recorder, const Verification& verification) {
  recorder.declare(verification.candidate->capabilities());
  if (!verification.specification.tie_word_embeddings)
    recorder.exclude("PAR-7", "this specification's output head is a matrix of its own");
  if (verification.dtype == "bf16" && verification.candidate->capabilities().contains("code"))
    for (const auto* id : {"NUM-1", "NUM-2", "NUM-3", "TRN-4"})
      recorder.exclude(id,
                       "golden tensors are judged in float32: in bfloat16 roundings add up beyond them over "
                       "a pass, and NUM-4 replays each stage instead");
  // Logits of variance v make the loss ln V + v/2.
  const auto& s = verification.specification;
  const auto& rows = s.tie_word_embeddings ? s.initialization.embedding : s.initialization.head;
  const double deviation = rows.deviation(s.hidden_size);
  if (deviation * deviation * static_cast<double>(s.hidden_size) / 2 > 0.25)
    recorder.exclude("TRN-1", "by this specification's initialisation the loss starts far above ln V");
  if (verification.dtype == "bf16") {
    recorder.exclude("TRN-5", "in bfloat16 a step is smaller than the rounding of what it changes");
    for (const auto* id : {"TXT-1", "TXT-2", "TXT-3", "TXT-6", "TXT-7"})
      recorder.exclude(id, "in bfloat16 rounding decides between tokens that are about as likely");
  }
}

std::vector<reports::Requirement> of_chapter(const Recorder& recorder, int chapter) {
  auto all = recorder.requirements();
  std::erase_if(all, [&](const auto& requirement) { return requirement.chapter != chapter; });
  return all;
}

std::vector<std::string> ids_of(const Recorder& recorder) {
  std::vector<std::string> ids;
  for (const auto& requirement : recorder.requirements()) ids.push_back(requirement.id);
  return ids;
}

std::vector<reports::File> logs_of(const std::vector<const Candidate*>& candidates) {
  std::vector<reports::File> logs;
  for (const auto* candidate : candidates)
    if (const auto said = candidate->log(); !said.empty()) logs.push_back(reports::log_of("candidate", said));
  return logs;
}

// Catch2 runs the tests that carry these requirements' tags.
void run_tests(Catch::Session& session, const std::vector<std::string>& ids) {
  if (ids.empty()) return;
  Catch::ConfigData config;
  std::string tags;
  for (const auto& id : ids) tags += (tags.empty() ? "[" : ",[") + id + "]";
  config.testsOrTags = {tags};
  config.reporterSpecifications.push_back(Catch::ReporterSpec("plumbline", {}, {}, {}));
  session.useConfigData(config);
  session.run();
}

void run_silently(Catch::Session& session, const std::vector<std::string>& ids) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> nowhere(std::fopen("/dev/null", "w"), std::fclose);
  if (nowhere == nullptr) throw InputError("/dev/null cannot be written to");
  reports::Terminal silent(nowhere.get());
  auto* const shown = std::exchange(running.terminal, &silent);
  run_tests(session, ids);
  running.terminal = shown;
}

// A diagnosis asks what all that failed points to, in a shard as in one run: what other shards judge is
// looked at before it, without a word.
void look_at_the_rest(Catch::Session& session, Recorder& recorder, const std::set<std::string>& own) {
  std::vector<std::string> rest;
  for (const auto& requirement : recorder.requirements())
    if (!own.contains(requirement.id) && requirement.verdict != reports::Verdict::not_applicable)
      rest.push_back(requirement.id);
  print_out("   what other shards judge is looked at for the diagnosis, too (not with --no-diagnosis)\n");
  std::fflush(stdout);
  run_silently(session, rest);
}

}  // namespace

int verify(Verification verification) {
  const auto began = Clock::now();
  auto& candidate = *verification.candidate;
  const auto kind = candidate.describe().kind;
  const bool runs_code = candidate.capabilities().contains("code");
  const bool own_golden = verification.golden.empty();
  auto golden = runs_code ? Golden::open(own_golden ? verification.data / "golden" : verification.golden,
                                         verification.specification)
                          : std::nullopt;
  if (runs_code && !own_golden && !golden)
    throw InputError(fmt::format(
        "--golden {}: lists no tensors for '{}'; `./plumbline golden make --spec FILE --out DIR` makes them",
        verification.golden.string(), verification.specification.name));
  candidate.check_adapter();
  Recorder recorder(read_requirements(verification.data / "fixtures" / "requirements.json"), kind);
  exclude_what_cannot_be(recorder, verification);
  std::set<int> asked;
  for (const auto& word : verification.only) try {
      asked.insert(recorder.chapter(word));
    } catch (const InputError& error) {
      throw InputError(fmt::format("--only {}: {}", printable(word, 40), error.what()));
    }

  const auto ids = ids_of(recorder);
  std::vector<reports::Waiver> waivers;
  if (!verification.waivers.empty())
    waivers = reports::read_waivers(verification.waivers, {ids.begin(), ids.end()});
  std::set<std::string> own(ids.begin(), ids.end());
  if (const auto& shard = verification.shard) {
    const auto named = reports::of_shard(ids, *shard);
    own = {named.begin(), named.end()};
    for (const auto& id : ids)
      if (!own.contains(id)) recorder.leave_out(id, reports::left_to_others(*shard));
  }

  Subject subject(candidate, verification.specification, std::move(golden), verification.data / "fixtures",
                  recorder);
  set_subject(&subject);
  reports::Result result;
  result.header = header_of(verification, candidate.describe(), runs_code, "requirements.json");
  result.header.shard = verification.shard;
  result.header.waivers = waivers;
  if (!asked.empty()) result.header.scope = fmt::format("chapter {}", fmt::join(asked, ", "));
  result.chapters = recorder.chapters();
  reports::Terminal terminal(stdout);
  running = {&recorder, &terminal, {}};
  terminal.begin(result.header);
  Catch::Session session;
  for (const auto& chapter : recorder.chapters()) {
    const bool wanted = asked.empty() || asked.contains(chapter.number);
    auto requirements = of_chapter(recorder, chapter.number);
    if (!wanted) {
      for (const auto& requirement : requirements) recorder.leave_out(requirement.id, reports::outside_only);
      continue;
    }
    std::erase_if(requirements, [&](const auto& requirement) { return !own.contains(requirement.id); });
    if (requirements.empty()) continue;
    std::vector<std::string> applicable;
    for (const auto& requirement : requirements)
      if (requirement.verdict != reports::Verdict::not_applicable) applicable.push_back(requirement.id);
    terminal.chapter_begin(chapter, static_cast<int>(requirements.size()));
    for (const auto& requirement : requirements)
      if (requirement.verdict == reports::Verdict::not_applicable) terminal.requirement_end(requirement);
    run_tests(session, applicable);
    terminal.chapter_end();
  }
  result.requirements = recorder.requirements();
  result.plots = recorder.plots();
  if (runs_code && reports::any_failed(result)) {
    if (verification.diagnosing && verification.shard) look_at_the_rest(session, recorder, own);
    result.localisation = localise();
    if (verification.diagnosing)
      result.diagnosis = diagnose(kSecondsOfDiagnosis, result.localisation, verification.left_out);
  }
  if (!runs_code && verification.diagnosing && asked.empty())
    result.diagnosis = diagnose(kSecondsOfDiagnosis, {}, verification.left_out);
  if (verification.for_recording) Comparison(subject, nullptr).ask_everything();
  set_subject(nullptr);
  result.footer.seconds = seconds_since(began);
  auto closing = candidate.closing_note();
  const auto& [name, notes] = std::tie(candidate.describe().name, candidate.describe().notes);
  if (kind == "reference" && name.starts_with("defect:") && notes.empty() && !reports::any_failed(result) &&
      !verification.shard)
    closing = fmt::format("nothing failed {}: it changes nothing there, or nothing that was asked", name);
  auto& said = result.header.notes;
  if (!closing.empty() && std::find(said.begin(), said.end(), closing) == said.end()) said.push_back(closing);
  reports::conclude(result);
  reports::write(result, verification.out.string(), logs_of({&candidate}));
  terminal.end(result, verification.out.string());
  if (!closing.empty()) print_out("   {}\n", closing);
  return result.footer.status;
}

int claims(const Specification& specification, Candidate& reference, const std::filesystem::path& data) {
  constexpr int chapter = 11, width = 96;
  Recorder recorder(read_requirements(data / "fixtures" / "requirements.json"), "reference");
  Subject subject(reference, specification, std::nullopt, data / "fixtures", recorder);
  set_subject(&subject);
  running = {&recorder, nullptr, {}};
  std::vector<std::string> ids;
  for (const auto& claim : of_chapter(recorder, chapter)) ids.push_back(claim.id);
  Catch::Session session;
  run_silently(session, ids);
  set_subject(nullptr);
  bool sound = true;
  for (const auto& claim : of_chapter(recorder, chapter)) {
    print_out("{}  {}\n", claim.id, claim.statement);
    const auto said =
        claim.verdict == reports::Verdict::pass
            ? claim.finding
            : fmt::format("not decided: {}", claim.reason.empty() ? claim.finding : claim.reason);
    for (const auto& line : reports::wrap(said, width)) print_out("         {}\n", line);
    sound = sound && claim.verdict == reports::Verdict::pass;
  }
  return sound ? 0 : 3;
}

int compare(const Circumstances& circumstances, std::unique_ptr<Candidate> one,
            std::unique_ptr<Candidate> other) {
  const auto began = Clock::now();
  for (auto* candidate : {one.get(), other.get()}) candidate->check_adapter();
  Recorder recorder(read_requirements(circumstances.data / "fixtures" / "comparison.json"), "pair");
  Subject first(*one, circumstances.specification, std::nullopt, circumstances.data / "fixtures", recorder);
  Subject second(*other, circumstances.specification, std::nullopt, circumstances.data / "fixtures",
                 recorder);
  set_subject(&first);
  const bool runs_code = first.can("code") && second.can("code");
  const auto& before = one->describe();
  reports::Result result;
  result.header = header_of(circumstances, other->describe(), runs_code, "comparison.json");
  result.header.baseline = {before.name, before.kind, before.sha256};
  for (const auto& note : before.notes)
    result.header.notes.push_back(fmt::format("{}: {}", before.name, note));
  result.chapters = recorder.chapters();
  reports::Terminal terminal(stdout);
  terminal.begin(result.header);
  Comparison comparison(first, &second);
  result.header.baseline->alone = comparison.prepare();
  for (const auto& chapter : recorder.chapters()) {
    const auto own = of_chapter(recorder, chapter.number);
    terminal.chapter_begin(chapter, static_cast<int>(own.size()));
    for (const auto& requirement : own) {
      if (requirement.verdict == reports::Verdict::not_applicable) {
        terminal.requirement_end(requirement);
        continue;
      }
      const auto begun = Clock::now();
      recorder.begin(requirement.id);
      terminal.requirement_begin(requirement.id, requirement.statement);
      try {
        comparison.look(requirement.id);
      } catch (const NotShown& why) {
        recorder.not_assessed(one_line(why));
      } catch (const std::exception& error) {
        recorder.error(one_line(error));
      }
      terminal.requirement_end(recorder.end(seconds_since(begun)));
    }
    terminal.chapter_end();
  }
  result.requirements = recorder.requirements();
  result.plots = recorder.plots();
  if (runs_code && reports::any_failed(result)) {
    try {
      result.localisation = comparison.localise(reports::first_failed(result.requirements));
    } catch (const std::exception& error) {
      result.localisation = reports::Localisation{{}, {}, {}, "not assessed: " + one_line(error)};
    }
  }
  result.footer.seconds = seconds_since(began);
  reports::conclude(result);
  reports::write(result, circumstances.out.string(), logs_of({one.get(), other.get()}));
  terminal.end(result, circumstances.out.string());
  return result.footer.status;
}

}  // namespace plumbline
