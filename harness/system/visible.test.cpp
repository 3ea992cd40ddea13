#include "harness/system/visible.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace plumbline::reports;
using namespace std::string_literals;

TEST_CASE("every code point survives encoding and decoding, surrogates become U+FFFD") {
  for (char32_t value = 0; value <= 0x110000; ++value) {
    const std::string bytes = encode(value);
    const CodePoint back = decode(bytes);
    const bool none = (value >= 0xD800 && value <= 0xDFFF) || value > 0x10FFFF;
    if (back.value != (none ? 0xFFFD : value) || back.bytes != bytes.size())
      FAIL(static_cast<unsigned>(value));
  }
}

TEST_CASE("bytes that are no UTF-8 are replaced one by one") {
  CHECK(visible("\xff"
                "a") ==
        "\uFFFD"
        "a");
  CHECK(visible("\xc0\x80") == "\uFFFD\uFFFD");            // overlong NUL
  CHECK(visible("\xe0\x80\xaf") == "\uFFFD\uFFFD\uFFFD");  // overlong slash
  CHECK(visible("\xed\xa0\x80") == "\uFFFD\uFFFD\uFFFD");  // a surrogate
  CHECK(visible("\xf4\x90\x80\x80") == "\uFFFD\uFFFD\uFFFD\uFFFD");
  CHECK(visible("\xe2\x82") == "\uFFFD\uFFFD");  // cut off
}

TEST_CASE("hidden characters are spelled out") {
  CHECK(visible("a\nb\tc\r") == "a\\nb\\tc\\r");
  CHECK(visible("\0\x1b[31m\x7f"s) == "\\x00\\x1b[31m\\x7f");
  CHECK(visible("\u009b\u202e\u200b\ufeff\u2028\ufffe") == "\\x9b\\u202e\\u200b\\ufeff\\u2028\\ufffe");
  CHECK(visible("\U000e0041\U0001ffff") == "\\u{e0041}\\u{1ffff}");
  CHECK(visible("naïve ≤ 漢字 🙂") == "naïve ≤ 漢字 🙂");
}

TEST_CASE("long text is cut and says how long it was") {
  CHECK(visible("aaaa", 4) == "aaaa");
  CHECK(visible("ααααα", 4) == "αααα… (5 characters)");
  CHECK(visible("aaa\x1b", 5) == "aaa… (4 characters)");  // an escape is never cut in two
  CHECK(cut("ααα", 3) == "ααα");
  CHECK(cut("\xe2\x82\x1b", 3) == "\uFFFD\uFFFD\x1b");
  CHECK(cut("αα\x1b"
            "α",
            3) == "αα\x1b… (4 characters)");
}

TEST_CASE("ASCII says what it can and spells the rest") {
  CHECK(in_ascii("√64 ≤ 8 … ±1") == "sqrt 64 <= 8 ... +-1");
  CHECK(in_ascii("é 🙂") == "\\xe9 \\u{1f642}");
}

TEST_CASE("columns count what a terminal shows") {
  CHECK(columns("abc") == 3);
  CHECK(columns("漢字") == 4);
  CHECK(columns("e\u0301") == 1);
  CHECK(fit("query heads", 8) == "query h…");
  CHECK(fit("query", 5) == "query");
  CHECK(fit("漢字漢字", 6) == "漢字…");
  CHECK(fit("query", -3).empty());
}

TEST_CASE("text is broken at spaces, and a word that is too long where it has to be") {
  CHECK(wrap("one two three", 7) == std::vector<std::string>{"one two", "three"});
  CHECK(wrap("abcdefgh i", 4) == std::vector<std::string>{"abcd", "efgh", "i"});
  CHECK(wrap("a abcdefgh", 4) == std::vector<std::string>{"a", "abcd", "efgh"});
  CHECK(wrap("漢字漢字", 3) == std::vector<std::string>{"漢", "字", "漢", "字"});
  CHECK(wrap("", 10) == std::vector<std::string>{""});
  CHECK(wrap("ab", 0) == std::vector<std::string>{"ab"});
}
