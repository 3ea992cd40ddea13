#include "harness/system/visible.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace plumbline::reports {
namespace {

constexpr char32_t replacement = 0xFFFD;

struct Range {
  char32_t first, last;
};

template <std::size_t N>
bool within(const std::array<Range, N>& ranges, char32_t character) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const Range& r) { return r.first <= character && character <= r.last; });
}

constexpr std::array hidden = {
    Range{0x00, 0x1F},     Range{0x7F, 0x9F},     Range{0xAD, 0xAD},     Range{0x61C, 0x61C},
    Range{0x180E, 0x180E}, Range{0x200B, 0x200F}, Range{0x2028, 0x202E}, Range{0x2060, 0x206F},
    Range{0xFDD0, 0xFDEF}, Range{0xFEFF, 0xFEFF}, Range{0xFFF9, 0xFFFB}, Range{0xE0000, 0xE0FFF},
};

// Approximate on purpose: the C library's wcwidth depends on the locale and knows no newer characters either.
constexpr std::array combining = {
    Range{0x300, 0x36F},   Range{0x483, 0x489},   Range{0x591, 0x5BD},   Range{0x610, 0x61A},
    Range{0x64B, 0x65F},   Range{0x1AB0, 0x1AFF}, Range{0x1DC0, 0x1DFF}, Range{0x20D0, 0x20FF},
    Range{0xFE00, 0xFE0F}, Range{0xFE20, 0xFE2F},
};
constexpr std::array spaces = {
    Range{0x20, 0x20},     Range{0xA0, 0xA0},     Range{0x115F, 0x1160}, Range{0x1680, 0x1680},
    Range{0x2000, 0x200A}, Range{0x202F, 0x202F}, Range{0x205F, 0x205F}, Range{0x2800, 0x2800},
    Range{0x3000, 0x3000}, Range{0x3164, 0x3164}, Range{0xFFA0, 0xFFA0},
};
constexpr std::array wide = {
    Range{0x1100, 0x115F},   Range{0x2E80, 0x303E},   Range{0x3041, 0x4DBF},   Range{0x4E00, 0xA4CF},
    Range{0xAC00, 0xD7A3},   Range{0xF900, 0xFAFF},   Range{0xFE30, 0xFE6F},   Range{0xFF00, 0xFF60},
    Range{0xFFE0, 0xFFE6},   Range{0x1F300, 0x1F64F}, Range{0x1F680, 0x1F6FF}, Range{0x1F900, 0x1F9FF},
    Range{0x20000, 0x3FFFD},
};

constexpr std::array<std::pair<char32_t, const char*>, 22> plain = {{
    {U'…', "..."},   {U'–', "-"},  {U'—', "-"},  {U'−', "-"},  {U'×', "x"}, {U'·', "."},
    {U'±', "+-"},    {U'≤', "<="}, {U'≥', ">="}, {U'≠', "!="}, {U'≈', "~"}, {U'→', "->"},
    {U'√', "sqrt "}, {U'“', "\""}, {U'”', "\""}, {U'‘', "'"},  {U'’', "'"}, {U'«', "\""},
    {U'»', "\""},    {U'µ', "u"},  {U'✔', "+"},  {U'✘', "x"},
}};

int columns_of(char32_t character) {
  if (character < 0x300) return 1;
  return within(combining, character) ? 0 : within(wide, character) ? 2 : 1;
}

std::string spelled(char32_t character) {
  if (character == U'\n') return "\\n";
  if (character == U'\r') return "\\r";
  if (character == U'\t') return "\\t";
  const auto code = static_cast<unsigned>(character);
  if (code <= 0xFF) return fmt::format("\\x{:02x}", code);
  return code <= 0xFFFF ? fmt::format("\\u{:04x}", code) : fmt::format("\\u{{{:x}}}", code);
}

// Bytes that fit within `width` columns, and those columns.
std::pair<std::size_t, int> prefix(std::string_view text, int width) {
  std::size_t bytes = 0;
  int used = 0;
  while (bytes < text.size()) {
    const CodePoint next = decode(text.substr(bytes));
    const int needed = columns_of(next.value);
    if (used + needed > width) break;
    used += needed;
    bytes += next.bytes;
  }
  return {bytes, used};
}

}  // namespace

bool is_blank(std::string_view text) {
  while (!text.empty()) {
    const CodePoint next = decode(text);
    if (!is_hidden(next.value) && !within(spaces, next.value) && !within(combining, next.value)) return false;
    text.remove_prefix(next.bytes);
  }
  return true;
}

bool is_hexadecimal(std::string_view text, std::size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::size_t characters(std::string_view text) {
  std::size_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(decode(text).bytes);
  return count;
}

CodePoint decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {replacement, 1};
  char32_t value = lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {replacement, 1};
    value = (value << 6U) | (byte(i) & 0x3FU);
  }
  constexpr std::array<char32_t, 5> smallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < smallest[length] || value > 0x10FFFF || surrogate) return {replacement, 1};
  return {value, length};
}

std::string encode(char32_t character) {
  if (character > 0x10FFFF || (character >= 0xD800 && character <= 0xDFFF)) character = replacement;
  const auto low = [&](unsigned shift) { return static_cast<char>(0x80U | ((character >> shift) & 0x3FU)); };
  if (character < 0x80) return {static_cast<char>(character)};
  if (character < 0x800) return {static_cast<char>(0xC0U | (character >> 6U)), low(0)};
  if (character < 0x10000) return {static_cast<char>(0xE0U | (character >> 12U)), low(6), low(0)};
  return {static_cast<char>(0xF0U | (character >> 18U)), low(12), low(6), low(0)};
}

bool is_hidden(char32_t character) {
  return within(hidden, character) || (character & 0xFFFEU) == 0xFFFEU;
}

std::string visible(std::string_view text, std::size_t limit) {
  std::string shown;
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = decode(text.substr(at));
    const std::string piece = is_hidden(next.value) ? spelled(next.value) : encode(next.value);
    const std::size_t size = characters(piece);
    if (count + size > limit) return shown + fmt::format("… ({} characters)", characters(text));
    shown += piece;
    count += size;
    at += next.bytes;
  }
  return shown;
}

std::string cut(std::string_view text, std::size_t limit) {
  std::string kept;
  std::string_view rest = text;
  for (std::size_t count = 0; count < limit && !rest.empty(); ++count) {
    const CodePoint next = decode(rest);
    kept += encode(next.value);
    rest.remove_prefix(next.bytes);
  }
  return rest.empty() ? kept : kept + fmt::format("… ({} characters)", characters(text));
}

std::string in_ascii(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const CodePoint next = decode(text);
    text.remove_prefix(next.bytes);
    const auto* known =
        std::find_if(plain.begin(), plain.end(), [&](const auto& p) { return p.first == next.value; });
    if (next.value < 0x80) {
      shown += static_cast<char>(next.value);
    } else {
      shown += known != plain.end() ? std::string(known->second) : spelled(next.value);
    }
  }
  return shown;
}

int columns(std::string_view text) {
  int total = 0;
  while (!text.empty()) {
    const CodePoint next = decode(text);
    total += columns_of(next.value);
    text.remove_prefix(next.bytes);
  }
  return total;
}

std::string fit(std::string_view text, int width, std::string_view ending) {
  if (prefix(text, width).first == text.size()) return std::string(text);
  const int room = width - columns(ending);
  if (room < 0) return {};
  std::string_view kept = text.substr(0, prefix(text, room).first);
  while (!kept.empty() && kept.back() == ' ') kept.remove_suffix(1);
  return std::string(kept) + std::string(ending);
}

std::vector<std::string> wrap(std::string_view text, int width) {
  width = std::max(width, 2);  // a wide character has to fit
  std::vector<std::string> lines(1);
  int used = 0;
  while (!text.empty()) {
    if (text.front() == ' ') {
      text.remove_prefix(1);
      continue;
    }
    std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(word.size());
    const int needed = columns(word);
    if (used > 0 && used + 1 + needed <= width) {
      lines.back() += ' ';
      ++used;
    } else if (used > 0) {
      lines.emplace_back();
      used = 0;
    }
    for (auto [bytes, taken] = prefix(word, width - used); bytes < word.size();
         std::tie(bytes, taken) = prefix(word, width)) {
      lines.back() += word.substr(0, bytes);
      word.remove_prefix(bytes);
      lines.emplace_back();
      used = 0;
    }
    lines.back() += word;
    used += columns(word);
  }
  return lines;
}

}  // namespace plumbline::reports
