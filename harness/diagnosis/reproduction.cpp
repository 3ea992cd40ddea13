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
#include "harness/diagnosis/advice.hpp"
#include "harness/result/words.hpp"
#include "harness/system/error.hpp"
#include "harness/system/work_clock.hpp"

namespace plumbline {
namespace {

using reports::Verdict;
using Ids = std::vector<std::string>;

// How the names of stages begin, but for the logits, which are what the whole model makes.
constexpr const char* kStages[] = {"layers.", "embedding", "final_norm"};
constexpr double kWellBeyond = 4;  // times what is allowed: near it, rounding decides

// The reference with some causes, of which each requirement is asked once.
class Departed {
 public:
  Departed(Subject& about, const Ids& names, const RequirementList& list)
      : recorder_(list, "reference"),
        candidate_(make_reference(
            "hypothesis", apply_departures(about.specification(), fmt::format("{}", fmt::join(names, "+"))),
            about.can("code") ? about.candidate().type() : at::kFloat, at::kCPU)),
        subject_(*candidate_, about.specification(), about.golden(), about.fixtures(), recorder_,
                 about.probes()) {
    if (about.can("code") && !about.can("load")) subject_.use_weights(about.weights());
  }

  Subject& subject() { return subject_; }

 private:
  Recorder recorder_;
  std::unique_ptr<Candidate> candidate_;
  Subject subject_;
};

class Attribution {
 public:
  Attribution(Subject& subject, reports::Diagnosis& diagnosis, double seconds, const JudgeOne& judge)
      : subject_(subject),
        diagnosis_(diagnosis),
        judge_(judge),
        list_(read_requirements(subject.fixtures() / "requirements.json")),
        catalogue_(read_catalogue(subject.fixtures())),
        until_(WorkClock::now() + std::chrono::duration<double>(seconds)) {
    for (const auto& defect : catalogue_)
      seen_by_[defect.name] = {defect.seen_by.begin(), defect.seen_by.end()};
    for (const auto& one : subject.recorder().requirements())
      if (one.verdict == Verdict::fail) failed_.push_back(one);
    std::stable_sort(failed_.begin(), failed_.end(),
                     [](const auto& a, const auto& b) { return a.seconds < b.seconds; });
  }

  void run() {
    hold_alternatives();
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

  // Of several that explain every observation, those stand that reproduce each failed must: where one does,
  // it comes first, and those that do not go.
  void hold_alternatives() {
    auto& all = diagnosis_.explanations;
    if (all.size() < 2 || !all.front().complete || !diagnosis_.shapes.empty()) return;
    const auto is_refuted = [&](const reports::Explanation& one) {
      try {
        return std::any_of(failed_.begin(), failed_.end(), [&](const reports::Requirement& failed) {
          return failed.level == reports::Level::must &&
                 asked(one.defects, failed.id, &failed) == Answer::passes;
        });
      } catch (const InputError&) {  // no weights can be made of its shapes: it cannot be asked
        return false;
      }
    };
    std::vector<reports::Explanation> standing;
    for (const auto& one : all)
      if (!one.complete || !is_refuted(one)) standing.push_back(one);
    if (standing.empty() || !standing.front().complete) return;
    const bool same_first = standing.front().defects == all.front().defects;
    all = std::move(standing);
    if (same_first) return;
    diagnosis_.causes.clear();
    diagnosis_.advice.clear();
    tell_causes(all.front().defects, catalogue_, subject_.specification(), diagnosis_);
  }

  // Of the reference with these. Unknown where time is up, and where it cannot be told: it says nothing.
  Answer asked(const Ids& names, const std::string& id, const reports::Requirement* failed = nullptr) {
    auto& known = judged_[{names, id}];
    if (!known) {
      if (WorkClock::now() >= until_) return Answer::unknown;
      auto& departed = departed_[names];
      if (!departed) departed.emplace(subject_, names, list_);
      known = judge_(departed->subject(), id);
    }
    const auto& found = *known;
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

  // Of the reference with one cause. What the catalogue says of a defect, the campaign holds it to.
  Answer asked_alone(const std::string& defect, const std::string& id) {
    const bool is_known = diagnosis_.causes.size() == 1 || seen_by_[defect].contains(id);
    return is_known ? Answer::fails : asked({defect}, id);
  }

  // To those causes that fail it alone.
  void attribute(const std::string& id) {
    bool any = false, all_told = true;
    for (auto& cause : diagnosis_.causes) {
      const auto answer = asked_alone(cause.defect, id);
      if (answer == Answer::fails) cause.fails.push_back(id);
      any = any || answer == Answer::fails;
      all_told = all_told && answer != Answer::unknown;
    }
    if (!any) (all_told ? diagnosis_.fail_together : diagnosis_.not_asked).push_back(id);
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
      for (const auto& id : musts) one.open.push_back(id + ", which this reproduces in part at most");
    }
  }

  Subject& subject_;
  reports::Diagnosis& diagnosis_;
  const JudgeOne& judge_;
  RequirementList list_;
  std::vector<Defect> catalogue_;
  WorkClock::time_point until_;
  std::map<std::string, std::set<std::string>> seen_by_;
  std::vector<reports::Requirement> failed_;
  std::map<Ids, std::optional<Departed>> departed_;
  std::map<std::pair<Ids, std::string>, std::optional<reports::Requirement>> judged_;
};

}  // namespace

void attribute_failures(Subject& subject, reports::Diagnosis& diagnosis, double seconds,
                        const JudgeOne& judge) {
  if (diagnosis.causes.empty()) return;
  const auto before = diagnosis;
  try {
    Attribution(subject, diagnosis, seconds, judge).run();
  } catch (const std::exception&) {  // no weights can be made of the causes' own shapes
    diagnosis = before;
    for (const auto& one : subject.recorder().requirements())
      if (one.verdict == Verdict::fail) diagnosis.not_asked.push_back(one.id);
  }
}

}  // namespace plumbline
