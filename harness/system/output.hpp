// What the program says.
#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <string_view>

namespace plumbline {

// Text is made first and written afterwards: fmt's own print, from version 11 on, puts a byte into a full
// buffer and takes it back whether or not it went in, so that on a full device it writes before the buffer. A
// failure shows in std::ferror(stream).
void write_text(std::FILE* stream, std::string_view text);

template <typename... Values>
void print_out(fmt::format_string<Values...> text, Values&&... values) {
  write_text(stdout, fmt::format(text, std::forward<Values>(values)...));
}

template <typename... Values>
void print_error(fmt::format_string<Values...> text, Values&&... values) {
  write_text(stderr, fmt::format(text, std::forward<Values>(values)...));
}

}  // namespace plumbline
