#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include "harness/system/json.hpp"

#include "harness/result/examples.test.hpp"
#include "harness/result/result.hpp"
#include "harness/system/error.hpp"

using namespace plumbline::reports;
using plumbline::InputError;
using plumbline::Json;
using plumbline::parse_json;

namespace {

using Edit = std::function<void(Json&)>;

Result read(const std::string& text) {
  return from_json(text, "out/result.json");
}

// What from_json says about a good document after `edit`; empty where it accepts it.
std::string refusal(const Edit& edit) {
  Json document = parse_json(to_json(examples::failing()), "test");
  edit(document);
  try {
    read(document.dump());
  } catch (const InputError& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return {};
}

bool refuses(const std::string& part, const Edit& edit) {
  const std::string message = refusal(edit);
  INFO(message);
  const bool told = message.starts_with("out/result.json: ") && message.find(part) != std::string::npos;
  CHECK(told);
  return told;
}

}  // namespace

TEST_CASE("a result comes back from its JSON as it was") {
  for (const Result& result : {examples::passing(), examples::failing(), examples::incomplete()}) {
    const std::string text = to_json(result);
    CHECK(to_json(read(text)) == text);
  }
  const Result back = read(to_json(examples::failing()));
  CHECK(back.header.candidate == "out/model");
  CHECK(back.header.versions[0] == std::pair<std::string, std::string>("libtorch", "2.13.0"));
  CHECK(back.requirements[3].verdict == Verdict::fail);
  CHECK(back.requirements[3].checks[1].worst_index == std::vector<std::int64_t>{0, 3, 7, 2});
  CHECK(back.footer.verdict == examples::failing().footer.verdict);
}

TEST_CASE("two that were compared come back from their JSON, and what each bit said") {
  const Result before = examples::compared();
  const Result after = from_json(to_json(before), "result.json");
  REQUIRE(after.header.baseline);
  CHECK(after.header.baseline->name == "before.h5");
  CHECK(after.header.baseline->kind == "live");
  CHECK(after.header.baseline->sha256 == "abc123");
  CHECK(after.requirements[0].checks[0].identical == true);
  CHECK(to_json(after) == to_json(before));
  CHECK_FALSE(from_json(to_json(examples::failing()), "result.json").header.baseline);
  CHECK(to_junit(before).find("<property name=\"baseline\" value=\"before.h5\"/>") != std::string::npos);
  CHECK(to_markdown(before).find("| Compared with | before.h5 |") != std::string::npos);
}

TEST_CASE("pictures come back from their JSON, and a document without any names none") {
  const Result before = examples::pictured();
  const Result after = read(to_json(before));
  CHECK(to_json(after) == to_json(before));
  REQUIRE(after.plots.size() == 1);
  CHECK(after.plots[0].series[0].x == std::vector<double>{1, 10, 100});
  CHECK(std::isnan(after.plots[0].series[0].y[1]));
  CHECK(after.plots[0].bounds[0] == std::pair<std::string, double>("tolerance", 1e-5));
  REQUIRE(after.matrices.size() == 1);
  CHECK(after.matrices[0].values[0] == std::vector<double>{0, 1, 2});
  CHECK_FALSE(parse_json(to_json(examples::failing()), "test").contains("plots"));
  CHECK_FALSE(parse_json(to_json(examples::failing()), "test").contains("matrices"));
}

TEST_CASE("a series of a million points is thinned to its ends and what lies evenly between") {
  Result result = examples::pictured();
  Series& series = result.plots[0].series[0];
  series = {"long", {}, {}, {}, {}};
  for (int i = 0; i < 1'000'000; ++i) series.x.push_back(i), series.y.push_back(-i);
  const Series back = read(to_json(result)).plots[0].series[0];
  REQUIRE(back.x.size() == most_points);
  CHECK(back.x.front() == 0);
  CHECK(back.x.back() == 999'999);
  CHECK(back.y[5000] == -back.x[5000]);
}

TEST_CASE("pictures that do not hold together are refused") {
  const auto refuses_picture = [](const std::string& part, const Edit& edit) {
    Json document = parse_json(to_json(examples::pictured()), "test");
    edit(document);
    try {
      read(document.dump());
      FAIL("it was accepted: " + part);
    } catch (const InputError& error) {
      INFO(error.what());
      CHECK(std::string(error.what()).find(part) != std::string::npos);
    }
  };
  refuses_picture("plots[0].requirement is not among",
                  [](Json& d) { d["plots"][0]["requirement"] = "GQA-77"; });
  refuses_picture("plots[0].series[0] does not have the same number",
                  [](Json& d) { d["plots"][0]["series"][0]["y"].push_back(1); });
  refuses_picture("plots[0].series[0] does not have the same number",
                  [](Json& d) { d["plots"][0]["series"][0]["low"].push_back(1); });
  refuses_picture("high is missing", [](Json& d) { d["plots"][0]["series"][0].erase("high"); });
  refuses_picture("unknown member extra", [](Json& d) { d["plots"][0]["extra"] = 1; });
  refuses_picture("x has more than 10000",
                  [](Json& d) { d["plots"][0]["series"][0]["x"] = std::vector<int>(10'001, 1); });
  refuses_picture("values does not have a number",
                  [](Json& d) { d["matrices"][0]["values"][1].push_back(1); });
  refuses_picture("rows has more than 500",
                  [](Json& d) { d["matrices"][0]["rows"] = std::vector<std::string>(501, "a"); });
}

TEST_CASE("the footer comes last, after everything that it counts") {
  const Json document = parse_json(to_json(examples::passing()), "test");
  CHECK(document.keys() == std::vector<std::string>{"format", "version", "header", "chapters", "requirements",
                                                    "localisation", "diagnosis", "footer"});
}

TEST_CASE("numbers come back to the last bit, NaN and infinity too") {
  Result result = examples::failing();
  Check& check = result.requirements[3].checks[1];
  using Limits = std::numeric_limits<double>;
  for (const double value : {0.1, 1.0 / 3.0, Limits::min(), Limits::denorm_min(), Limits::max(),
                             Limits::epsilon(), 0.0, Limits::infinity(), -Limits::infinity()}) {
    check.worst_difference = value;
    CHECK(read(to_json(result)).requirements[3].checks[1].worst_difference == value);
  }
  check.worst_difference = Limits::quiet_NaN();
  check.tolerance.reset();
  const Check back = read(to_json(result)).requirements[3].checks[1];
  REQUIRE(back.worst_difference.has_value());
  CHECK(std::isnan(*back.worst_difference));
  CHECK_FALSE(back.tolerance.has_value());
}

TEST_CASE("hostile text is valid JSON, keeps its characters, and shows no control character") {
  const std::string text = to_json(examples::with_text(examples::hostile()));
  for (const char byte : text) {
    if (byte != '\n' && (static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f))
      FAIL("a raw control character");
  }
  CHECK(text.find("\u202e") == std::string::npos);
  CHECK(text.find("\u009b") == std::string::npos);
  const std::string back = read(text).requirements[0].statement;
  CHECK(back.find("\x1b[31m") != std::string::npos);
  CHECK(back.find("\u202e") != std::string::npos);
  CHECK(back.find("\ufffd") != std::string::npos);
  CHECK(to_json(read(text)) == text);
}

TEST_CASE("a text of ten megabytes is cut and says so") {
  Result result = examples::failing();
  result.requirements[3].checks[1].note = std::string(10U << 20U, 'a');
  const std::string text = to_json(result);
  CHECK(text.size() < 100'000);
  CHECK(text.find("aa… (10485760 characters)") != std::string::npos);
}

TEST_CASE("what is no result is refused") {
  using Catch::Matchers::ContainsSubstring;
  using Catch::Matchers::MessageMatches;
  CHECK_THROWS_AS(read(""), InputError);
  CHECK_THROWS_AS(read("{"), InputError);
  for (const char* text : {"[]", "null", "{}", R"({"format": "other"})", R"({"format": 1})"}) {
    CHECK_THROWS_MATCHES(read(text), InputError, MessageMatches(ContainsSubstring("no Plumbline result")));
  }
  const std::string good = to_json(examples::passing());
  CHECK_THROWS_AS(read(good.substr(0, good.size() / 2)), InputError);
  CHECK_THROWS_AS(read(good + "{}"), InputError);
}

TEST_CASE("a document without its footer proves nothing") {
  refuses("the footer is missing", [](Json& document) { document.erase("footer"); });
}

TEST_CASE("a version that this program does not know is refused") {
  refuses("version is 5, but this program knows versions 1 to 4 only; use the Plumbline that wrote it",
          [](Json& document) { document["version"] = 5; });
  refuses("version is \"1\"", [](Json& document) { document["version"] = "1"; });
  refuses("version is missing", [](Json& document) { document.erase("version"); });
}

TEST_CASE("what a document says of what it left out and where it is wrong follows from its fields") {
  refuses("left_out is neither", [](Json& document) { document["requirements"][1]["left_out"] = "both"; });
  refuses("reason does not follow from left_out",
          [](Json& document) { document["requirements"][4]["left_out"] = "only"; });
  refuses("localisation.conclusion is \"all is well\", but the recorded findings make it \"in evaluation",
          [](Json& document) { document["localisation"]["conclusion"] = "all is well"; });
  refuses(
      "diagnosis.conclusion is \"all is well\", but the recorded findings make it \"explained to rounding by",
      [](Json& document) { document["diagnosis"]["conclusion"] = "all is well"; });
  refuses("diagnosis.outcome is no outcome",
          [](Json& document) { document["diagnosis"]["outcome"] = "guessed"; });
  refuses("diagnosis.outcome needs explanations, but there are none",
          [](Json& document) { document["diagnosis"]["explanations"] = Json::array(); });
}

TEST_CASE("a shard, waivers and a commit come back from their JSON") {
  Result result = examples::shard(examples::waived(), 2);
  result.header.commit = {"0f3a", true};
  const Result back = read(to_json(result));
  REQUIRE(back.header.shard);
  CHECK(back.header.shard->index == 2);
  CHECK(back.header.shard->of == 2);
  REQUIRE(back.header.waivers.size() == 1);
  CHECK(back.header.waivers[0].who == "Ada");
  REQUIRE(back.header.commit);
  CHECK(back.header.commit->clean);
  CHECK(back.footer.waived == 1);
  CHECK(to_json(back) == to_json(result));
  const auto refuses_waived = [](const std::string& part, const Edit& edit) {
    Json document = parse_json(to_json(examples::waived()), "test");
    edit(document);
    try {
      read(document.dump());
      FAIL("it was read");
    } catch (const InputError& error) {
      INFO(error.what());
      CHECK(std::string(error.what()).find(part) != std::string::npos);
    }
  };
  refuses_waived("waivers [0].who is empty",
                 [](Json& document) { document["header"]["waivers"][0]["who"] = " "; });
  refuses_waived("which is no day",
                 [](Json& document) { document["header"]["waivers"][0]["expires"] = "2026-02-30"; });
  refuses_waived("footer.waived is 0", [](Json& document) { document["footer"]["waived"] = 0; });
  refuses_waived("footer.waived is 1, but the requirements make it 0",
                 [](Json& document) { document["header"]["waivers"] = Json::array(); });
  refuses_waived("shard is 3 of 2", [](Json& document) {
    document["header"]["shard"] = {{"index", 3}, {"of", 2}};
  });
}

TEST_CASE("a document that was read is written as it was, its cut texts too") {
  Result result = examples::failing();
  for (const std::size_t length : {9'999U, 10'000U, 10'001U, 10'040U, 10'041U, 20'000U}) {
    result.header.command = std::string(length, 'x');
    const std::string text = to_json(result);
    CHECK(to_json(read(text)) == text);
  }
}

TEST_CASE("a key that stands twice is refused") {
  std::string text = to_json(examples::passing());
  text.insert(text.find("\"status\""), "\"status\": 0, ");
  CHECK_THROWS_AS(read(text), InputError);
}

TEST_CASE("counts and a status that do not follow from the requirements are refused") {
  for (const char* key :
       {"passed", "failed", "errors", "not_assessed", "not_applicable", "elements_compared"}) {
    refuses(std::string("footer.") + key,
            [&](Json& document) { document["footer"][key] = document["footer"][key].get<int>() + 1; });
  }
  refuses("footer.status is 0, but the requirements make it 1",
          [](Json& document) { document["footer"]["status"] = 0; });
  refuses("footer.passed", [](Json& document) { document["requirements"].erase(0); });
}

TEST_CASE("the sentence is said anew: no document can count one thing and say another") {
  Json document = parse_json(to_json(examples::failing()), "test");
  document["footer"]["verdict"] = "the model conforms";
  CHECK(read(document.dump()).footer.verdict == examples::failing().footer.verdict);
}

TEST_CASE("a pass that its own evidence does not bear out is refused") {
  const auto check = [](Json& document) -> Json& { return document["requirements"][0]["checks"][0]; };
  refuses("nothing was compared",
          [](Json& document) { document["requirements"][0]["checks"] = Json::array(); });
  refuses("compared no elements", [&](Json& document) { check(document)["elements"] = 0; });
  refuses("not within its tolerance", [&](Json& document) { check(document)["within"] = false; });
  refuses("a worst difference of nan", [&](Json& document) { check(document)["worst_difference"] = "nan"; });
  refuses("a tolerance of inf", [&](Json& document) { check(document)["tolerance"] = "inf"; });
  refuses("no reason for error", [](Json& document) { document["requirements"][5]["reason"] = ""; });
}

TEST_CASE("every member is there, is known, and has its type") {
  refuses("requirements[0].verdict is \"passed\"",
          [](Json& document) { document["requirements"][0]["verdict"] = "passed"; });
  refuses("requirements[0].level", [](Json& document) { document["requirements"][0]["level"] = "may"; });
  refuses("header.seed", [](Json& document) { document["header"]["seed"] = -1; });
  refuses("header.seed", [](Json& document) { document["header"]["seed"] = 4294967296; });
  refuses("header.threads", [](Json& document) { document["header"]["threads"] = 1.5; });
  refuses("header.threads", [](Json& document) { document["header"]["threads"] = 18446744073709551615U; });
  refuses("unknown member extra", [](Json& document) { document["extra"] = 1; });
  refuses("unknown member extra", [](Json& document) { document["requirements"][0]["extra"] = 1; });
  refuses("header is not an object", [](Json& document) { document["header"] = Json::array(); });
  refuses("requirements is not an array", [](Json& document) { document["requirements"] = Json::object(); });
  refuses("requirements[0] is not an object", [](Json& document) { document["requirements"][0] = 1; });
  refuses("elements", [](Json& document) { document["requirements"][0]["checks"][0]["elements"] = "1"; });
  refuses("worst_index[0]",
          [](Json& document) { document["requirements"][3]["checks"][1]["worst_index"][0] = -1; });
  refuses("tolerance",
          [](Json& document) { document["requirements"][3]["checks"][1]["tolerance"] = "none"; });
  refuses("localisation.first_divergent is \"embedding\", but the stages make it layers.3.probabilities",
          [](Json& document) { document["localisation"]["first_divergent"] = "embedding"; });
  refuses("localisation.first_locally_wrong is null, but",
          [](Json& document) { document["localisation"]["first_locally_wrong"] = nullptr; });
  refuses("localisation.stages[0].local",
          [](Json& document) { document["localisation"]["stages"][0]["local"] = 1; });
  refuses("localisation.situations[1] has an unknown member extra",
          [](Json& document) { document["localisation"]["situations"][1]["extra"] = 1; });
  const Json good = parse_json(to_json(examples::failing()), "test");
  refuses("diagnosis.explanations[0].complete does not follow from the numbers beside it",
          [](Json& document) { document["diagnosis"]["explanations"][0]["contradicted"] = 2; });
  refuses("diagnosis.explanations[0] has an unknown member extra",
          [](Json& document) { document["diagnosis"]["explanations"][0]["extra"] = 1; });
  for (const char* part : {"header", "localisation", "diagnosis", "footer"}) {
    for (const auto& [key, value] : good[part].items()) {
      const std::string name = key;
      refuses(name + " is missing", [&](Json& document) { document[part].erase(name); });
      refuses(name, [&](Json& document) { document[part][name] = Json{{"a", 1}}; });
    }
  }
}

TEST_CASE("requirements and chapters are told once, and belong together") {
  refuses("names a requirement a second time",
          [](Json& document) { document["requirements"][1]["id"] = "CFG-1"; });
  refuses("id is empty", [](Json& document) { document["requirements"][1]["id"] = ""; });
  refuses("is not among the chapters", [](Json& document) { document["requirements"][1]["chapter"] = 7; });
  refuses("the number of another chapter", [](Json& document) { document["chapters"][1]["number"] = 1; });
}
