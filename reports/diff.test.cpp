#include "reports/diff.hpp"

#include <catch2/catch_test_macros.hpp>

#include "harness/result/examples.test.hpp"
#include "harness/system/error.hpp"

using namespace plumbline::reports;
using examples::requirement;

TEST_CASE("nothing changed between a document and itself") {
  for (const Result& result : {examples::passing(), examples::failing(), examples::incomplete()}) {
    CHECK(difference(result, result).empty());
    CHECK(to_text(difference(result, result)).find("Nothing changed") != std::string::npos);
  }
}

TEST_CASE("what got worse comes first, what got better after it") {
  Result before = examples::passing(), after = examples::failing();
  before.requirements[0] = requirement("CFG-1", 1, "the vocabulary has 6400 entries", Verdict::fail);
  after.requirements[1] = requirement("CFG-2", 1, "the hidden size is 512", Verdict::not_assessed);
  conclude(before);
  conclude(after);
  const Difference found = difference(before, after);
  REQUIRE(found.worse.size() == 3);
  CHECK(found.worse[0].subject == "GQA-2: query head h reads key/value head h div 4");
  CHECK(found.worse[0].before == "pass");
  CHECK(found.worse[0].after.starts_with("fail: layers.3.scores[0,3,7,2]: got 0.1931"));
  CHECK(found.worse[1].subject == "GQA-4: scores are scaled by 1/8");  // new, and an error
  CHECK(found.worse[1].before.empty());
  CHECK(found.worse[2].subject == "CFG-2: the hidden size is 512");
  REQUIRE(found.better.size() == 1);
  CHECK(found.better[0].after == "pass");
  REQUIRE(found.otherwise.size() == 1);
  CHECK(found.otherwise[0].after == "not applicable: a checkpoint has no code");
  CHECK(found.places[0].after == "layers.3.context");
  CHECK(found.places[1].subject == "diagnosis");
  CHECK(found.headers[0].subject == "candidate");
  CHECK(difference(after, before).worse.size() == 1);
  CHECK(to_markdown(found).starts_with("## ✘ 3 requirements worse\n"));
  CHECK(to_text(found).find("Worse\n  GQA-2") != std::string::npos);
}

TEST_CASE("a waiver is no repair, and losing it is worse") {
  const Result waived = examples::waived(), expired = examples::waived("2026-01-01");
  CHECK(difference(examples::passing(), waived).worse.size() == 1);
  CHECK(difference(waived, expired).worse.size() == 1);
  CHECK(difference(expired, waived).better.size() == 1);
}

TEST_CASE("a margin is told where it changed by more than a factor of two and matters") {
  const auto with = [](double difference) {
    Result result = examples::passing();
    result.requirements[0].checks[0].worst_difference = difference;
    result.requirements[0].checks[0].tolerance = 1;
    return result;
  };
  CHECK(difference(with(0.1), with(0.2)).margins.empty());
  CHECK(difference(with(0.1), with(0.21)).margins.size() == 1);
  CHECK(difference(with(0.21), with(0.1)).margins.size() == 1);
  CHECK(difference(with(0.001), with(0.009)).margins.empty());
  CHECK(difference(with(0), with(0.5)).margins[0].before == "0 of the tolerance");
}

TEST_CASE("documents of different specifications, or of two that were compared, say nothing of each other") {
  Result other = examples::passing();
  other.header.specification_sha256 = std::string(64, 'c');
  CHECK_THROWS_AS(difference(examples::passing(), other), plumbline::InputError);
  CHECK_THROWS_AS(difference(examples::compared(), examples::compared()), plumbline::InputError);
}

TEST_CASE("a difference shows hostile text harmlessly") {
  Result plain = examples::failing(), hostile = examples::with_text(examples::hostile());
  hostile.header.baseline.reset();
  const Difference found = difference(plain, hostile);
  for (const std::string& text : {to_markdown(found), to_text(found)}) {
    CHECK(text.find('\x1b') == std::string::npos);
    CHECK(text.find("\u202e") == std::string::npos);
  }
  CHECK(to_markdown(found).find("<script>") == std::string::npos);
}
