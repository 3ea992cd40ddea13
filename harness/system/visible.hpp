// Makes text of unknown origin safe to show. Names and messages from files may contain terminal escapes,
// marks of direction, invalid UTF-8 or megabytes of one letter.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace plumbline::reports {

struct CodePoint {
  char32_t value = 0;     // U+FFFD where the bytes are no UTF-8
  std::size_t bytes = 1;  // how many bytes it took; a bad byte is taken alone
};

// The first code point of `text`, which must not be empty. Overlong forms, surrogates and values past
// U+10FFFF are no UTF-8.
CodePoint decode(std::string_view text);

// `character` in UTF-8; surrogates and values past U+10FFFF become U+FFFD.
std::string encode(char32_t character);

// Whether it is invisible or changes how other text is shown: control characters, marks of direction,
// zero-width characters, line separators, noncharacters.
bool is_hidden(char32_t character);

// Whether `text` shows nothing: spaces of any kind, hidden characters, marks without a letter.
bool is_blank(std::string_view text);

// Whether these are so many hexadecimal digits, in lower case.
bool is_hexadecimal(std::string_view text, std::size_t digits);

// How many characters `text` has; a bad byte is one.
std::size_t characters(std::string_view text);

constexpr std::size_t usual_limit = 300;  // characters

// `text` as one line of valid UTF-8 with every hidden character spelled out (\n, \x1b, \u202e), cut after
// `limit` characters with "… (N characters)".
std::string visible(std::string_view text, std::size_t limit = usual_limit);

// `text` as valid UTF-8 and otherwise as it is, cut after `limit` characters with "… (N characters)".
std::string cut(std::string_view text, std::size_t limit);

// Text in ASCII: "≤" becomes "<=", characters without a substitute are escaped.
std::string in_ascii(std::string_view text);

// Columns of a terminal that `text` takes (visible text; combining marks 0, wide characters 2).
int columns(std::string_view text);

// `text` cut to at most `width` columns, ending in `ending` where something was cut.
std::string fit(std::string_view text, int width, std::string_view ending = "…");

// `text` broken at spaces into lines of at most `width` columns; a longer word is broken. At least one line.
std::vector<std::string> wrap(std::string_view text, int width);

}  // namespace plumbline::reports
