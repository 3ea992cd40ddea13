#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "harness/result/conclusion_of_diagnosis.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/result.hpp"
#include "harness/result/words.hpp"
#include "harness/system/visible.hpp"
#include "reports/markdown.hpp"
#include "reports/rerun.hpp"

namespace plumbline::reports {

std::string escaped(std::string_view text, std::size_t limit) {
  const std::string shown = visible(text, limit);
  std::string safe;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const std::string_view rest = std::string_view(shown).substr(i);
    const char character = shown[i];
    if (character == '<') {
      safe += "&lt;";
    } else if (character == '>') {
      safe += "&gt;";
    } else if (character == '&') {
      safe += "&amp;";
    } else if (character == '$') {
      safe += "&#36;";  // mathematics, to some readers
    } else if (character == '@') {
      safe += "@&#8203;";  // nobody is notified
    } else if (rest.starts_with("://")) {
      safe += "&#58;";
    } else if (rest.starts_with("www.") || rest.starts_with("WWW.")) {
      safe += shown.substr(i, 3) + "&#46;";
      i += 3;
    } else if (std::string_view("\\`*_[]|~#").find(character) != std::string_view::npos) {
      safe += '\\';
      safe += character;
    } else {
      safe += character;
    }
  }
  const std::size_t digits = safe.find_first_not_of("0123456789");
  const bool ordered =
      digits != std::string::npos && digits > 0 && (safe[digits] == '.' || safe[digits] == ')');
  if (ordered) safe.insert(digits, 1, '\\');
  if (!safe.empty() && std::string_view("-+=").find(safe.front()) != std::string_view::npos)
    safe.insert(0, 1, '\\');
  return safe;
}

namespace {

constexpr std::size_t findings_limit = 5;       // sentences of one failure
constexpr std::size_t requirements_limit = 50;  // in full; a step summary has a limit of its own
constexpr std::size_t notes_limit = 20;

std::string title(const Header& header, const Footer& footer) {
  std::string sentence = footer.verdict;
  constexpr std::string_view incomplete = "incomplete: ";
  if (sentence.starts_with(incomplete)) sentence.erase(0, incomplete.size());
  const char* word = footer.status == 0   ? header.baseline ? "✔ Same" : "✔ Pass"
                     : footer.status == 1 ? header.baseline ? "✘ Different" : "✘ Fail"
                     : footer.status == 3 ? "? Incomplete"
                                          : "! Error";
  return fmt::format("## {}: {}\n\n", word, escaped(sentence, 600));
}

std::string judged(const Header& header) {
  std::string table = "| | |\n| --- | --- |\n";
  const auto row = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) table += fmt::format("| {} | {} |\n", escaped(name, 60), escaped(value));
  };
  row("Candidate", header.candidate);
  row("Kind", header.candidate_kind);
  row("SHA-256 of the candidate", header.candidate_sha256);
  if (header.baseline) {
    row("Compared with", header.baseline->name);
    row("Its kind", header.baseline->kind);
    row("Its SHA-256", header.baseline->sha256);
  }
  row("Specification", header.specification);
  row("SHA-256 of the specification", header.specification_sha256);
  row("Scope", is_whole(header) ? "everything" : scope_in_words(header.scope));
  if (header.shard) row("Shard", in_words(*header.shard));
  if (header.commit) row("Commit", in_words(*header.commit));
  for (const Waiver& waiver : header.waivers)
    row("Waiver", fmt::format("{}: {}{}", visible(waiver.requirement, 40), in_words(waiver),
                              in_force(waiver, header) ? "" : " (expired)"));
  row("Device", header.device);
  row("Type", header.dtype);
  row("Threads", std::to_string(header.threads));
  row("Seed", std::to_string(header.seed));
  std::string versions = header.plumbline_version.empty() ? "" : "plumbline " + header.plumbline_version;
  for (const auto& [name, version] : header.versions) {
    versions += fmt::format("{}{} {}", versions.empty() ? "" : ", ", visible(name, 40), visible(version, 80));
  }
  row("Versions", versions);
  row("Started", header.started);
  row("Again with", header.command);
  for (std::size_t i = 0; i < std::min(header.notes.size(), notes_limit); ++i) row("Note", header.notes[i]);
  if (header.notes.size() > notes_limit) {
    row("Note", fmt::format("and {} more in result.json", header.notes.size() - notes_limit));
  }
  return table + "\n";
}

std::string counts_row(const std::string& name, const Counts& counts, double seconds) {
  return fmt::format("| {} | {} | {} | {} | {} | {} | {:.1f} s |\n", name, counts.passed, counts.failed,
                     counts.errors, counts.not_assessed, counts.not_applicable, seconds);
}

std::string chapters(const Result& result) {
  std::string table =
      "| Chapter | passed | failed | errors | not assessed | not applicable | time |\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
  for (const Section& section : sections(result)) {
    table += counts_row(escaped(heading(section.chapter)), section.counts, section.seconds);
  }
  const Footer& footer = result.footer;
  const Counts all{footer.passed, footer.failed, footer.errors, footer.not_assessed, footer.not_applicable};
  return table + counts_row("all", all, footer.seconds) + "\n" +
         counted(footer.elements_compared, "element") + " compared" +
         (footer.longest_pass > 0 ? ", in passes of up to " + counted(footer.longest_pass, "token") : "") +
         ".\n\n";
}

std::string named(const Requirement& requirement) {
  const char* level = requirement.level == Level::should ? " (should)" : "";
  return fmt::format("- **{}**{} {}", escaped(requirement.id, 60), level, escaped(requirement.statement));
}

std::string with_findings(const Requirement& requirement) {
  std::string lines = named(requirement) + "\n";
  const auto failed = failed_checks(requirement);
  if (failed.empty() && requirement.reason.empty()) lines += "  - no finding was recorded\n";
  if (!requirement.reason.empty()) lines += "  - " + escaped(sentence_of(requirement.reason)) + "\n";
  for (std::size_t i = 0; i < std::min(failed.size(), findings_limit); ++i) {
    lines += "  - " + escaped(sentence_of(*failed[i]), 600) + "\n";
  }
  if (failed.size() > findings_limit) {
    lines += fmt::format("  - … and {} more in result.json\n", failed.size() - findings_limit);
  }
  return lines;
}

std::string with_reason(const Requirement& requirement) {
  return fmt::format("{} — {}\n", named(requirement), escaped(sentence_of(requirement.reason)));
}

// The requirements that `chosen` picks, one list entry each; empty without any.
template <typename Chosen>
std::string listed(const Result& result, Chosen chosen, std::string (*entry)(const Requirement&)) {
  std::string lines;
  std::size_t count = 0;
  for (const Requirement& requirement : result.requirements) {
    if (chosen(requirement) && ++count <= requirements_limit) lines += entry(requirement);
  }
  if (count > requirements_limit)
    lines += fmt::format("- … and {} more in result.json\n", count - requirements_limit);
  return lines;
}

std::string share(const std::optional<Check>& check) {
  if (!check) return "not shown";
  const char* mark = check->within ? "✔" : "✘";
  if (!check->worst_difference || !check->tolerance) return mark;
  return fmt::format("{} {:.1e} of {:.1e}", mark, *check->worst_difference, *check->tolerance);
}

std::string localised(const Result& result, const LocalisationWords& words) {
  const Localisation& found = *result.localisation;
  std::string lines = fmt::format("- {}\n", escaped(conclusion_of(result), 600));
  const auto say = [&](const char* name, const std::string& text) {
    if (!text.empty()) lines += fmt::format("- {}: {}\n", name, escaped(text, 600));
  };
  const auto* divergent = first_divergent(found);
  const auto* wrong = first_locally_wrong(found);
  if (divergent != nullptr) say(words.divergent, sentence_of(*divergent->inherited));
  if (wrong != nullptr) say(words.wrong, sentence_of(*wrong->local));
  say(words.right_runs, situations(found, true));
  say(words.wrong_runs, situations(found, false));
  if (found.stages.empty()) return lines;
  lines += fmt::format(
      "\n<details><summary>Errors by stage in execution order ({})</summary>\n\n"
      "| Stage | inherited | local |\n| --- | --- | --- |\n",
      escaped(found.mode, 60));
  for (const StageErrors& one : found.stages)
    lines += fmt::format("| {}{} | {} | {} |\n", escaped(to_string(one.stage), 60),
                         &one == wrong       ? fmt::format(" ← {}", words.wrong)
                         : &one == divergent ? fmt::format(" ← {}", words.divergent)
                                             : "",
                         share(one.inherited), share(one.local));
  return lines + "\n</details>\n";
}

std::string diagnosed(const Header& header, const Diagnosis& found) {
  std::string lines = fmt::format("- {}\n", escaped(sentence_of(found), 600));
  for (const auto& one : found.advice)
    lines += fmt::format("- **{0}**: {1}\n- **{0}**：{2}\n", escaped(one.defect, 200),
                         escaped(for_candidate(header, one.english), 4000),
                         escaped(for_candidate(header, one.chinese), 4000));
  return lines;
}

std::string section(const std::string& name, const std::string& lines) {
  return lines.empty() ? "" : fmt::format("### {}\n\n{}\n", name, lines);
}

}  // namespace

std::string to_markdown(const Result& result) {
  const auto with = [](Verdict verdict) {
    return [verdict](const Requirement& requirement) { return requirement.verdict == verdict; };
  };
  const auto has_finding = [](const Requirement& requirement) { return !requirement.finding.empty(); };
  const auto finding = [](const Requirement& requirement) {
    return fmt::format("{}\n  - {}\n", named(requirement), escaped(requirement.finding));
  };
  const auto& words = words_of_localisation(result.header);
  std::string document = title(result.header, result.footer) + judged(result.header) + chapters(result);
  const auto failed = [&](bool waived) {
    return [&header = result.header, waived](const Requirement& requirement) {
      return requirement.verdict == Verdict::fail && (waiver_of(header, requirement) != nullptr) == waived;
    };
  };
  document += section("Failed", listed(result, failed(false), with_findings));
  document += section("Failed and waived", listed(result, failed(true), with_findings));
  document += section("Errors", listed(result, with(Verdict::error), with_findings));
  if (result.localisation) document += section(words.title, localised(result, words));
  if (result.diagnosis)
    document += section(title_of(*result.diagnosis), diagnosed(result.header, *result.diagnosis));
  document += section("Not assessed", listed(result, with(Verdict::not_assessed), with_reason));
  if (const std::string lines = listed(result, with(Verdict::not_applicable), with_reason); !lines.empty()) {
    document += fmt::format("<details><summary>Not applicable: {}</summary>\n\n{}\n</details>\n\n",
                            counted(result.footer.not_applicable, "requirement"), lines);
  }
  document += section("Findings", listed(result, has_finding, finding));
  while (document.ends_with("\n\n")) document.pop_back();
  return document;
}

}  // namespace plumbline::reports
