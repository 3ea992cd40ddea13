// Output of the program.
#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <string_view>

namespace plumbline {

// Formats before writing, since fmt::print from version 11 on can write out of bounds of stdio's buffer on a
// full device. A failure shows in std::ferror(stream).
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
