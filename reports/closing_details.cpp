// All of what a run found, for those who ask for it: failures as sentences, what was not assessed, advice,
// findings.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "harness/result/conclusion_of_diagnosis.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/visible.hpp"
#include "reports/rerun.hpp"
#include "reports/terminal_page.hpp"

namespace plumbline::reports {
namespace {

constexpr std::size_t findings_limit = 3;       // sentences of one failure
constexpr std::size_t requirements_limit = 20;  // failures told in full

void tell(TerminalPage& page, const Requirement& requirement, int label) {
  const std::string id = padded(short_id(requirement, page.paint), label);
  page.beside(
      id, page.paint.of(requirement.verdict, id),
      page.paint.text(requirement.statement) + (requirement.level == Level::should ? " (should)" : ""), 2,
      [&](const std::string& line) { return page.paint.bold(line); });
  const auto found = sentences(requirement);
  for (std::size_t i = 0; i < std::min(found.size(), findings_limit); ++i) {
    page.plain(page.paint.text(found[i], 600), label + 4);
  }
  if (found.size() > findings_limit) {
    page.dim(fmt::format("{} and {} more{}", page.paint.ellipsis(), found.size() - findings_limit,
                         page.elsewhere()),
             label + 4);
  }
}

std::string ids(const Requirements& requirements, std::size_t first, const Paint& paint) {
  std::string list;
  for (std::size_t i = first; i < requirements.size(); ++i) {
    list += (list.empty() ? "" : ", ") + short_id(*requirements[i], paint);
  }
  return list;
}

void tell_all(TerminalPage& page, const std::string& name, const Requirements& requirements) {
  if (requirements.empty()) return;
  const int label = label_width(requirements, page.paint);
  page.lines += page.paint.of(requirements.front()->verdict, name) + "\n";
  for (std::size_t i = 0; i < std::min(requirements.size(), requirements_limit); ++i) {
    tell(page, *requirements[i], label);
  }
  if (requirements.size() > requirements_limit) {
    page.dim(
        fmt::format("{} and {} more{}: {}", page.paint.ellipsis(), requirements.size() - requirements_limit,
                    page.elsewhere(), ids(requirements, requirements_limit, page.paint)),
        2);
  }
  page.lines += "\n";
}

void tell_waived(TerminalPage& page, const Header& header, const Requirements& waived) {
  if (waived.empty()) return;
  const int label = label_width(waived, page.paint);
  page.lines += page.paint.of(Verdict::fail, "Failed and waived") + "\n";
  for (const Requirement* requirement : waived) {
    tell(page, *requirement, label);
    page.dim(page.paint.text(in_words(*waiver_of(header, *requirement))), label + 4);
  }
  page.lines += "\n";
}

void not_assessed(TerminalPage& page, const Requirements& requirements) {
  if (requirements.empty()) return;
  page.lines += page.paint.of(Verdict::not_assessed, "Not assessed") + "\n";
  for (const auto& [reason, members] : grouped(requirements)) {
    if (members.size() == 1) {
      const std::string id = short_id(*members.front(), page.paint);
      page.beside(id, page.paint.of(Verdict::not_assessed, id), page.paint.text(members.front()->statement),
                  2, [&](const std::string& line) { return page.paint.bold(line); });
      page.plain(page.paint.text(sentence_of(reason)), columns(id) + 4);
    } else {
      page.plain(fmt::format("{}: {}", counted(static_cast<std::int64_t>(members.size()), "requirement"),
                             page.paint.text(sentence_of(reason))),
                 2);
      page.dim(ids(members, 0, page.paint), 4);
    }
  }
  page.lines += "\n";
}

void not_applicable(TerminalPage& page, const Requirements& requirements) {
  if (requirements.empty()) return;
  page.lines += page.paint.dim("Not applicable") + "\n";
  for (const auto& [reason, members] : grouped(requirements)) {
    page.dim(fmt::format("{}: {}", counted(static_cast<std::int64_t>(members.size()), "requirement"),
                         page.paint.text(sentence_of(reason))),
             2);
  }
  page.lines += "\n";
}

void localisation(TerminalPage& page, const Result& result) {
  if (!result.localisation) return;
  const Localisation& found = *result.localisation;
  const LocalisationWords& words = words_of_localisation(result.header);
  page.lines += page.paint.bold(words.title) + "\n";
  page.plain(page.paint.text(conclusion_of(result), 600), 2);
  const int room = columns(words.wrong);
  const auto say = [&](const std::string& label, const std::string& text) {
    if (!text.empty())
      page.beside(padded(label, room), page.paint.dim(padded(label, room)), page.paint.text(text, 600), 2,
                  [](const std::string& line) { return line; });
  };
  if (const auto* stage = first_divergent(found)) say(words.divergent, sentence_of(*stage->inherited));
  if (const auto* stage = first_locally_wrong(found)) say(words.wrong, sentence_of(*stage->local));
  say(words.right_runs, situations(found, true));
  say(words.wrong_runs, situations(found, false));
  page.lines += "\n";
}

void diagnosis(TerminalPage& page, const Header& header, const Diagnosis& found) {
  page.lines += page.paint.bold(title_of(found)) + "\n";
  page.plain(page.paint.text(sentence_of(found), 600), 2);
  for (const auto& one : found.advice)
    page.dim(page.paint.text(fmt::format("{}: {}", one.defect, for_candidate(header, one.english)), 4000), 2);
  page.lines += "\n";
}

void findings(TerminalPage& page, const Result& result) {
  Requirements found;
  for (const Requirement& requirement : result.requirements) {
    if (!requirement.finding.empty()) found.push_back(&requirement);
  }
  if (found.empty()) return;
  const int label = label_width(found, page.paint);
  page.lines += page.paint.bold("Findings") + "\n";
  for (const Requirement* requirement : found) {
    const std::string id = padded(short_id(*requirement, page.paint), label);
    page.beside(id, page.paint.dim(id), page.paint.text(requirement->finding), 2,
                [](const std::string& line) { return line; });
  }
  page.lines += "\n";
}

}  // namespace

void add_details(TerminalPage& page, const Result& result) {
  const auto failed = failures_of(result);
  page.lines += "\n";
  tell_all(page, "Failed", failed.musts);
  tell_waived(page, result.header, failed.waived);
  tell_all(page, "Recommendations not met", failed.shoulds);
  tell_all(page, "Errors", with(result, Verdict::error));
  not_assessed(page, with(result, Verdict::not_assessed));
  not_applicable(page, with(result, Verdict::not_applicable));
  localisation(page, result);
  if (result.diagnosis) diagnosis(page, result.header, *result.diagnosis);
  findings(page, result);
}

}  // namespace plumbline::reports
