#include "harness/catalogue/requirement_list.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fstream>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.test.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;

namespace {

Json requirements() {
  return parse_json(R"({
    "chapters": [{"number": 3, "title": "Grouped-query attention"}],
    "requirements": [
      {"id": "GQA-1", "statement": "s", "source": "x", "chapter": 3, "level": "must", "applicable": ["reference"]},
      {"id": "GQA-2", "statement": "s", "source": "x", "chapter": 3, "level": "should",
       "applicable": ["reference", "checkpoint"]}]})",
                    "test");
}

std::string refusal(const std::string& text) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "requirements.json";
  std::ofstream(file) << text;
  try {
    read_requirements(file);
  } catch (const InputError& error) {
    const std::string message = error.what();
    CHECK(message.starts_with(file.string() + ": "));
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  return "accepted";
}

std::string refusal_with(const std::string& pointer, const Json& value) {
  auto json = requirements();
  at_pointer(json, pointer) = value;
  return refusal(json.dump());
}

}  // namespace

TEST_CASE("requirements: a list of requirements is read in its order", "[catalogue]") {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "requirements.json";
  std::ofstream(file) << requirements().dump();
  const auto read = read_requirements(file);
  REQUIRE(read.entries.size() == 2);
  CHECK(read.chapters.at(0).title == "Grouped-query attention");
  CHECK(read.entries[0].requirement.id == "GQA-1");
  CHECK(read.entries[1].requirement.level == reports::Level::should);
  CHECK(read.entries[1].applicable == std::set<std::string>{"checkpoint", "reference"});
}

TEST_CASE("requirements: a malformed list of requirements is refused, naming the entry", "[catalogue]") {
  for (const auto& text :
       {"", "{", "[]", "null", "7", "{}", R"({"chapters": []})", R"({"requirements": []})"})
    CHECK(refusal(text) != "accepted");
  for (const Json& wrong : {Json(), Json(7), Json("x"), Json::object(), Json::array(), Json::array({7}),
                            Json::array({Json::array()})}) {
    INFO(wrong.dump());
    CHECK(refusal_with("/chapters", wrong) != "accepted");
    CHECK(refusal_with("/requirements", wrong) != "accepted");
    CHECK_THAT(refusal_with("/requirements/1/applicable", wrong),
               ContainsSubstring("GQA-2: expected 'applicable' to"));
    CHECK_THAT(refusal_with("/requirements/1/chapter", wrong == Json(7) ? Json(-7) : wrong),
               ContainsSubstring("GQA-2: expected 'chapter' to be a whole number"));
    if (wrong.is_string()) continue;
    CHECK_THAT(refusal_with("/requirements/1/id", wrong), ContainsSubstring("expected 'id' to be a string"));
    for (const std::string key : {"statement", "source", "level"})
      CHECK_THAT(refusal_with("/requirements/1/" + key, wrong),
                 ContainsSubstring("GQA-2: expected '" + key + "' to be a string"));
    CHECK_THAT(refusal_with("/chapters/0/title", wrong),
               ContainsSubstring("expected 'title' to be a string"));
  }
  for (const std::string key : {"statement", "source", "level", "chapter", "applicable", "id"}) {
    auto less = requirements();
    less["requirements"][1].erase(key);
    CHECK_THAT(refusal(less.dump()), ContainsSubstring("expected '" + key + "' to be a"));
  }
  CHECK_THAT(refusal_with("/requirements/1/id", "GQA-1"), ContainsSubstring("GQA-1: stands twice"));
  CHECK_THAT(refusal_with("/requirements/1/level", "may"),
             ContainsSubstring("GQA-2: 'level' is neither must nor should"));
  CHECK_THAT(refusal_with("/requirements/1/chapter", 4), ContainsSubstring("GQA-2: there is no chapter 4"));
  for (const Json& huge : {Json(4294967299), Json(18446744073709551615u), Json(3.0), Json(0)})
    CHECK_THAT(refusal_with("/requirements/1/chapter", huge),
               ContainsSubstring("GQA-2: expected 'chapter' to be"));
  CHECK_THAT(refusal_with("/chapters/1", requirements()["chapters"][0]),
             ContainsSubstring("chapter 3 stands twice"));
  CHECK(refusal_with("/requirements/1/id", "a\nb") == "accepted");
  auto other = requirements();
  other["requirements"][1]["id"] = "a\nb";
  other["requirements"][1]["level"] = "may";
  CHECK_THAT(refusal(other.dump()), ContainsSubstring("a?b: 'level'"));
}
