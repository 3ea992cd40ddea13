#include <fmt/format.h>

#include "harness/result/json_text.hpp"
#include "harness/result/moments.hpp"
#include "harness/result/words.hpp"
#include "harness/system/visible.hpp"
#include "reports/bundle.hpp"

namespace plumbline::reports {
namespace {

constexpr std::size_t text_limit = 2000;  // characters of one text

std::string message_of(const Requirement& requirement) {
  const auto failed = failed_checks(requirement);
  return !failed.empty() ? sentence_of(*failed.front()) : sentence_of(requirement.reason);
}

// Only "failed" makes a build fail: a "should" or a waived failure is "other".
const char* status_of(const Header& header, const Requirement& requirement) {
  switch (requirement.verdict) {
    case Verdict::pass:
      return "passed";
    case Verdict::not_assessed:
      return "pending";
    case Verdict::not_applicable:
      return "skipped";
    default:
      return requirement.level == Level::must && waiver_of(header, requirement) == nullptr ? "failed"
                                                                                           : "other";
  }
}

Json test_of(const Header& header, const Section& section, const Requirement& requirement) {
  Json test = {{"name", fmt::format("{} {}", visible(requirement.id, 60), visible(requirement.statement))},
               {"status", status_of(header, requirement)},
               {"duration", milliseconds_of(requirement.seconds)},
               {"suite", Json::array({visible(heading(section.chapter))})},
               {"rawStatus", to_string(requirement.verdict)}};
  std::string message = message_of(requirement);
  if (const Waiver* waiver = waiver_of(header, requirement); waiver != nullptr)
    message = in_words(*waiver) + "; failed: " + message;
  if (requirement.verdict != Verdict::pass) test["message"] = visible(message, text_limit);
  test["tags"] = Json::array({to_string(requirement.level)});
  return test;
}

// Readers take what is pending or skipped for harmless: a run that was not enough must not look green.
Json test_of_verdict(const Footer& footer) {
  return {{"name", "every applicable must was assessed"},
          {"status", "failed"},
          {"duration", 0},
          {"suite", Json::array({"Verdict"})},
          {"rawStatus", word_of_status(footer.status)},
          {"message", visible(footer.verdict, text_limit)}};
}

}  // namespace

std::string to_ctrf(const Result& result) {
  Json tests = Json::array();
  Json summary = {{"tests", 0}, {"passed", 0}, {"failed", 0}, {"skipped", 0}, {"pending", 0}, {"other", 0}};
  const auto add = [&](Json test) {
    for (const std::string& key : {std::string("tests"), test["status"].get<std::string>()})
      summary[key] = summary[key].get<int>() + 1;
    tests.push_back(std::move(test));
  };
  for (const Section& section : sections(result))
    for (const Requirement* requirement : section.requirements)
      add(test_of(result.header, section, *requirement));
  if (result.footer.status != 0 && summary["failed"] == 0) add(test_of_verdict(result.footer));
  summary["start"] = milliseconds_of(result.header.started).value_or(0);
  summary["stop"] = end_of(result).value_or(0);
  return dump({{"reportFormat", "CTRF"},
               {"specVersion", "0.1.0"},
               {"generatedBy", "plumbline"},
               {"results",
                {{"tool", {{"name", "plumbline"}, {"version", visible(result.header.plumbline_version, 60)}}},
                 {"summary", std::move(summary)},
                 {"tests", std::move(tests)},
                 {"extra",
                  {{"verdict", visible(result.footer.verdict, text_limit)},
                   {"candidate", visible(result.header.candidate)},
                   {"specification", visible(result.header.specification)}}}}}});
}

}  // namespace plumbline::reports
