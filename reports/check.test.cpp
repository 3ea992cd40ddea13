#include "reports/check.hpp"

#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <functional>
#include <limits>
#include <regex>
#include <set>
#include "harness/system/json.test.hpp"

#include "harness/result/contradictions.hpp"
#include "harness/result/examples.test.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "reports/bundle.hpp"

using namespace plumbline::reports;
using plumbline::Json;
using plumbline::parse_json;
using plumbline::read_text;
using plumbline::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
const Examiner examiner{"2026-11-22", "0.1.0", {}, {}};

bool any_names(const std::vector<std::string>& findings, const std::string& part) {
  return std::any_of(findings.begin(), findings.end(),
                     [&](const std::string& one) { return one.find(part) != std::string::npos; });
}

// What is said of the bundle of `result` after `edit`, with a manifest that is right again.
std::vector<std::string> forged(const Result& result, const std::function<void(Json&)>& edit) {
  const TemporaryDirectory directory;
  std::vector<File> files = rendered(result, renderings());
  Json document = parse_json(files.front().content, "test");
  edit(document);
  files.front().content = document.dump({.indent = 2}) + "\n";
  write_bundle(files, directory.path());
  return examine(directory.path(), examiner).findings;
}

}  // namespace

TEST_CASE("one changed byte anywhere is found, and its file is named") {
  const TemporaryDirectory directory;
  for (const Result& result : {examples::failing(), examples::waived()}) {
    write(result, directory.path().string(), {log_of("candidate", "it ran")});
    REQUIRE(examine(directory.path(), examiner).findings.empty());
    for (const auto& entry : fs::directory_iterator(directory.path())) {
      const std::string good = read_text(entry.path(), largest_file);
      const std::size_t step = std::max<std::size_t>(1, good.size() / 40);
      for (std::size_t at = 0; at < good.size(); at += step) {
        for (const int flip : {1, 32}) {
          std::string bad = good;
          bad[at] = static_cast<char>(bad[at] ^ flip);
          std::ofstream(entry.path(), std::ios::binary) << bad;
          const auto found = examine(directory.path(), examiner).findings;
          if (!any_names(found, entry.path().filename().string()))
            FAIL(entry.path().filename().string() << " at byte " << at << " of " << good.size());
        }
      }
      std::ofstream(entry.path(), std::ios::binary) << good;
    }
    CHECK(examine(directory.path(), examiner).findings.empty());
  }
}

TEST_CASE("a file that is missing, cut, or too many is named") {
  const TemporaryDirectory directory;
  const auto after = [&](const std::function<void(const fs::path&)>& spoil) {
    fs::remove_all(directory.path() / "out");
    write(examples::failing(), (directory.path() / "out").string());
    spoil(directory.path() / "out");
    return examine(directory.path() / "out", examiner).findings;
  };
  for (const auto& one : renderings()) {
    const std::string name = one.name;
    CHECK(any_names(after([&](const fs::path& out) { fs::remove(out / name); }),
                    name + ": is in manifest.json"));
    CHECK(any_names(after([&](const fs::path& out) { fs::resize_file(out / name, 3); }),
                    name + ": has 3 bytes"));
  }
  CHECK(any_names(after([](const fs::path& out) { fs::remove(out / "manifest.json"); }),
                  "manifest.json: is missing"));
  CHECK(any_names(after([](const fs::path& out) { std::ofstream(out / "extra.html") << "x"; }),
                  "extra.html: is not in manifest.json"));
  CHECK(any_names(after([](const fs::path& out) { fs::create_directory(out / "more"); }),
                  "more: is not in manifest.json"));
  CHECK(any_names(
      after([](const fs::path& out) { std::ofstream(out / "manifest.json", std::ios::app) << "\n"; }),
      "manifest.json: is not as Plumbline writes it"));
  CHECK(after([](const fs::path& out) { std::ofstream(out / "statement.json.sig") << "x"; }).empty());
  CHECK(after([](const fs::path& out) { std::ofstream(out / "setup.log") << "x"; }).empty());
  fs::create_directory(directory.path() / "empty");
  CHECK_THROWS_AS(examine(directory.path() / "empty", examiner), plumbline::InputError);
  CHECK_THROWS_AS(examine(directory.path() / "nowhere", examiner), plumbline::InputError);
}

TEST_CASE("an edited verdict is found though every hash is right") {
  const auto requirement = [](Json& document, int at) -> Json& { return document["requirements"][at]; };
  CHECK(any_names(forged(examples::failing(), [&](Json& d) { requirement(d, 3)["verdict"] = "pass"; }),
                  "result.json: requirements[3] (GQA-2) has the verdict pass"));
  CHECK(any_names(forged(examples::failing(),
                         [](Json& d) { d["footer"]["verdict"] = "the model conforms to minimind2-small"; }),
                  "result.json: is not as this Plumbline writes it"));
  const auto soften = [&](const char* verdict) {
    return forged(examples::failing(), [&](Json& d) {
      requirement(d, 3)["verdict"] = verdict;
      requirement(d, 3)["reason"] = "not looked at";
      const bool error = std::string(verdict) == "error";
      d["footer"]["failed"] = 0;
      d["footer"]["errors"] = error ? 2 : 1;
      d["footer"]["not_assessed"] = std::string(verdict) == "not assessed" ? 1 : 0;
      d["footer"]["not_applicable"] = std::string(verdict) == "not applicable" ? 2 : 1;
      d["footer"]["status"] = 2;
    });
  };
  for (const char* verdict : {"error", "not assessed", "not applicable"}) {
    INFO(verdict);
    CHECK(any_names(soften(verdict), "but a check of it failed"));
  }
}

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
  CHECK(any_names(said([](Result& result) { result.localisation->conclusion = "all is well"; }),
                  "localisation.conclusion is \"all is well\", and what it found makes it \"in evaluation"));
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
  CHECK(any_names(said([](Result& result) {
                    result.requirements[2].verdict = Verdict::not_assessed;
                    result.requirements[2].reason = "outside --only";
                  }),
                  "header.scope is everything, and GQA-1 was not looked at"));
  Result passing = examples::passing();
  passing.localisation = examples::localisation();
  CHECK(any_names(contradictions(passing), "there is a localisation, and nothing that was run failed"));
}

// What one place of a document, edited, rendered again and with fresh hashes, may say without being found.
TEST_CASE("every place of a document is held against others, but for those that a signature alone protects") {
  Result result = examples::pictured();
  result.header.commit = {std::string(40, 'c'), true};
  result.header.waivers = {examples::waiver("GQA-2", "2026-12-31")};
  conclude(result);
  const Json document = parse_json(to_json(result), "test");
  const Examiner knowing{"2026-11-22",
                         "0.1.0",
                         {{"f00", {result.chapters, result.requirements}}},
                         {{"softmax-bfloat16", result.diagnosis->advice.front()}}};
  const auto passes = [&](const Json& edited) {
    try {
      const Result read = from_json(edited.dump(), "result.json");
      return to_json(read) != to_json(result) && contradictions(read).empty() &&
             incompleteness(read, knowing).empty() && wrong_advice(read, knowing).empty();
    } catch (const plumbline::InputError&) {
      return false;
    }
  };
  std::set<std::string> unnoticed;
  for (const auto& [place, value] : plumbline::places_of(document)) {
    std::vector<Json> edits;
    if (value.is_boolean()) edits = {!value.get<bool>()};
    if (value.is_integer()) edits = {value.get<int>() + 1, 0};
    if (value.kind() == Json::Kind::real) edits = {3 * value.get<double>() + 1e-9, -1};
    if (value.is_string()) edits = {value.get<std::string>() + "x", "other"};
    if (value.is_null() || value.is_array() || value.is_object()) edits = {1, "x"};
    for (const Json& edit : edits) {
      Json edited = document;
      at_pointer(edited, place) = edit;
      static const std::regex index("/[0-9]+");
      if (passes(edited)) unnoticed.insert(std::regex_replace(place, index, "/#"));
    }
  }
  // Names, times, reasons, what no number stands beside, the points of pictures, and what a check compared:
  // its sentence is made of it.
  const std::set<std::string> signed_alone = {"/diagnosis/conclusion",
                                              "/diagnosis/explanations/#/contradicted",
                                              "/diagnosis/explanations/#/defects/#",
                                              "/diagnosis/explanations/#/explained",
                                              "/diagnosis/explanations/#/residual",
                                              "/diagnosis/observations",
                                              "/footer/seconds",
                                              "/header/candidate",
                                              "/header/candidate_kind",
                                              "/header/command",
                                              "/header/commit/clean",
                                              "/header/device",
                                              "/header/notes/#",
                                              "/header/plumbline_version",
                                              "/header/seed",
                                              "/header/specification",
                                              "/header/threads",
                                              "/header/versions/#/name",
                                              "/header/versions/#/version",
                                              "/header/waivers/#/reason",
                                              "/header/waivers/#/who",
                                              "/localisation/situations/#/check/actual",
                                              "/localisation/situations/#/check/beyond",
                                              "/localisation/situations/#/check/elements",
                                              "/localisation/situations/#/check/expected",
                                              "/localisation/situations/#/check/note",
                                              "/localisation/situations/#/check/tolerance",
                                              "/localisation/situations/#/check/tolerance_reason",
                                              "/localisation/situations/#/check/worst_difference",
                                              "/localisation/situations/#/check/worst_index/#",
                                              "/localisation/stages/#/inherited/actual",
                                              "/localisation/stages/#/inherited/beyond",
                                              "/localisation/stages/#/inherited/elements",
                                              "/localisation/stages/#/inherited/expected",
                                              "/localisation/stages/#/inherited/note",
                                              "/localisation/stages/#/inherited/tolerance",
                                              "/localisation/stages/#/inherited/tolerance_reason",
                                              "/localisation/stages/#/inherited/worst_difference",
                                              "/localisation/stages/#/inherited/worst_index/#",
                                              "/localisation/stages/#/local/actual",
                                              "/localisation/stages/#/local/beyond",
                                              "/localisation/stages/#/local/elements",
                                              "/localisation/stages/#/local/expected",
                                              "/localisation/stages/#/local/note",
                                              "/localisation/stages/#/local/tolerance",
                                              "/localisation/stages/#/local/tolerance_reason",
                                              "/localisation/stages/#/local/worst_difference",
                                              "/localisation/stages/#/local/worst_index/#",
                                              "/localisation/stages/#/stage",
                                              "/matrices/#/columns/#",
                                              "/matrices/#/rows/#",
                                              "/matrices/#/title",
                                              "/matrices/#/value_name",
                                              "/matrices/#/values/#/#",
                                              "/plots/#/bounds/#/name",
                                              "/plots/#/bounds/#/value",
                                              "/plots/#/log_x",
                                              "/plots/#/log_y",
                                              "/plots/#/series/#/high/#",
                                              "/plots/#/series/#/low/#",
                                              "/plots/#/series/#/name",
                                              "/plots/#/series/#/x/#",
                                              "/plots/#/series/#/y/#",
                                              "/plots/#/title",
                                              "/plots/#/x_name",
                                              "/plots/#/y_name",
                                              "/requirements/#/checks/#/actual",
                                              "/requirements/#/checks/#/beyond",
                                              "/requirements/#/checks/#/expected",
                                              "/requirements/#/checks/#/note",
                                              "/requirements/#/checks/#/tolerance",
                                              "/requirements/#/checks/#/tolerance_reason",
                                              "/requirements/#/checks/#/what",
                                              "/requirements/#/checks/#/worst_difference",
                                              "/requirements/#/checks/#/worst_index/#",
                                              "/requirements/#/finding",
                                              "/requirements/#/reason",
                                              "/requirements/#/seconds"};
  CHECK(unnoticed == signed_alone);
}

TEST_CASE("a waiver that has expired since is named") {
  const TemporaryDirectory directory;
  write(examples::waived("2026-11-30"), directory.path().string());
  const auto on = [&](const std::string& day) {
    return examine(directory.path(), {day, "0.1.0", {}, {}}).findings;
  };
  CHECK(on("2026-11-30").empty());
  CHECK(any_names(on("2026-12-01"), "the waiver of GQA-2 by Ada expired on 2026-11-30"));
}

TEST_CASE("a requirement that was taken away is missed where the examiner knows which there were") {
  const Result result = examples::passing();
  const Examiner knowing{"", "0.1.0", {{"f00", {result.chapters, result.requirements}}}, {}};
  CHECK(incompleteness(result, knowing).empty());
  Result less = result;
  less.requirements.pop_back();
  CHECK(incompleteness(less, knowing) == "the requirement GQA-2 is missing");
  const Examiner other{"", "0.1.0", {{"0ther", knowing.known.at("f00")}}, {}};
  CHECK(incompleteness(less, other).empty());
  Result silent = less;
  silent.header.versions.pop_back();
  CHECK(incompleteness(silent, other).starts_with("it does not say with which requirements"));
  CHECK(incompleteness(silent, {"", "0.2.0", {}, {}}).empty());
  Result lowered = result;
  lowered.requirements[0].level = Level::should;
  CHECK(incompleteness(lowered, knowing) == "the requirement CFG-1 is a must, and here a should");
  Result reworded = result;
  reworded.requirements[1].statement = "whatever";
  CHECK(incompleteness(reworded, knowing).starts_with("the requirement CFG-2 is \""));
  Result more = result;
  more.requirements.push_back(examples::requirement("X-1", 3, "more", Verdict::pass));
  CHECK(incompleteness(more, knowing) == "there is no requirement X-1");
  Result moved = result;
  moved.requirements[1].chapter = 3;
  CHECK(incompleteness(moved, knowing) == "the requirement CFG-2 is in chapter 1, and here in 3");
  Result sourced = result;
  sourced.requirements[1].source = "hearsay";
  CHECK(incompleteness(sourced, knowing).ends_with("and here \"hearsay\""));
  Result turned = result;
  std::swap(turned.requirements[0], turned.requirements[1]);
  CHECK(incompleteness(turned, knowing) == "the requirement CFG-2 stands where CFG-1 does");
  Result titled = result;
  titled.chapters[1].title = "Whatever";
  CHECK(incompleteness(titled, knowing) == "chapter 3 Whatever stands where 3 Grouped-query attention does");
  Result two = result;
  two.header.baseline = {"before", "live", ""};
  CHECK(incompleteness(two, knowing).starts_with("its requirements are those of a judgement"));
  const Examiner comparing{"", "0.1.0", {{"f00", {result.chapters, result.requirements, true}}}, {}};
  CHECK(incompleteness(two, comparing).empty());
  CHECK(incompleteness(result, comparing).starts_with("its requirements are those of a comparison"));
  Result longer = result;
  longer.chapters.push_back({4, "More"});
  CHECK(incompleteness(longer, knowing) == "chapter 4 More stands where nothing does");
}

TEST_CASE("advice is the catalogue's, with figures where that has their names") {
  Result result = examples::pictured();
  const auto wrong = [&](const std::string& said, const std::string& catalogued) {
    result.diagnosis->advice = {{"width", said, said}};
    return !wrong_advice(result, {"2026-11-22",
                                  "0.1.0",
                                  {{"f00", {result.chapters, result.requirements}}},
                                  {{"width", {"width", catalogued, catalogued}}}})
                .empty();
  };
  CHECK_FALSE(wrong("It is wide.", "It is wide."));
  CHECK_FALSE(wrong("Here: more. It is wide.", "It is wide."));
  CHECK_FALSE(wrong("It is 48 wide, not 1,000,000; of 25.8M.", "It is {a} wide, not {b}; of {c}."));
  CHECK_FALSE(wrong("Here: 7. 48 wide, 1e-5.", "{a} wide, {b}."));
  CHECK(wrong("It is wide.", "It is {a} wide."));
  CHECK(wrong("It is very wide.", "It is {a} wide."));
  CHECK(wrong("It is 48 narrow.", "It is {a} wide."));
  CHECK(wrong("48 wide.", "It is {a} wide."));
  CHECK(wrong("", "It is {a} wide."));
}

TEST_CASE("a bundle without one of its renderings is not complete, whatever its manifest says") {
  const TemporaryDirectory directory;
  for (std::size_t i = 1; i < renderings().size(); ++i) {
    auto files = rendered(examples::passing(), renderings());
    files.erase(files.begin() + static_cast<std::ptrdiff_t>(i));
    write_bundle(files, directory.path());
    CHECK(examine(directory.path(), examiner).findings ==
          std::vector<std::string>{std::string(renderings()[i].name) +
                                   ": is not in manifest.json, and belongs to a bundle"});
  }
}

TEST_CASE("another version's renderings are not taken for forged without saying whose they are") {
  const TemporaryDirectory directory;
  auto files = rendered(examples::passing(), renderings());
  files[2].content += "another wording\n";
  write_bundle(files, directory.path());
  const auto found = examine(directory.path(), {"2026-11-22", "0.2.0", {}, {}}).findings;
  CHECK(any_names(found,
                  "summary.md: is not what result.json makes it (Plumbline 0.1.0 wrote it, this is 0.2.0"));
}
