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

const Examiner examiner{"2026-11-22", "0.1.0", {}, {}};

bool any_names(const std::vector<std::string>& findings, const std::string& part) {
  return std::any_of(findings.begin(), findings.end(),
                     [&](const std::string& one) { return one.find(part) != std::string::npos; });
}

// The findings on the bundle of `result` after `edit`, with a correct manifest.
std::vector<std::string> forged(const Result& result, const std::function<void(Json&)>& edit) {
  const TemporaryDirectory directory;
  std::vector<File> files = rendered(result, renderings());
  Json document = parse_json(files.front().content, "test");
  edit(document);
  files.front().content = document.dump({.indent = 2}) + "\n";
  write_bundle(files, directory.path());
  return examine(directory.path(), examiner).findings;
}

// Places that may say something else without being found: names, times, reasons, what no number stands
// beside, and the points of pictures.
const std::set<std::string> signed_alone = {"/localisation/line/code",
                                            "/localisation/line/where",
                                            "/localisation/traits/#/axis",
                                            "/localisation/traits/#/numbers/#",
                                            "/diagnosis/explanations/#/residual",
                                            "/diagnosis/observations",
                                            "/diagnosis/of_shapes",
                                            "/diagnosis/raised",
                                            "/diagnosis/tried",
                                            "/diagnosis/words",
                                            "/footer/longest_pass",
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

// Values that may replace this one.
std::vector<Json> other_values(const Json& value) {
  if (value.is_boolean()) return {!value.get<bool>()};
  if (value.is_integer()) return {value.get<int>() + 1, 0};
  if (value.kind() == Json::Kind::real) return {3 * value.get<double>() + 1e-9, -1};
  if (value.is_string()) return {value.get<std::string>() + "x", "other"};
  return {1, "x"};
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
    for (const Json& edit : other_values(value)) {
      Json edited = document;
      at_pointer(edited, place) = edit;
      static const std::regex index("/[0-9]+");
      if (passes(edited)) unnoticed.insert(std::regex_replace(place, index, "/#"));
    }
  }
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
  CHECK(incompleteness(silent, other).starts_with("it does not give the SHA-256 of its requirements"));
  CHECK(incompleteness(silent, {"", "0.2.0", {}, {}}).empty());
  Result lowered = result;
  lowered.requirements[0].level = Level::should;
  CHECK(incompleteness(lowered, knowing) == "the requirement CFG-1 is a must; the result says should");
  Result reworded = result;
  reworded.requirements[1].statement = "whatever";
  CHECK(incompleteness(reworded, knowing).starts_with("the requirement CFG-2 is \""));
  Result more = result;
  more.requirements.push_back(examples::requirement("X-1", 3, "more", Verdict::pass));
  CHECK(incompleteness(more, knowing) == "there is no requirement X-1");
  Result moved = result;
  moved.requirements[1].chapter = 3;
  CHECK(incompleteness(moved, knowing) == "the requirement CFG-2 is in chapter 1; the result has it in 3");
  Result sourced = result;
  sourced.requirements[1].source = "hearsay";
  CHECK(incompleteness(sourced, knowing).ends_with("the result says \"hearsay\""));
  Result turned = result;
  std::swap(turned.requirements[0], turned.requirements[1]);
  CHECK(incompleteness(turned, knowing) == "the requirement CFG-2 is in the place of CFG-1");
  Result titled = result;
  titled.chapters[1].title = "Whatever";
  CHECK(incompleteness(titled, knowing) == "chapter 3 Whatever is in the place of 3 Grouped-query attention");
  Result two = result;
  two.header.baseline = {"before", "live", ""};
  CHECK(incompleteness(two, knowing).starts_with("its requirements are those of a judgement"));
  const Examiner comparing{"", "0.1.0", {{"f00", {result.chapters, result.requirements, true}}}, {}};
  CHECK(incompleteness(two, comparing).empty());
  CHECK(incompleteness(result, comparing).starts_with("its requirements are those of a comparison"));
  Result longer = result;
  longer.chapters.push_back({4, "More"});
  CHECK(incompleteness(longer, knowing) == "chapter 4 More is in the place of nothing");
}

TEST_CASE("advice is the catalogue's, with figures where that has their names") {
  Result result = examples::pictured();
  const auto wrong = [&](const std::string& advice, const std::string& catalogued) {
    result.diagnosis->advice = {{"width", advice, advice}};
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
                  "summary.md: is not what this version renders from result.json (Plumbline 0.1.0 wrote it, "
                  "this is 0.2.0"));
}
