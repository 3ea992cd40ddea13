#include "harness/system/json.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "harness/system/error.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::Message;
using Catch::Matchers::MessageMatches;
namespace {

std::string refusal(std::string_view text) {
  try {
    parse_json(text, "a.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

std::string repeated(std::string_view text, std::size_t times) {
  std::string result;
  for (std::size_t i = 0; i < times; ++i) result += text;
  return result;
}

}  // namespace

TEST_CASE("json: what is valid is read and written as the library does it", "[system][json]") {
  for (
      const char* text :
      {"{}", "[]", "null", " [1, -2, 3.5e2, true, false, null, \"x\\u00e9\\ud83d\\ude42\"] \n",
       R"({"a": {"b": [{"c": 1}, {"c": 2}], "d": {}}, "e": 18446744073709551615})", "1e300", "\"\"",
       R"([[], {}, [[]], {"": {"\n": "\u0001\u2028"}}, 0.1, -0.0, 1e-7, 123456789012.5, 5e-324, 1e16, -9223372036854775808])"}) {
    INFO(text);
    const Json ours = parse_json(text, "a.json");
    const auto theirs = nlohmann::json::parse(text);
    const auto as_written = nlohmann::ordered_json::parse(text);
    CHECK(ours.dump() == theirs.dump());
    CHECK(ours.dump({.indent = 1}) == theirs.dump(1));
    CHECK(ours.dump({.ascii = true}) == theirs.dump(-1, ' ', true));
    CHECK(ours.dump({.indent = 2, .members = Json::Order::as_written}) == as_written.dump(2));
  }
}

TEST_CASE("json: braces make the values that the library makes of them", "[system][json]") {
  const Json ours = {
      {"b", 1}, {"a", {{"x", 0.5}, {"y", {"one", "two", "three"}}}}, {"c", {1, "x", nullptr}}, {"b", 2}};
  CHECK(ours.dump() == R"({"a":{"x":0.5,"y":["one","two","three"]},"b":1,"c":[1,"x",null]})");
  CHECK(Json::array({{"a", 1}}).dump() == R"([["a",1]])");
  CHECK(Json::array({Json{{"a", 1}}}).dump() == R"([{"a":1}])");
  CHECK(Json(std::vector<int>{1, 2}).dump() == "[1,2]");
  CHECK(Json(std::map<std::string, double>{{"k", 0.5}}).dump() == R"({"k":0.5})");
  CHECK(Json(std::filesystem::path("a/b")).dump() == R"("a/b")");
  CHECK(Json({1, 2}) == Json({1.0, 2u}));
  CHECK(Json(-1) != Json(18446744073709551615u));
}

TEST_CASE("json: members stay where they are, and keep the order in which they were written",
          "[system][json]") {
  Json document;
  Json& first = document["z"];
  for (const char* key : {"m", "a", "q"}) document[key] = key;
  first = 7;
  CHECK(document.keys() == std::vector<std::string>{"z", "m", "a", "q"});
  Json copy = document;
  copy.erase("m");
  copy["m"] = nullptr;
  CHECK(copy.keys() == std::vector<std::string>{"z", "a", "q", "m"});
  CHECK(document.dump({.members = Json::Order::as_written}) == R"({"z":7,"m":"m","a":"a","q":"q"})");
  const Json moved = std::move(copy);
  CHECK(moved.dump() == R"({"a":"a","m":null,"q":"q","z":7})");
}

TEST_CASE("json: what a value is not, or does not have, is said", "[system][json]") {
  const Json document =
      parse_json(R"({"text": "x", "list": [1], "large": 18446744073709551615, "half": 0.5})", "a.json");
  CHECK_THROWS_MATCHES(document["none"], JsonError, Message("expected a member 'none'"));
  CHECK_THROWS_MATCHES(document["list"][1], JsonError, Message("expected an element 1, found 1 of them"));
  CHECK_THROWS_MATCHES(document["text"].get<int>(), JsonError,
                       Message("expected an integer, found a string"));
  CHECK_THROWS_MATCHES(document["half"].get<int>(), JsonError,
                       Message("expected an integer, found a number"));
  CHECK_THROWS_AS(document["large"].get<std::int64_t>(), JsonError);
  CHECK_THROWS_AS(document["list"].text(), JsonError);
  CHECK_THROWS_AS(document["text"].begin(), JsonError);
  CHECK_THROWS_AS(document["text"]["x"], JsonError);
  CHECK_THROWS_AS(Json("\xff").dump(), JsonError);
  CHECK(Json("\xff").dump({.replace = true}) == "\"\xef\xbf\xbd\"");
  CHECK(document["large"].get<std::uint64_t>() == 18446744073709551615u);
  CHECK_FALSE(document["large"].is_int64());
  CHECK(document.find("none") == nullptr);
  CHECK(document["text"].find("x") == nullptr);
  for (const Json& none : Json()) FAIL(none);
}

TEST_CASE("json: a key that stands twice in one object is refused at every depth", "[system][json]") {
  CHECK(refusal(R"({"a": 1, "a": 1})") == "a.json: the key \"a\" stands twice in one object");
  CHECK(refusal(R"({"x": [{"y": {"deep": 1, "b": 2, "deep": 3}}]})") ==
        "a.json: the key \"deep\" stands twice in one object");
  CHECK_THAT(refusal(R"({"a": null, "\u0061": 1})"), ContainsSubstring("\"a\" stands twice"));
  CHECK_THAT(refusal("{\"\\n\": null, \"\\n\": 1}"), ContainsSubstring("\"?\" stands twice"));
  CHECK(refusal(R"({"a": {"a": [{"a": 1}, {"a": 2}]}})") == "accepted");
}

TEST_CASE("json: what follows the value is refused with its byte", "[system][json]") {
  CHECK_THAT(refusal("{} x"), ContainsSubstring("a.json: not valid JSON at byte 4"));
  CHECK_THAT(refusal("{}{}"), ContainsSubstring("byte 3"));
  CHECK_THAT(refusal(std::string_view("{}\0", 3)), ContainsSubstring("byte 3: a zero byte"));
  CHECK_THAT(refusal(std::string_view("\0{}", 3)), ContainsSubstring("byte 1: a zero byte"));
}

TEST_CASE("json: what is not JSON is refused in one line", "[system][json]") {
  for (const char* text :
       {"",         " ",          "{",  "[1,]",    "{\"a\" 1}", "{'a': 1}", "nul",         "NaN",
        "Infinity", "01",         "1.", "+1",      "\"\n\"",    "\"\\x\"",  "\"\\ud800\"", "1e999",
        "// x\n1",  "{\"a\":1,}", "\"", "\x1b[31m"}) {
    INFO(text);
    const std::string message = refusal(text);
    CHECK_THAT(message, ContainsSubstring("a.json: not valid JSON at byte"));
    CHECK(message.find_first_of("\n\x1b") == std::string::npos);
  }
  CHECK_THAT(refusal("\xef\xbb\xbf{}"), ContainsSubstring("byte order mark"));
  CHECK(refusal(repeated("\"", 1).append(100'000, 'x')).size() < 400);
}

TEST_CASE("json: bytes that are not UTF-8 are refused", "[system][json]") {
  for (const char* text :
       {"\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xe2\x82\"", "{\"\x80\": 1}", "\xfe"}) {
    CHECK_THAT(refusal(text), ContainsSubstring("not valid JSON at byte"));
  }
}

TEST_CASE("json: 64 levels are read and one more is refused, however many follow", "[system][json]") {
  CHECK(refusal(repeated("[", 64) + repeated("]", 64)) == "accepted");
  CHECK(refusal(repeated("[", 65) + repeated("]", 65)) == "a.json: nested deeper than 64 levels");
  CHECK(refusal(repeated("{\"a\":", 64) + "1" + repeated("}", 64)) == "accepted");
  CHECK(refusal(repeated("{\"a\":", 65) + "1" + repeated("}", 65)) == "a.json: nested deeper than 64 levels");
  CHECK(refusal(repeated("[", 10'000'000)) == "a.json: nested deeper than 64 levels");
}

TEST_CASE("json: a name of the file that would break the line is made harmless", "[system][json]") {
  CHECK_THROWS_MATCHES(parse_json("{", "a\nb.json"), InputError,
                       MessageMatches(ContainsSubstring("a?b.json: not")));
}
