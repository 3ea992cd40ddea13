#include "reports/diff.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include "harness/result/conclusion_of_diagnosis.hpp"
#include "harness/result/words.hpp"
#include "harness/system/error.hpp"
#include "harness/system/visible.hpp"
#include "reports/markdown.hpp"

namespace plumbline::reports {
namespace {

std::string named(const Requirement& one) {
  return fmt::format("{}: {}{}", visible(one.id, 40), visible(one.statement, 200),
                     one.level == Level::should ? " (should)" : "");
}

// How bad a verdict is. A requirement that is not applicable counts as passed.
int severity(const Header& header, const Requirement& one) {
  switch (one.verdict) {
    case Verdict::fail:
      return waiver_of(header, one) != nullptr ? 3 : 4;
    case Verdict::error:
      return 2;
    case Verdict::not_assessed:
      return 1;
    default:
      return 0;
  }
}

std::string verdict_text(const Header& header, const Requirement& one) {
  std::string words = to_string(one.verdict);
  if (const Waiver* waiver = waiver_of(header, one); waiver != nullptr) words += ", " + in_words(*waiver);
  const auto failed = failed_checks(one);
  if (one.verdict == Verdict::fail && !failed.empty())
    words += ": " + visible(sentence_of(*failed.front()), 300);
  if (one.verdict != Verdict::fail && !one.reason.empty())
    words += ": " + visible(sentence_of(one.reason), 300);
  return words;
}

// The largest share of a tolerance that a check of the requirement uses; less than 0: nothing was measured.
double tolerance_used(const Requirement& one) {
  double most = -1;
  for (const Check& check : one.checks)
    if (check.worst_difference && check.tolerance && *check.tolerance > 0)
      most = std::isnan(*check.worst_difference) ? HUGE_VAL
                                                 : std::max(most, *check.worst_difference / *check.tolerance);
  return most;
}

// The largest factors first.
using Margins = std::vector<std::pair<double, Change>>;

void compare_margins(const Requirement& before, const Requirement& after, Margins& found) {
  constexpr double factor = 2, negligible = 0.01;  // below a hundredth of the tolerance
  const double used_before = tolerance_used(before), used_after = tolerance_used(after);
  if (used_before < 0 || used_after < 0 || std::max(used_before, used_after) < negligible) return;
  if (used_after <= factor * used_before && used_before <= factor * used_after) return;
  const double ratio = std::max(used_before, used_after) / std::max(std::min(used_before, used_after), 1e-9);
  found.emplace_back(ratio, Change{named(after), fmt::format("{:.3g} of the tolerance", used_before),
                                   fmt::format("{:.3g} of the tolerance", used_after)});
}

std::vector<Change> sorted(std::vector<std::pair<double, Change>> changes) {
  std::stable_sort(changes.begin(), changes.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Change> found;
  for (auto& [by, change] : changes) found.push_back(std::move(change));
  return found;
}

void compare_requirements(const Result& before, const Result& after, Difference& found) {
  std::map<std::string, const Requirement*> old;
  for (const Requirement& one : before.requirements) old[one.id] = &one;
  std::vector<std::pair<double, Change>> worse, better, margins;
  for (const Requirement& one : after.requirements) {
    const auto was = old.find(one.id);
    if (was == old.end()) {
      const int severity_now = severity(after.header, one);
      const Change addition{named(one), "", verdict_text(after.header, one)};
      if (severity_now > 0)
        worse.emplace_back(severity_now, addition);
      else
        found.otherwise.push_back(addition);
      continue;
    }
    const Requirement& earlier = *was->second;
    const int change = severity(after.header, one) - severity(before.header, earlier);
    const Change verdicts{named(one), verdict_text(before.header, earlier), verdict_text(after.header, one)};
    if (change > 0) worse.emplace_back(change, verdicts);
    if (change < 0) better.emplace_back(-change, verdicts);
    if (change == 0 && earlier.verdict != one.verdict) found.otherwise.push_back(verdicts);
    compare_margins(earlier, one, margins);
    old.erase(was);
  }
  for (const Requirement& one : before.requirements)
    if (old.contains(one.id)) found.otherwise.push_back({named(one), verdict_text(before.header, one), ""});
  found.worse = sorted(std::move(worse));
  found.better = sorted(std::move(better));
  found.margins = sorted(std::move(margins));
}

void note(std::vector<Change>& changes, const char* what, const std::string& before,
          const std::string& after) {
  if (before != after) changes.push_back({what, visible(before), visible(after)});
}

std::string wrong_stage(const Result& result) {
  if (!result.localisation) return {};
  const StageErrors* stage = first_locally_wrong(*result.localisation);
  return stage == nullptr ? "none" : to_string(stage->stage);
}

void compare_headers(const Header& before, const Header& after, std::vector<Change>& changes) {
  note(changes, "candidate", before.candidate, after.candidate);
  note(changes, "kind", before.candidate_kind, after.candidate_kind);
  note(changes, "SHA-256 of the candidate", before.candidate_sha256, after.candidate_sha256);
  const auto commit = [](const Header& header) { return header.commit ? in_words(*header.commit) : ""; };
  note(changes, "commit", commit(before), commit(after));
  note(changes, "Plumbline", before.plumbline_version, after.plumbline_version);
  note(changes, "device", before.device, after.device);
  note(changes, "type", before.dtype, after.dtype);
  note(changes, "threads", std::to_string(before.threads), std::to_string(after.threads));
  note(changes, "seed", std::to_string(before.seed), std::to_string(after.seed));
  note(changes, "scope", before.scope, after.scope);
  std::map<std::string, std::pair<std::string, std::string>> versions;
  for (const auto& [name, version] : before.versions) versions[name].first = version;
  for (const auto& [name, version] : after.versions) versions[name].second = version;
  for (const auto& [name, both] : versions)
    note(changes, visible("version of " + name, 80).c_str(), both.first, both.second);
}

// The format of the differences: Markdown or plain text.
struct Style {
  const char *title, *subject, *side;
  std::string (*text)(std::string_view, std::size_t);
};

constexpr Style markdown = {"### {}\n\n", "- **{}**\n", "  - {}: {}\n", escaped};
constexpr Style plain = {"{}\n", "  {}\n", "      {:6} {}\n", visible};

std::string section(const Style& style, const char* title, const std::vector<Change>& changes) {
  if (changes.empty()) return {};
  std::string text = fmt::format(fmt::runtime(style.title), title);
  const auto side = [&](const char* when, const std::string& words) {
    text += fmt::format(fmt::runtime(style.side), when, words.empty() ? "nothing" : style.text(words, 700));
  };
  for (const Change& one : changes) {
    text += fmt::format(fmt::runtime(style.subject), style.text(one.subject, 300));
    side("before", one.before);
    side("now", one.after);
  }
  return text + "\n";
}

std::string sections(const Style& style, const Difference& found) {
  return section(style, "Worse", found.worse) + section(style, "Better", found.better) +
         section(style, "New, removed or changed", found.otherwise) +
         section(style, "Margins", found.margins) + section(style, "Where and why", found.places) +
         section(style, "Candidate, program and machine", found.headers);
}

std::string heading(const Difference& found) {
  if (!found.worse.empty())
    return fmt::format("✘ {} worse", counted(static_cast<std::int64_t>(found.worse.size()), "requirement"));
  return found.empty() ? "✔ Nothing changed" : "✔ No requirement is worse";
}

}  // namespace

Difference difference(const Result& before, const Result& after) {
  if (before.header.baseline || after.header.baseline)
    throw InputError(
        "report diff: one of the documents compares two candidates; expected two documents that judge one");
  if (before.header.specification_sha256 != after.header.specification_sha256)
    throw InputError(
        fmt::format("report diff: they are of different specifications, {} ({:.12}) and {} ({:.12})",
                    visible(before.header.specification, 60), before.header.specification_sha256,
                    visible(after.header.specification, 60), after.header.specification_sha256));
  Difference found;
  found.before = before.footer.verdict;
  found.after = after.footer.verdict;
  compare_requirements(before, after, found);
  note(found.places, "first locally wrong stage", wrong_stage(before), wrong_stage(after));
  note(found.places, "diagnosis", before.diagnosis ? sentence_of(*before.diagnosis) : "",
       after.diagnosis ? sentence_of(*after.diagnosis) : "");
  compare_headers(before.header, after.header, found.headers);
  return found;
}

std::string to_markdown(const Difference& found) {
  std::string text =
      fmt::format("## {}\n\n- before: {}\n- now: {}\n\n{}", heading(found), escaped(found.before, 600),
                  escaped(found.after, 600), sections(markdown, found));
  while (text.ends_with("\n\n")) text.pop_back();
  return text;
}

std::string to_text(const Difference& found) {
  return fmt::format("{}{}\n  before {}\n  now    {}\n", sections(plain, found), heading(found),
                     visible(found.before, 600), visible(found.after, 600));
}

}  // namespace plumbline::reports
