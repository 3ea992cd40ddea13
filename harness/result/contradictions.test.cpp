#include "harness/result/contradictions.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "harness/result/examples.test.hpp"

using namespace plumbline::reports;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

bool any_names(const std::vector<std::string>& findings, const std::string& part) {
  return std::any_of(findings.begin(), findings.end(),
                     [&](const std::string& one) { return one.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("what is said of numbers is held against them") {
  CHECK(contradictions(examples::failing()).empty());
  const auto said = [](double difference, double tolerance, bool within) {
    Result result = examples::failing();
    Check& check = result.requirements[3].checks[1];
    check.within = within;
    check.worst_difference = difference;
    check.tolerance = tolerance;
    check.actual = check.expected = "nan";
    check.beyond = within ? 0 : 1;
    return contradictions(result);
  };
  CHECK(said(3e-4, 2e-6, false).empty());
  CHECK(said(1e-6, 2e-6, true).empty());
  CHECK(said(2e-6, 2e-6, true).empty());
  CHECK(said(not_a_number, 2e-6, false).empty());
  CHECK(said(0, 0, false).empty());
  CHECK_FALSE(said(1e-300, 0, true).empty());
  CHECK(any_names(said(3e-4, 2e-6, true), "GQA-2: layers.3.scores is off by 0.0003 where 2e-06 is allowed"));
  CHECK(any_names(said(1e-6, 2e-6, false), "said not to be within"));
  CHECK_FALSE(said(not_a_number, 2e-6, true).empty());
  CHECK_FALSE(said(1, not_a_number, true).empty());
  CHECK_FALSE(said(1, std::numeric_limits<double>::infinity(), true).empty());
  Result same = examples::passing();
  same.requirements[0].checks[0].identical = true;
  CHECK(contradictions(same).empty());
  same.requirements[0].checks[0].worst_difference = 1e-9;
  CHECK(any_names(contradictions(same), "same bit for bit"));
  Result idle = examples::failing();
  for (Check& check : idle.requirements[3].checks) check = examples::exact("scores", "equal", 64);
  CHECK(any_names(contradictions(idle), "GQA-2 has the verdict fail, but no check of it failed"));
  Result stage = examples::failing();
  stage.localisation->stages[2].inherited->within = true;
  CHECK(any_names(contradictions(stage), "localisation: layers.3.probabilities"));
  Result hollow = examples::passing();
  hollow.chapters.push_back({4, "KV cache"});
  CHECK(any_names(contradictions(hollow), "chapter 4 has no requirement"));
}

TEST_CASE("values are held against the numbers") {
  const auto said = [](const std::function<void(Check&)>& edit) {
    Result result = examples::failing();
    edit(result.requirements[3].checks[1]);
    return contradictions(result);
  };
  CHECK(said([](Check&) {}).empty());
  CHECK(any_names(said([](Check& check) { check.elements = 3; }), "has 5 elements that do not hold, of 3"));
  CHECK(any_names(said([](Check& check) { check.beyond = 0; }), "with 0 elements beyond their tolerance"));
  CHECK(any_names(said([](Check& check) { check.beyond = -1; }), "has -1 elements that do not hold"));
  CHECK(any_names(said([](Check& check) { check.actual = "0.7"; }),
                  "is 0.7 and 0.1934, and is said to be off by 3.000e-04"));
  CHECK(any_names(said([](Check& check) { check.worst_difference = -1; }), "below 0"));
}

TEST_CASE("what two do alike has to be identical") {
  Result result = examples::compared();
  Check& check = result.requirements[0].checks[0];
  check.form = Form::same_bits;
  CHECK(contradictions(result).empty());
  check.identical.reset();
  CHECK(any_names(contradictions(result), "said to be the same bits, and not to be identical"));
  check.form = Form::measured;
  check.actual = "0.8 x the time";
  check.expected = not_judged;
  CHECK(contradictions(result).empty());
}

TEST_CASE("what is said of the whole run is held against what is recorded") {
  const auto said = [](const std::function<void(Result&)>& edit) {
    Result result = examples::failing();
    edit(result);
    return contradictions(result);
  };
  CHECK(said([](Result&) {}).empty());
  CHECK(contradictions(examples::compared()).empty());
  CHECK(any_names(said([](Result& result) { result.localisation.reset(); }), "localisation is missing"));
  CHECK(any_names(said([](Result& result) { result.diagnosis->explanations[0].explained = 10; }),
                  "diagnosis: softmax-bfloat16 is said to account for 10 of 9 observations"));
  CHECK(any_names(said([](Result& result) { result.header.started = "2026-02-30T00:00:00Z"; }),
                  "header.started is 2026-02-30T00:00:00Z, which is no time"));
  CHECK(any_names(said([](Result& result) {
                    result.header.commit = {"HEAD", true};
                  }),
                  "header.commit.id is HEAD"));
  CHECK(any_names(said([](Result& result) { result.header.dtype = "f64"; }), "header.dtype is f64"));
  CHECK(any_names(said([](Result& result) { result.header.scope = "chapter 1"; }),
                  "header.scope is chapter 1, and GQA-1 was looked at"));
  CHECK(any_names(said([](Result& result) { result.header.scope = "all"; }),
                  "neither everything nor chapters"));
  for (const auto* scope : {"", " and ", "chapter 3requirement GQA-2", "requirement GQA-2 and chapter 3"})
    CHECK(any_names(said([&](Result& result) { result.header.scope = scope; }),
                    "neither everything nor chapters or requirements"));
  CHECK(any_names(said([](Result& result) { result.header.scope = "requirement GQA-2"; }),
                  "header.scope is requirement GQA-2, and CFG-1 was looked at"));
  CHECK(any_names(said([](Result& result) {
                    result.requirements[2].verdict = Verdict::not_assessed;
                    result.requirements[2].reason = Reason::not_asked_for();
                  }),
                  "header.scope is everything, and GQA-1 was not looked at"));
  Result passing = examples::passing();
  passing.localisation = examples::localisation();
  CHECK(any_names(contradictions(passing), "there is a localisation, and nothing that was run failed"));
}
