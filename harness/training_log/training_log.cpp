#include "harness/training_log/training_log.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "harness/system/files.hpp"
#include "harness/training_log/log_findings.hpp"

namespace plumbline {
namespace {

constexpr double kMostAroundZero = 2;  // nats

struct Question {
  const char *id, *statement;
  Finding (*judge)(const JudgedCurve& curve, const Beginning& beginning);
};
constexpr Question kQuestions[] = {
    {"start", "the first loss is near ln V, the loss of an untrained model", judge_start},
    {"finite", "every loss is a number", judge_finite},
    {"falls", "the loss falls", judge_fall},
    {"stays-down", "the loss does not rise again", judge_stay},
    {"spikes", "no loss jumps above its neighbours", judge_spikes},
    {"speed", "the loss does not fall too fast to be true", judge_speed},
};

// One curve of the log with its beginning: a run.
struct JudgedRun {
  JudgedRun(const TrainingLog& log, const LogCurve& logged, const RunKnowledge& known, Objective objective)
      : curve(log, logged, known, objective), beginning(find_beginning(curve)) {}

  JudgedCurve curve;
  Beginning beginning;
};

Json finite_number(double value) {
  return std::isfinite(value) ? Json(value) : Json(shown_loss(value));
}

// How strongly a finding speaks against a run.
int weight(const Finding& finding) {
  return (finding.level == "must" ? 2 : 0) + (finding.verdict == "fail"   ? 2
                                              : finding.verdict == "pass" ? -4
                                                                          : 1);
}

// Whether the losses lie around 0, which those of a cross-entropy do not. Losses that fall below 0 from high
// above are a cross-entropy gone wrong.
bool is_around_zero(const TrainingLog& log) {
  std::size_t negative = 0, all = 0;
  for (const auto& curve : log.curves) {
    if (curve.points.front().loss > kMostAroundZero) return false;
    all += curve.points.size();
    negative += static_cast<std::size_t>(std::count_if(curve.points.begin(), curve.points.end(),
                                                       [](const LogPoint& point) { return point.loss < 0; }));
  }
  return negative * 20 > all;
}

const char* name_of(Objective objective) {
  return objective == Objective::reward       ? "reward"
         : objective == Objective::preference ? "preference"
                                              : "cross-entropy";
}

const char* name_of(Began began) {
  return began == Began::from_scratch      ? "from nothing"
         : began == Began::from_checkpoint ? "from a checkpoint"
                                           : "not known";
}

// A run that was stopped at once is not judged beside longer ones.
std::vector<const LogCurve*> curves_to_judge(const TrainingLog& log) {
  std::vector<const LogCurve*> curves;
  for (const auto& curve : log.curves)
    if (curve.points.size() >= kLeastPoints) curves.push_back(&curve);
  if (curves.empty())
    for (const auto& curve : log.curves) curves.push_back(&curve);
  return curves;
}

// The worst finding of any run.
Finding worst_finding(const Question& question, const std::vector<JudgedRun>& runs) {
  Finding worst;
  std::size_t worst_run = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    auto finding = question.judge(runs[i].curve, runs[i].beginning);
    if (i > 0 && weight(finding) <= weight(worst)) continue;
    worst = std::move(finding);
    worst_run = i;
  }
  if (runs.size() > 1) {
    const auto& logged = runs[worst_run].curve.logged;
    worst.sentence = fmt::format("run {} of {} ({}, from line {}): {}", worst_run + 1, runs.size(),
                                 printable(logged.column, 60), logged.points.front().line, worst.sentence);
  }
  return worst;
}

Json finding_document(const Question& question, const Finding& finding) {
  Json evidence = Json::array();
  for (const auto& point : finding.evidence)
    evidence.push_back({{"line", point.line}, {"step", point.step}, {"loss", finite_number(point.loss)}});
  return {{"id", question.id},          {"level", finding.level},       {"statement", question.statement},
          {"verdict", finding.verdict}, {"sentence", finding.sentence}, {"next", finding.next},
          {"evidence", evidence}};
}

// "verdict" and "status", of the findings that decide.
Json conclusion_of(const Json& findings, const std::string& question) {
  std::vector<std::string> failed, not_assessed;
  for (const auto& finding : findings) {
    if (finding["level"] != "must") continue;
    if (finding["verdict"] == "fail") failed.push_back(finding["id"].text());
    if (finding["verdict"] == "not assessed") not_assessed.push_back(finding["id"].text());
  }
  auto verdict = !failed.empty() ? fmt::format("something is wrong: {}", fmt::join(failed, ", "))
                 : !not_assessed.empty()
                     ? fmt::format("incomplete: not assessed: {}", fmt::join(not_assessed, ", "))
                     : "nothing wrong is seen in this log";
  if (!question.empty()) verdict = fmt::format("{} ({})", verdict, question);
  return {{"verdict", verdict}, {"status", !failed.empty() ? 1 : !not_assessed.empty() ? 3 : 0}};
}

}  // namespace

std::string shown_loss(double value) {
  return !std::isfinite(value) ? (std::isnan(value) ? "NaN" : "infinity")
         : std::abs(value) >= 1e5 || (value != 0 && std::abs(value) < 1e-3) ? fmt::format("{:.3g}", value)
                                                                            : fmt::format("{:.4g}", value);
}

Json log_document(const TrainingLog& log, const RunKnowledge& known) {
  auto objective = log.objective;
  auto notes = log.notes;
  if (objective == Objective::cross_entropy && is_around_zero(log)) {
    objective = Objective::reward;
    notes.push_back(
        "the log has losses below 0, which are no cross-entropy; it is taken for a run that learns from "
        "rewards");
  }
  std::vector<JudgedRun> runs;
  for (const auto* curve : curves_to_judge(log)) runs.emplace_back(log, *curve, known, objective);
  Json findings = Json::array();
  for (const auto& question : kQuestions)
    findings.push_back(finding_document(question, worst_finding(question, runs)));
  const auto& first = runs.front().curve.logged;
  const auto& beginning = runs.front().beginning;
  Json document = {
      {"document", "plumbline log"},
      {"version", 2},
      {"file", printable(log.file)},
      {"sha256", log.sha256},
      {"read_as", log.read_as},
      {"column", printable(first.column)},
      {"objective", name_of(objective)},
      {"began", name_of(objective == Objective::cross_entropy ? beginning.began : Began::from_checkpoint)},
      {"entries", log.entries},
      {"steps", {first.points.front().step, first.points.back().step}},
      {"steps_known", first.steps_known},
      {"vocabulary", known.vocabulary.value_or(
                         std::max<std::int64_t>(std::llround(std::exp(beginning.uninformed_loss)), 2))},
      {"vocabulary_given", known.vocabulary.has_value()},
      {"nothing_known", beginning.uninformed_loss_as_logged},
      {"notes", notes},
      {"findings", findings}};
  document.update(conclusion_of(findings, beginning.vocabulary_question));
  return document;
}

int log_status(const Json& document) {
  return document.at("status").get<int>();
}

}  // namespace plumbline
