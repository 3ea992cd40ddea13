#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "harness/result/json_text.hpp"
#include "harness/result/moments.hpp"
#include "harness/result/words.hpp"
#include "harness/system/visible.hpp"
#include "reports/bundle.hpp"

namespace plumbline::reports {
namespace {

constexpr std::size_t text_limit = 2000;   // characters of one text
constexpr std::size_t findings_limit = 5;  // sentences of one failure

// A message that says what it says: no placeholder, no link.
std::string message(std::string_view text, std::size_t limit = text_limit) {
  std::string safe;
  for (const char character : visible(text, limit)) {
    if (character == '{' || character == '}') safe += character;
    if (character == '(' && safe.ends_with("]")) safe.insert(safe.size() - 1, "\\");
    safe += character;
  }
  return safe;
}

// Of a path as a relative or absolute URI.
std::string uri(const std::string& path) {
  std::string safe = path.starts_with("/") ? "file://" : path.find(':') < path.find('/') ? "./" : "";
  for (const char character : path) {
    const bool plain = std::string_view("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/")
                           .find(character) != std::string_view::npos;
    safe += plain ? std::string(1, character)
                  : fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(character)));
  }
  return safe;
}

// The only file that is known: the candidate's own, where it is one.
Json locations(const Header& header) {
  if (header.candidate_sha256.empty() || header.candidate.empty() || header.candidate.starts_with("exec:") ||
      header.candidate.size() > text_limit)
    return Json::array();
  const Json physical = {{"artifactLocation", {{"uri", uri(header.candidate)}}}};
  return Json::array({Json({{"physicalLocation", physical}})});
}

Json rule(const Requirement& requirement) {
  Json one = {{"id", visible(requirement.id, 60)},
              {"shortDescription", {{"text", message(requirement.statement)}}},
              {"defaultConfiguration", {{"level", requirement.level == Level::must ? "error" : "warning"}}}};
  if (!requirement.source.empty()) one["help"] = {{"text", message(requirement.source)}};
  return one;
}

Json finding(const Header& header, const Requirement& requirement, std::size_t index) {
  std::string text = requirement.statement;
  const auto failed = failed_checks(requirement);
  for (std::size_t i = 0; i < std::min(failed.size(), findings_limit); ++i)
    text += (i == 0 ? ": " : "; ") + visible(sentence_of(*failed[i]));
  if (failed.size() > findings_limit) text += fmt::format("; and {} more", failed.size() - findings_limit);
  Json one = {{"ruleId", visible(requirement.id, 60)},
              {"ruleIndex", index},
              {"level", requirement.level == Level::must ? "error" : "warning"},
              {"message", {{"text", message(text)}}},
              {"locations", locations(header)},
              {"partialFingerprints", {{"requirement/v1", visible(requirement.id, 60)}}}};
  if (const Waiver* waiver = waiver_of(header, requirement); waiver != nullptr)
    one["suppressions"] = Json::array(
        {Json({{"kind", "external"}, {"status", "accepted"}, {"justification", in_words(*waiver)}})});
  return one;
}

Json invocation(const Result& result) {
  Json notes = Json::array();
  for (const Requirement& one : result.requirements)
    if (one.verdict == Verdict::error)
      notes.push_back(
          {{"level", "error"},
           {"message", {{"text", message(one.id + " could not be judged: " + sentence_of(one.reason))}}}});
  Json run = {{"executionSuccessful", result.footer.status == 0 || result.footer.status == 1},
              {"exitCode", result.footer.status},
              {"exitCodeDescription", visible(result.footer.verdict, text_limit)},
              {"commandLine", visible(result.header.command, text_limit)},
              {"toolExecutionNotifications", std::move(notes)}};
  if (milliseconds_of(result.header.started)) run["startTimeUtc"] = result.header.started;
  if (const auto end = end_of(result)) run["endTimeUtc"] = moment_of(*end);
  return run;
}

}  // namespace

std::string to_sarif(const Result& result) {
  Json rules = Json::array(), findings = Json::array();
  for (const Requirement& one : result.requirements) {
    if (one.verdict == Verdict::fail) findings.push_back(finding(result.header, one, rules.size()));
    rules.push_back(rule(one));
  }
  const Json driver = {{"name", "plumbline"},
                       {"version", visible(result.header.plumbline_version, 60)},
                       {"rules", std::move(rules)}};
  Json run = {{"tool", {{"driver", driver}}},
              {"invocations", Json::array({invocation(result)})},
              {"results", std::move(findings)},
              {"columnKind", "unicodeCodePoints"}};
  return dump({{"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
               {"version", "2.1.0"},
               {"runs", Json::array({std::move(run)})}});
}

}  // namespace plumbline::reports
