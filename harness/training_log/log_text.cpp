#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "harness/training_log/log_scanners.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostNames = 4096;
constexpr std::size_t kLongestName = 48;  // what is longer is prose
constexpr std::size_t kMostPairs = 512;   // of a line

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_word(char c) {
  return is_letter(c) || is_digit(c) || c == '_';
}

// A word in the place of a number: "nan", "-inf", "None", "n/a".
struct ParsedWord {
  double value = 0;
  bool is_number = false;
  std::size_t length = 0;
};
ParsedWord parse_word(std::string_view text) {
  struct Known {
    std::string_view word;
    double value;
    bool is_number;
  };
  constexpr auto nan = std::numeric_limits<double>::quiet_NaN();
  constexpr auto infinity = std::numeric_limits<double>::infinity();
  static constexpr Known words[] = {{"nan", nan, true}, {"inf", infinity, true}, {"infinity", infinity, true},
                                    {"n/a", 0, false},  {"none", 0, false},      {"null", 0, false}};
  const bool negative = text[0] == '-';
  const std::size_t begin = text[0] == '-' || text[0] == '+' ? 1 : 0;
  for (const auto& known : words) {
    const auto size = begin + known.word.size();
    if (text.size() < size || (text.size() > size && is_word(text[size]))) continue;
    if (std::equal(known.word.begin(), known.word.end(), text.begin() + static_cast<std::ptrdiff_t>(begin),
                   [](char one, char other) { return one == (other | 0x20) || one == other; }))
      return {negative ? -known.value : known.value, known.is_number, size};
  }
  return {};
}

class TextScanner {
 public:
  explicit TextScanner(LogEntries& entries)
      : entries_(entries),
        progress_(entries.column("progress", kProgress)),
        name_of_loss_(entries.loss_name().empty() ? -1 : entries.column(entries.loss_name())) {}

  void line(std::string_view line, std::size_t number) {
    about_validation_ = false;
    std::size_t name = 0;  // where the name of the next number begins
    std::size_t pairs = 0;
    for (std::size_t i = 0; i < line.size() && pairs < kMostPairs;) {
      const char c = line[i];
      if (c == ',' || c == '|' || c == ';' || c == '{' || c == '}') {
        // Text without a number after it is no name.
        if (i - name > 3 && i - name < kLongestName)
          about_validation_ |= column_named(line.substr(name, i - name)).mentions_validation;
        name = ++i;
        continue;
      }
      const bool after_word = i > 0 && (is_word(line[i - 1]) || line[i - 1] == '.');
      const bool begins =
          !after_word && (is_digit(c) || ((c == '.' || c == '-' || c == '+') && i + 1 < line.size() &&
                                          (is_digit(line[i + 1]) || line[i + 1] == '.')));
      if (begins) {
        const auto parsed = parse_number(line.substr(i));
        if (parsed.length == 0) {
          ++i;
          continue;
        }
        const auto end = i + parsed.length;
        if (parsed.is_number && (end == line.size() || line[end] != '%')) {
          ++pairs;
          i = add_pair(line, name, i, end, parsed.value);
        } else {
          i = end;
          while (i < line.size() && is_word(line[i])) ++i;  // "61.0min"
          if (i < line.size() && line[i] == '%') ++i;
        }
        name = i;
        continue;
      }
      if (!after_word && (is_letter(c) || c == '-' || c == '+')) {
        const auto word = parse_word(line.substr(i));
        if (word.length > 0) {
          ++pairs;
          if (word.is_number)
            add_pair(line, name, i, i + word.length, word.value);
          else
            entries_.empty_cell(column_named(line.substr(name, i - name)).column);
          i += word.length;
          name = i;
          continue;
        }
        ++i;
        while (i < line.size() && is_word(line[i])) ++i;
        continue;
      }
      ++i;
    }
    entries_.end_record(number);
  }

 private:
  struct NamedColumn {
    int column = -1;
    Role role = Role::other;
    bool mentions_validation = false, has_name = false;
  };

  const NamedColumn& column_named(std::string_view before) {
    if (before.size() > kLongestName) before.remove_prefix(before.size() - kLongestName);
    key_ = before;
    if (const auto found = names_.find(key_); found != names_.end()) return found->second;
    auto text = name_in_text(before);
    NamedColumn entry;
    entry.mentions_validation = text.mentions_validation;
    entry.has_name = !text.name.empty();
    if (entry.has_name && entries_.names_loss(before, text.name))
      entry.column = name_of_loss_;
    else if (entry.has_name)
      entry.column = entries_.column(text.name, text.meaning);
    if (entry.column >= 0) entry.role = entries_.meaning(entry.column).role;
    if (names_.size() == kMostNames) names_.clear();
    return names_.emplace(key_, entry).first->second;
  }

  // Returns the position after the pair.
  std::size_t add_pair(std::string_view line, std::size_t name, std::size_t begin, std::size_t end,
                       double value) {
    double of = 0;
    auto after = end;
    while (after < line.size() && line[after] == ' ') ++after;
    bool is_part = false;  // "100/2000", but no date
    if (after < line.size() && line[after] == '/' && value >= 0 && std::floor(value) == value) {
      auto second = after + 1;
      while (second < line.size() && line[second] == ' ') ++second;
      auto stop = second;
      while (stop < line.size() && is_digit(line[stop])) ++stop;
      const bool before_slash = begin > 0 && line[begin - 1] == '/';
      if (stop > second &&
          (stop == line.size() || (!is_word(line[stop]) && line[stop] != '/' && line[stop] != '.')) &&
          !before_slash) {
        of = parse_number(line.substr(second, stop - second)).value;
        is_part = of >= value;
        if (!is_part) of = 0;
        end = stop;
      }
    }
    const auto target = column_named(line.substr(name, begin - name));
    // "2026-11-29": no names, and no counts.
    if (!target.has_name) {
      if (is_part) entries_.cell(progress_, value, of);
      return end;
    }
    about_validation_ |= target.mentions_validation && target.role != Role::loss;
    if (is_part && target.role == Role::other) {
      entries_.cell(progress_, value, of);
      return end;
    }
    if (target.role == Role::loss && about_validation_) {
      if (validation_ < 0) validation_ = entries_.column("validation loss", {Role::validation_loss, 0});
      entries_.cell(validation_, value);
      return end;
    }
    entries_.cell(target.column, value, of);
    return end;
  }

  LogEntries& entries_;
  std::unordered_map<std::string, NamedColumn> names_;
  std::string key_;
  int progress_, name_of_loss_, validation_ = -1;
  bool about_validation_ = false;
};

}  // namespace

void scan_text(UnpackedFile& file, LogEntries& entries) {
  LogLines lines(file);
  TextScanner scanner(entries);
  std::string_view line;
  while (lines.next(line)) scanner.line(line, lines.number());
}

}  // namespace plumbline
