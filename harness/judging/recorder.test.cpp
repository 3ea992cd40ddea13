#include "harness/judging/recorder.hpp"

#include "harness/candidate/reference.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fstream>
#include <regex>
#include "harness/system/json.test.hpp"

#include "harness/evidence/compare.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
using reports::Verdict;
namespace fs = std::filesystem;

namespace {

reports::Check check(bool within, std::int64_t elements = 3) {
  reports::Check made;
  made.within = within;
  made.elements = elements;
  return made;
}

RequirementList list() {
  RequirementList made;
  made.chapters = {{3, "Grouped-query attention"}};
  for (const auto& [id, applicable] : {std::pair{"GQA-1", std::set<std::string>{"reference", "checkpoint"}},
                                       {"GQA-2", std::set<std::string>{"reference"}}}) {
    RequirementList::Entry entry;
    entry.requirement.id = id;
    entry.requirement.chapter = 3;
    entry.applicable = applicable;
    made.entries.push_back(entry);
  }
  return made;
}

// What a recorder makes of GQA-1 after `body`, which runs between begin and end.
reports::Requirement judged(const std::function<void(Recorder&)>& body) {
  Recorder recorder(list(), "reference");
  recorder.begin("GQA-1");
  body(recorder);
  recorder.end(0.5);
  CHECK(recorder.requirements()[1].verdict == Verdict::not_assessed);
  return recorder.requirements()[0];
}

const fs::path source = PLUMBLINE_SOURCE_DIR;

}  // namespace

TEST_CASE("recorder: what no check was begun for is not assessed, or not applicable to the kind",
          "[evidence][recorder]") {
  const auto all = Recorder(list(), "checkpoint").requirements();
  CHECK(all[0].verdict == Verdict::not_assessed);
  CHECK(all[0].reason == "no check looked at it");
  CHECK(all[1].verdict == Verdict::not_applicable);
  CHECK(all[1].reason == "a candidate of kind checkpoint can never show it");
  for (const auto& requirement : Recorder(list(), "something else").requirements())
    CHECK(requirement.verdict == Verdict::not_applicable);
  const Recorder recorder(list(), "checkpoint");
  CHECK(recorder.knows("GQA-2"));
  CHECK_FALSE(recorder.knows("GQA-3"));
  CHECK(recorder.applicable("GQA-1"));
  CHECK_FALSE(recorder.applicable("GQA-2"));
  CHECK_FALSE(recorder.applicable("GQA-3"));
}

TEST_CASE("recorder: a requirement passes only by checks that compared something and held",
          "[evidence][recorder]") {
  const auto passed = judged([](Recorder& recorder) {
    recorder.add(check(true));
    recorder.add(check(true, 1));
    recorder.finding("one");
    recorder.finding("two");
  });
  CHECK(passed.verdict == Verdict::pass);
  CHECK(passed.reason.empty());
  CHECK(passed.checks.size() == 2);
  CHECK(passed.finding == "one; two");
  CHECK(passed.seconds == 0.5);

  const auto nothing = judged([](Recorder&) {});
  CHECK(nothing.verdict == Verdict::error);
  CHECK(nothing.reason == "its test compared nothing");
  CHECK(judged([](Recorder& recorder) { recorder.finding("a figure"); }).verdict == Verdict::error);

  const auto empty = judged([](Recorder& recorder) {
    recorder.add(check(true));
    recorder.add(compare("x", at::zeros({0}), at::zeros({0}), Tolerance::exact()));
  });
  CHECK(empty.verdict == Verdict::error);
  CHECK(empty.reason == "x: there was nothing to compare");
  CHECK(empty.checks.size() == 2);
  CHECK(judged([](Recorder& recorder) { recorder.add(reports::Check{}); }).reason == "nothing was compared");
  CHECK(judged([](Recorder& recorder) { recorder.add(check(true, 0)); }).verdict == Verdict::error);
}

TEST_CASE("recorder: the worst of several checks decides, in any order", "[evidence][recorder]") {
  const std::vector<std::pair<Verdict, std::function<void(Recorder&)>>> steps = {
      {Verdict::pass, [](Recorder& recorder) { recorder.add(check(true)); }},
      {Verdict::not_assessed, [](Recorder& recorder) { recorder.not_assessed("not shown"); }},
      {Verdict::error, [](Recorder& recorder) { recorder.error("broken"); }},
      {Verdict::fail, [](Recorder& recorder) { recorder.add(check(false)); }}};
  for (const auto& [one, first] : steps)
    for (const auto& [other, second] : steps)
      CHECK(judged([&first = first, &second = second](Recorder& recorder) {
              first(recorder);
              second(recorder);
            }).verdict == std::max(one, other));
  const auto twice = judged([](Recorder& recorder) {
    recorder.not_assessed("the first reason");
    recorder.error("a later one");
  });
  CHECK(twice.reason == "the first reason");
}

TEST_CASE("recorder: of several tests that share a requirement, each has to compare something",
          "[evidence][recorder]") {
  Recorder recorder(list(), "reference");
  const auto run = [&](const std::function<void()>& body) {
    recorder.begin("GQA-1");
    body();
    return recorder.end(1).verdict;
  };
  CHECK(run([&] { recorder.add(check(true)); }) == Verdict::pass);
  CHECK(run([&] { recorder.add(check(true)); }) == Verdict::pass);
  CHECK(run([] {}) == Verdict::error);
  CHECK(run([&] { recorder.add(check(false)); }) == Verdict::fail);
  CHECK(run([&] { recorder.add(check(true)); }) == Verdict::fail);
  CHECK(recorder.requirements()[0].seconds == 5);
}

TEST_CASE("recorder: a test that began and did not end has not passed", "[evidence][recorder]") {
  Recorder recorder(list(), "reference");
  recorder.begin("GQA-1");
  recorder.add(check(true));
  CHECK(recorder.requirements()[0].verdict == Verdict::error);
  CHECK(recorder.requirements()[0].reason == "its test did not end");
  recorder.end(0);
  CHECK(recorder.requirements()[0].verdict == Verdict::pass);
  recorder.error("found afterwards");
  CHECK(recorder.requirements()[0].verdict == Verdict::error);
}

TEST_CASE("recorder: nothing is recorded before a test begins, or under an unknown requirement",
          "[evidence][recorder]") {
  Recorder recorder(list(), "reference");
  CHECK_THROWS_AS(recorder.add(check(true)), std::logic_error);
  CHECK_THROWS_AS(recorder.not_assessed("x"), std::logic_error);
  CHECK_THROWS_AS(recorder.error("x"), std::logic_error);
  CHECK_THROWS_AS(recorder.end(1), std::logic_error);
  CHECK_THROWS_AS(recorder.begin("GQA-9"), std::logic_error);
  CHECK_THROWS_AS(recorder.skip("GQA-9", "x"), std::logic_error);
  CHECK_THROWS_AS(recorder.exclude("GQA-9", "x"), std::logic_error);
}

TEST_CASE("recorder: what is left out stays not assessed, what this run cannot show is not applicable",
          "[evidence][recorder]") {
  Recorder recorder(list(), "reference");
  recorder.skip("GQA-1", reports::Reason::not_asked_for());
  recorder.exclude("GQA-2", "in bfloat16");
  CHECK(recorder.requirements()[0].verdict == Verdict::not_assessed);
  CHECK(recorder.requirements()[0].reason == reports::Reason::not_asked_for());
  CHECK(recorder.requirements()[1].verdict == Verdict::not_applicable);
  CHECK(recorder.requirements()[1].reason == "in bfloat16");
  recorder.skip("GQA-2", reports::Reason::not_asked_for());
  CHECK(recorder.requirements()[1].verdict == Verdict::not_applicable);
}

TEST_CASE("recorder: what was looked at can be neither left out nor excluded", "[evidence][recorder]") {
  for (const auto& [verdict, step] :
       {std::pair<Verdict, std::function<void(Recorder&)>>{
            Verdict::not_assessed, [](Recorder& r) { r.not_assessed("was not shown"); }},
        {Verdict::error, [](Recorder& r) { r.error("was not shown"); }},
        {Verdict::fail, [](Recorder& r) { r.add(check(false)); }}}) {
    Recorder recorder(list(), "reference");
    recorder.begin("GQA-1");
    step(recorder);
    recorder.end(0);
    const auto before = recorder.requirements()[0].reason;
    recorder.exclude("GQA-1", "an excuse");
    recorder.skip("GQA-1", "an excuse");
    CHECK(recorder.requirements()[0].verdict == verdict);
    CHECK(recorder.requirements()[0].reason == before);
  }
}

TEST_CASE(
    "recorder: the house's requirements are numbered by chapter, and each is applicable to a known kind",
    "[evidence][recorder]") {
  const auto all = read_requirements(source / "fixtures" / "requirements.json");
  std::map<int, std::string> prefixes;
  const auto capabilities = all_code_capabilities();
  for (const auto& [requirement, applicable, needs] : all.entries) {
    INFO(requirement.id);
    CHECK(std::regex_match(requirement.id, std::regex("[A-Z]+-([1-9][0-9]*|[a-z])")));
    const auto prefix = requirement.id.substr(0, requirement.id.find('-'));
    CHECK(prefixes.emplace(requirement.chapter, prefix).first->second == prefix);
    CHECK(requirement.statement.size() > 10);
    CHECK(requirement.source.size() > 3);
    // A kind that is misspelt would make a requirement not applicable to all.
    for (const auto& kind : applicable)
      CHECK((kind == "reference" || kind == "checkpoint" || kind == "state_dict" || kind == "live"));
    for (const auto& need : needs) CHECK(capabilities.contains(need));
  }
  for (const auto& chapter : all.chapters) CHECK(prefixes.contains(chapter.number));
}

TEST_CASE("recorder: every requirement has a test in the suites, and every test a requirement",
          "[evidence][recorder]") {
  std::multiset<std::string> tested, required;
  const std::regex macro(R"re((?:^|\n)REQUIREMENT\("([^"]+)")re");
  for (const auto& entry : fs::directory_iterator(source / "suites")) {
    if (entry.path().extension() != ".cpp") continue;
    const auto text = read_text(entry.path(), 1 << 20);
    for (auto found = std::sregex_iterator(text.begin(), text.end(), macro); found != std::sregex_iterator();
         ++found)
      tested.insert((*found)[1]);
  }
  const auto all = read_requirements(source / "fixtures" / "requirements.json");
  for (const auto& entry : all.entries) required.insert(entry.requirement.id);
  CHECK(tested.size() > 50);
  std::vector<std::string> untested, unknown;
  std::set_difference(required.begin(), required.end(), tested.begin(), tested.end(),
                      std::back_inserter(untested));
  std::set_difference(tested.begin(), tested.end(), required.begin(), required.end(),
                      std::back_inserter(unknown));
  CHECK(untested == std::vector<std::string>{});
  CHECK(unknown == std::vector<std::string>{});
}

TEST_CASE("recorder: of two candidates the reason names the one that does not declare it",
          "[evidence][recorder]") {
  Recorder recorder(read_requirements(source / "fixtures" / "comparison.json"), "pair");
  recorder.declare({"code", "evaluation", "training"}, "after.py");
  recorder.declare({"code", "evaluation"}, "before.h5");
  std::map<std::string, reports::Reason> reasons;
  for (const auto& requirement : recorder.requirements()) reasons[requirement.id] = requirement.reason;
  CHECK(reasons["SAME-5"] == "no check looked at it");
  CHECK(reasons["SAME-6"] == "before.h5 does not declare 'training'");
  CHECK(reasons["SAME-8"] == "after.py does not declare 'cache'");
}

TEST_CASE("recorder: what a candidate does not declare is not applicable, and what it does stays to be shown",
          "[evidence][recorder]") {
  Recorder recorder(read_requirements(source / "fixtures" / "requirements.json"), "live");
  recorder.declare({"code", "evaluation", "load", "cache", "cache.show"});
  const auto verdict = [&](const std::string& id) {
    for (const auto& requirement : recorder.requirements())
      if (requirement.id == id) return requirement;
    throw std::logic_error(id);
  };
  CHECK(verdict("MODE-3").verdict == reports::Verdict::not_applicable);
  CHECK(verdict("MODE-3").reason == "the candidate does not declare 'training'");
  CHECK(verdict("KVC-5").verdict == reports::Verdict::not_applicable);
  CHECK(verdict("KVC-4").verdict == reports::Verdict::not_assessed);
  CHECK(verdict("KVC-1").verdict == reports::Verdict::not_assessed);
  CHECK(verdict("MODE-1").verdict == reports::Verdict::not_assessed);
  CHECK(verdict("PAR-5").reason == "a candidate of kind live can never show it");
}
