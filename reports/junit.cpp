#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "harness/result/result.hpp"
#include "harness/result/words.hpp"
#include "harness/system/markup.hpp"
#include "harness/system/visible.hpp"
#include "reports/junit.hpp"

namespace plumbline::reports {
namespace {

constexpr std::size_t text_limit = 2000;    // characters of one text
constexpr std::size_t findings_limit = 20;  // sentences of one failure; result.json has them all

// Fit for an attribute and for content alike: one line, nothing that XML forbids, no `]]>`.
std::string xml(std::string_view text) {
  return escaped(visible(text, text_limit));
}

std::string seconds(double value) {
  return fmt::format("{:.3f}", std::isfinite(value) && value > 0 ? value : 0.0);
}

// How a requirement counts in JUnit. A failure or an error makes the build fail; a "should" is neither.
struct Outcome {
  const char* element;  // nullptr: passed
  std::string message;
};

Outcome outcome_of(const Header& header, const Requirement& requirement) {
  const std::string verdict = to_string(requirement.verdict);
  const auto failed = failed_checks(requirement);
  const std::string finding = !failed.empty()               ? sentence_of(*failed.front())
                              : !requirement.reason.empty() ? sentence_of(requirement.reason)
                                                            : "no finding was recorded";
  const bool should = requirement.level == Level::should;
  switch (requirement.verdict) {
    case Verdict::pass:
      return {nullptr, ""};
    case Verdict::fail:
      if (const Waiver* waiver = waiver_of(header, requirement); waiver != nullptr)
        return {"skipped", in_words(*waiver) + "; failed: " + finding};
      return should ? Outcome{"skipped", "recommendation not met: " + finding} : Outcome{"failure", finding};
    case Verdict::error:
      return should ? Outcome{"skipped", "recommendation, error: " + sentence_of(requirement.reason)}
                    : Outcome{"error", sentence_of(requirement.reason)};
    default:
      return {"skipped", verdict + ": " + sentence_of(requirement.reason)};
  }
}

std::string details(const Requirement& requirement) {
  const auto failed = failed_checks(requirement);
  std::string lines;
  for (std::size_t i = 0; i < std::min(failed.size(), findings_limit); ++i) {
    lines += xml(sentence_of(*failed[i])) + "\n";
  }
  if (failed.size() > findings_limit)
    lines += fmt::format("and {} more in result.json\n", failed.size() - findings_limit);
  return lines;
}

std::string testcase(const std::string& suite, const Header& header, const Requirement& requirement) {
  std::string element =
      fmt::format("    <testcase classname=\"{}\" name=\"{} {}\" time=\"{}\"", xml(suite),
                  xml(requirement.id), xml(requirement.statement), seconds(requirement.seconds));
  const Outcome outcome = outcome_of(header, requirement);
  if (outcome.element == nullptr && requirement.finding.empty()) return element + "/>\n";
  element += ">\n";
  if (outcome.element != nullptr) {
    const bool skipped = std::string_view(outcome.element) == "skipped";
    const std::string type = skipped ? "" : fmt::format(" type=\"{}\"", to_string(requirement.verdict));
    element += fmt::format("      <{0} message=\"{1}\"{2}>{3}</{0}>\n", outcome.element, xml(outcome.message),
                           type, skipped ? "" : details(requirement));
  }
  if (!requirement.finding.empty())
    element += "      <system-out>" + xml(requirement.finding) + "</system-out>\n";
  return element + "    </testcase>\n";
}

std::string properties(const Header& header) {
  std::string lines = "    <properties>\n";
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!value.empty())
      lines += fmt::format("      <property name=\"{}\" value=\"{}\"/>\n", xml(name), xml(value));
  };
  add("plumbline", header.plumbline_version);
  add("specification", header.specification);
  add("specification_sha256", header.specification_sha256);
  add("candidate", header.candidate);
  add("candidate_kind", header.candidate_kind);
  add("candidate_sha256", header.candidate_sha256);
  if (header.baseline) {
    add("baseline", header.baseline->name);
    add("baseline_kind", header.baseline->kind);
    add("baseline_sha256", header.baseline->sha256);
  }
  for (const std::string& note : header.notes) add("note", note);
  add("device", header.device);
  add("dtype", header.dtype);
  add("threads", std::to_string(header.threads));
  add("seed", std::to_string(header.seed));
  for (const auto& [name, version] : header.versions) add("version." + name, version);
  add("command", header.command);
  add("scope", header.scope);
  if (header.shard) add("shard", in_words(*header.shard));
  for (const Waiver& waiver : header.waivers) add("waiver." + waiver.requirement, in_words(waiver));
  if (header.commit) add("commit", in_words(*header.commit));
  return lines + "    </properties>\n";
}

struct Totals {
  int tests = 0, failures = 0, errors = 0, skipped = 0;

  void add(const Outcome& outcome) {
    ++tests;
    if (outcome.element == nullptr) return;
    const std::string_view element = outcome.element;
    ++(element == "failure" ? failures : element == "error" ? errors : skipped);
  }

  std::string attributes() const {
    return fmt::format("tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"", tests, failures, errors,
                       skipped);
  }
};

std::string testsuite(const std::string& name, const Header& header, const Section& section, Totals& all) {
  Totals totals;
  std::string cases;
  for (const Requirement* requirement : section.requirements) {
    const Outcome outcome = outcome_of(header, *requirement);
    totals.add(outcome);
    all.add(outcome);
    cases += testcase(name, header, *requirement);
  }
  const std::string timestamp =
      header.started.empty() ? "" : fmt::format(" timestamp=\"{}\"", xml(header.started));
  return fmt::format("  <testsuite name=\"{}\" {} time=\"{}\"{}>\n{}{}  </testsuite>\n", xml(name),
                     totals.attributes(), seconds(section.seconds), timestamp, properties(header), cases);
}

// JUnit knows no "incomplete", and readers take what was skipped for harmless: a run that was not enough must
// not look green.
std::string verdict_suite(const std::string& prefix, const Result& result, Totals& all) {
  Totals totals;
  totals.add({"error", ""});
  ++all.tests, ++all.errors;
  return fmt::format(
      "  <testsuite name=\"{0}Verdict\" {1} time=\"0.000\">\n    <testcase classname=\"{0}Verdict\" "
      "name=\"every applicable must was assessed\" time=\"0.000\">\n      <error message=\"{2}\" "
      "type=\"incomplete\"></error>\n    </testcase>\n  </testsuite>\n",
      xml(prefix), totals.attributes(), xml(result.footer.verdict));
}

}  // namespace

std::string to_junit(const std::vector<JunitPart>& parts) {
  Totals all;
  double time = 0;
  std::string suites;
  for (const auto& [prefix, result] : parts) {
    const int bad = all.failures + all.errors;
    for (const Section& section : sections(*result))
      suites += testsuite(prefix + heading(section.chapter), result->header, section, all);
    if (result->footer.status != 0 && all.failures + all.errors == bad)
      suites += verdict_suite(prefix, *result, all);
    time += result->footer.seconds;
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"plumbline\" {} "
      "time=\"{}\">\n{}</testsuites>\n",
      all.attributes(), seconds(time), suites);
}

std::string to_junit(const Result& result) {
  return to_junit({{"", &result}});
}

}  // namespace plumbline::reports
