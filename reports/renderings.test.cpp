#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <string>

#include "harness/result/examples.test.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"
#include "reports/bundle.hpp"

using namespace plumbline::reports;
using plumbline::Json;
using plumbline::parse_json;

TEST_CASE("the statement is of the document and of what was judged, and never says PASSED of less") {
  const auto statement = [](const Result& result) { return parse_json(to_statement(result), "test"); };
  const auto word = [&](const Result& result) { return statement(result)["predicate"]["result"]; };
  CHECK(word(examples::passing()) == "PASSED");
  CHECK(word(examples::waived()) == "WARNED");
  CHECK(word(examples::failing()) == "FAILED");
  CHECK(word(examples::incomplete()) == "FAILED");
  CHECK(word(examples::shard(examples::passing(), 1)) == "FAILED");
  const Json subjects = statement(examples::failing())["subject"];
  REQUIRE(subjects.size() == 2);
  CHECK(subjects[0]["digest"]["sha256"] == plumbline::sha256(to_json(examples::failing())));
  CHECK(subjects[1]["name"] == "out/model");
  CHECK(subjects[1]["digest"]["sha256"] == std::string(64, 'b'));
  CHECK(statement(examples::failing())["predicate"]["failedTests"] == Json({"GQA-2"}));
  CHECK(statement(examples::waived())["predicate"]["warnedTests"] == Json({"GQA-2"}));
}

TEST_CASE("the provenance says what is known and nothing else") {
  Result result = examples::failing();
  result.header.commit = {std::string(40, 'c'), false};
  const Json predicate = parse_json(to_provenance(result), "test")["predicate"];
  CHECK(predicate["runDetails"]["builder"]["version"]["libtorch"] == "2.13.0");
  CHECK(predicate["runDetails"]["metadata"]["startedOn"] == "2026-11-22T16:00:00Z");
  CHECK(predicate["buildDefinition"]["resolvedDependencies"][2]["digest"]["gitCommit"] ==
        std::string(40, 'c'));
  CHECK(predicate["buildDefinition"]["resolvedDependencies"][2]["annotations"]["clean"] == false);
  result.header.started = "yesterday";
  result.header.commit->id = "HEAD";
  const Json less = parse_json(to_provenance(result), "test")["predicate"];
  CHECK(less["runDetails"]["metadata"].empty());
  CHECK(less["buildDefinition"]["resolvedDependencies"].size() == 2);
}

TEST_CASE("SARIF has what failed, where its file is known, and what somebody answers for") {
  const Json run = parse_json(to_sarif(examples::failing()), "test")["runs"][0];
  REQUIRE(run["results"].size() == 1);
  CHECK(run["results"][0]["ruleId"] == "GQA-2");
  CHECK(run["tool"]["driver"]["rules"][run["results"][0]["ruleIndex"].get<int>()]["id"] == "GQA-2");
  CHECK(run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "out/model");
  CHECK(run["invocations"][0]["toolExecutionNotifications"].size() == 1);
  CHECK_FALSE(run["results"][0].contains("suppressions"));
  const Json waived = parse_json(to_sarif(examples::waived()), "test")["runs"][0]["results"][0];
  CHECK(waived["suppressions"][0]["justification"] == "waived by Ada until 2026-12-31: an older kernel");
  CHECK(waived["locations"].empty());
  Result odd = examples::failing();
  odd.header.candidate = "/my models/a b%#?.py";
  const auto uri = [&] {
    return parse_json(
        to_sarif(odd),
        "test")["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
  };
  CHECK(uri() == "file:///my%20models/a%20b%25%23%3F.py");
  odd.requirements[3].statement = "[press](http://example.org) {0}";
  const std::string message =
      parse_json(to_sarif(odd), "test")["runs"][0]["results"][0]["message"]["text"].get<std::string>();
  CHECK(message.starts_with("[press\\](http://example.org) {{0}}"));
}

TEST_CASE("CTRF counts what JUnit counts, and a run that was not enough is not green") {
  const auto summary = [](const Result& result) {
    return parse_json(to_ctrf(result), "test")["results"]["summary"];
  };
  const Json failing = summary(examples::failing());
  CHECK(failing["tests"] == 6);
  CHECK(failing["passed"] == 3);
  CHECK(failing["failed"] == 2);
  CHECK(failing["skipped"] == 1);
  CHECK(summary(examples::waived())["other"] == 1);
  CHECK(summary(examples::waived())["failed"] == 0);
  CHECK(summary(examples::incomplete())["failed"] == 1);
  CHECK(summary(examples::incomplete())["pending"] == 2);
}

TEST_CASE("the badge says the verdict in a word") {
  CHECK(to_badge(examples::passing()).find("<title id=\"title\">minimind2-small: conforms</title>") !=
        std::string::npos);
  CHECK(to_badge(examples::waived()).find("conforms, 1 waived</title>") != std::string::npos);
  CHECK(to_badge(examples::failing()).find("does not conform</title>") != std::string::npos);
  CHECK(to_badge(examples::incomplete()).find("incomplete</title>") != std::string::npos);
  CHECK(to_badge(examples::with_text(examples::hostile())).find("<script>") == std::string::npos);
}

TEST_CASE("no rendering shows a raw control character or a mark of direction") {
  const Result result = examples::with_text(examples::hostile());
  for (const auto& one : renderings()) {
    const std::string text = one.make(result);
    INFO(one.name);
    CHECK(text.find("\u202e") == std::string::npos);
    CHECK(std::none_of(text.begin(), text.end(), [](char byte) {
      return byte != '\n' && (static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f);
    }));
  }
}
