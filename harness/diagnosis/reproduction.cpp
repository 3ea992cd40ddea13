#include "harness/diagnosis/reproduction.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "harness/candidate/reference.hpp"
#include "harness/catalogue/defect_catalogue.hpp"
#include "harness/result/words.hpp"
#include "harness/system/processor_time.hpp"

namespace plumbline {
namespace {

using reports::Verdict;
using Ids = std::vector<std::string>;

constexpr const char* kStages[] = {"layers.", "embedding", "final_norm"};
constexpr double kWellBeyond = 4;  // times what is allowed: near it, rounding decides

// The reference with some causes, of which each requirement is asked once.
class Departed {
 public:
  Departed(Subject& about, const Ids& names, at::ScalarType type, const RequirementList& list)
      : recorder_(list, "reference"),
        candidate_(make_reference(
            "hypothesis", apply_departures(about.specification(), fmt::format("{}", fmt::join(names, "+"))),
            type, at::kCPU)),
        subject_(*candidate_, about.specification(), about.golden(), about.fixtures(), recorder_,
                 about.probes()) {
    if (about.can("code") && !about.can("load")) subject_.use_weights(about.weights());
  }

  reports::Requirement judged(const std::string& id, const JudgeOne& judge) {
    judge(subject_, id);
    for (const auto& one : recorder_.requirements())
      if (one.id == id) return one;
    return {};
  }

 private:
  Recorder recorder_;
  std::unique_ptr<Candidate> candidate_;
  Subject subject_;
};

class Attribution {
 public:
  Attribution(Subject& subject, reports::Diagnosis& diagnosis, at::ScalarType type, double seconds,
              const JudgeOne& judge)
      : subject_(subject),
        diagnosis_(diagnosis),
        type_(type),
        judge_(judge),
        list_(read_requirements(subject.fixtures() / "requirements.json")),
        until_(ProcessorTime::now() +
               std::chrono::duration_cast<ProcessorTime::duration>(std::chrono::duration<double>(seconds))) {
    for (const auto& defect : read_catalogue(subject.fixtures()))
      seen_by_[defect.name] = {defect.seen_by.begin(), defect.seen_by.end()};
    for (const auto& one : subject.recorder().requirements())
      if (one.verdict == Verdict::fail) failed_.push_back(one);
    std::stable_sort(failed_.begin(), failed_.end(),
                     [](const auto& a, const auto& b) { return a.seconds < b.seconds; });
  }

  void run() {
    Ids all;
    for (const auto& cause : diagnosis_.causes) all.push_back(cause.defect);
    std::vector<const reports::Requirement*> reproduced;
    for (const auto& one : failed_) switch (asked(all, one.id, &one)) {
        case Answer::fails:
          reproduced.push_back(&one);
          break;
        case Answer::passes:
          diagnosis_.not_reproduced.push_back(one.id);
          break;
        case Answer::unknown:
          diagnosis_.not_asked.push_back(one.id);
      }
    for (const auto* one : reproduced) attribute(one->id);
    in_order();
    reopen();
  }

 private:
  enum class Answer { fails, passes, unknown };

  // Of the reference with these. Unknown where time is up, and where it cannot be told: it says nothing.
  Answer asked(const Ids& names, const std::string& id, const reports::Requirement* failed = nullptr) {
    if (ProcessorTime::now() > until_) return Answer::unknown;
    auto& departed = departed_[names];
    if (!departed) departed.emplace(subject_, names, type_, list_);
    const auto found = departed->judged(id, judge_);
    if (found.verdict != Verdict::fail && found.verdict != Verdict::pass) return Answer::unknown;
    if (failed == nullptr) return found.verdict == Verdict::fail ? Answer::fails : Answer::passes;
    const auto seen = failures_of_function(*failed);
    if (found.verdict == Verdict::fail && all_fail(seen, found)) return Answer::fails;
    return seen.empty() ? Answer::unknown : Answer::passes;
  }

  // What a requirement found of the whole model. In which of two stages a model does something, another that
  // does the same need not share.
  static std::vector<const reports::Check*> failures_of_function(const reports::Requirement& failed) {
    std::vector<const reports::Check*> found;
    for (const auto* check : reports::failed_checks(failed)) {
      const bool of_stage = std::any_of(std::begin(kStages), std::end(kStages),
                                        [&](const char* stage) { return check->what.starts_with(stage); });
      if (!of_stage && check->elements > 0) found.push_back(check);
    }
    return found;
  }

  // Whether none that is far off passes there: one requirement may fail for two reasons.
  static bool all_fail(const std::vector<const reports::Check*>& seen, const reports::Requirement& departed) {
    return std::none_of(seen.begin(), seen.end(), [&](const reports::Check* check) {
      if (check->tolerance && !(check->worst_difference.value_or(0) > kWellBeyond * *check->tolerance))
        return false;
      return std::any_of(departed.checks.begin(), departed.checks.end(), [&](const reports::Check& other) {
        return other.what == check->what && other.within && other.elements > 0;
      });
    });
  }

  // To those causes that fail it alone.
  void attribute(const std::string& id) {
    auto& causes = diagnosis_.causes;
    bool any = false;
    for (auto& cause : causes)
      if (causes.size() == 1 || seen_by_[parse_departure(cause.defect).name].contains(id)) {
        cause.fails.push_back(id);
        any = true;
      }
    if (any) return;
    for (auto& cause : causes)
      if (asked({cause.defect}, id) == Answer::fails) {
        cause.fails.push_back(id);
        any = true;
      }
    if (!any) diagnosis_.fail_together.push_back(id);
  }

  // As the requirements are numbered.
  void in_order() {
    std::map<std::string, std::size_t> place;
    for (const auto& entry : list_.entries) place.emplace(entry.requirement.id, place.size());
    const auto sort = [&](Ids& ids) {
      std::sort(ids.begin(), ids.end(), [&](const auto& a, const auto& b) { return place[a] < place[b]; });
    };
    for (auto& cause : diagnosis_.causes) sort(cause.fails);
    for (auto* ids : {&diagnosis_.fail_together, &diagnosis_.not_reproduced, &diagnosis_.not_asked})
      sort(*ids);
  }

  // What every observation speaks for is not the whole of it while a failed must speaks against it.
  void reopen() {
    Ids musts;
    for (const auto& id : diagnosis_.not_reproduced)
      if (std::any_of(failed_.begin(), failed_.end(),
                      [&](const auto& one) { return one.id == id && one.level == reports::Level::must; }))
        musts.push_back(id);
    const auto count = static_cast<std::int64_t>(musts.size());
    if (count == 0) return;
    diagnosis_.observations += count;
    diagnosis_.differing += count;
    if (diagnosis_.outcome == reports::Outcome::explained) diagnosis_.outcome = reports::Outcome::nearest;
    for (auto& one : diagnosis_.explanations) {
      one.complete = false;
      for (const auto& id : musts) one.open.push_back(id + ", of which this fails less");
    }
  }

  Subject& subject_;
  reports::Diagnosis& diagnosis_;
  at::ScalarType type_;
  const JudgeOne& judge_;
  RequirementList list_;
  ProcessorTime::time_point until_;
  std::map<std::string, std::set<std::string>> seen_by_;
  std::vector<reports::Requirement> failed_;
  std::map<Ids, std::optional<Departed>> departed_;
};

}  // namespace

void attribute_failures(Subject& subject, reports::Diagnosis& diagnosis, at::ScalarType type, double seconds,
                        const JudgeOne& judge) {
  if (diagnosis.causes.empty()) return;
  try {
    Attribution(subject, diagnosis, type, seconds, judge).run();
  } catch (
      const std::exception&) {  // of the causes' own shapes no weights can be made: nothing is attributed
  }
}

}  // namespace plumbline
