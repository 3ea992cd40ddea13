#include "harness/system/json.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "harness/system/error.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using nlohmann::json;

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

TEST_CASE("json: what is valid is read as the library reads it", "[system][json]") {
  for (const char* text :
       {"{}", "[]", "null", " [1, -2, 3.5e2, true, false, null, \"x\\u00e9\\ud83d\\ude42\"] \n",
        R"({"a": {"b": [{"c": 1}, {"c": 2}], "d": {}}, "e": 18446744073709551615})", "1e300", "\"\""}) {
    INFO(text);
    CHECK(parse_json(text, "a.json") == json::parse(text));
  }
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
