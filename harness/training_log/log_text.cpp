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

// "nan", "-inf", "None", "n/a": what stands where a number would, and how long it is.
struct WordRead {
  double value = 0;
  bool is_number = false;
  std::size_t length = 0;
};
WordRead word_for_number(std::string_view text) {
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
        name_of_loss_(entries.given_loss().empty() ? -1 : entries.column(entries.given_loss())) {}

  void line(std::string_view line, std::size_t number) {
    about_validation_ = false;
    std::size_t name = 0;  // where the name of the next number begins
    std::size_t pairs = 0;
    for (std::size_t i = 0; i < line.size() && pairs < kMostPairs;) {
      const char c = line[i];
      if (c == ',' || c == '|' || c == ';' || c == '{' || c == '}') {
        // What has no number is no name.
        if (i - name > 3 && i - name < kLongestName)
          about_validation_ |= named(line.substr(name, i - name)).speaks_of_validation;
        name = ++i;
        continue;
      }
      const bool after_word = i > 0 && (is_word(line[i - 1]) || line[i - 1] == '.');
      const bool begins =
          !after_word && (is_digit(c) || ((c == '.' || c == '-' || c == '+') && i + 1 < line.size() &&
                                          (is_digit(line[i + 1]) || line[i + 1] == '.')));
      if (begins) {
        const auto read = number_at(line.substr(i));
        if (read.length == 0) {
          ++i;
          continue;
        }
        const auto end = i + read.length;
        if (read.is_number && (end == line.size() || line[end] != '%')) {
          ++pairs;
          i = pair(line, name, i, end, read.value);
        } else {
          i = end;
          while (i < line.size() && is_word(line[i])) ++i;  // "61.0min"
          if (i < line.size() && line[i] == '%') ++i;
        }
        name = i;
        continue;
      }
      if (!after_word && (is_letter(c) || c == '-' || c == '+')) {
        const auto word = word_for_number(line.substr(i));
        if (word.length > 0) {
          ++pairs;
          if (word.is_number)
            pair(line, name, i, i + word.length, word.value);
          else
            entries_.empty_cell(named(line.substr(name, i - name)).column);
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
  struct Named {
    int column = -1;
    Role role = Role::other;
    bool speaks_of_validation = false, has_name = false;
  };

  const Named& named(std::string_view before) {
    if (before.size() > kLongestName) before.remove_prefix(before.size() - kLongestName);
    key_ = before;
    if (const auto found = names_.find(key_); found != names_.end()) return found->second;
    auto text = name_in_text(before);
    Named one;
    one.speaks_of_validation = text.speaks_of_validation;
    one.has_name = !text.name.empty();
    if (one.has_name && entries_.names_loss(before, text.name))
      one.column = name_of_loss_;
    else if (one.has_name)
      one.column = entries_.column(text.name, text.meaning);
    if (one.column >= 0) one.role = entries_.meaning(one.column).role;
    if (names_.size() == kMostNames) names_.clear();
    return names_.emplace(key_, one).first->second;
  }

  // Returns where what follows begins.
  std::size_t pair(std::string_view line, std::size_t name, std::size_t begin, std::size_t end,
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
        of = number_at(line.substr(second, stop - second)).value;
        is_part = of >= value;
        if (!is_part) of = 0;
        end = stop;
      }
    }
    const auto one = named(line.substr(name, begin - name));
    // "2026-11-29": no names, and no counts.
    if (!one.has_name) {
      if (is_part) entries_.cell(progress_, value, of);
      return end;
    }
    about_validation_ |= one.speaks_of_validation && one.role != Role::loss;
    if (is_part && one.role == Role::other) {
      entries_.cell(progress_, value, of);
      return end;
    }
    if (one.role == Role::loss && about_validation_) {
      if (validation_ < 0) validation_ = entries_.column("validation loss", {Role::validation_loss, 0});
      entries_.cell(validation_, value);
      return end;
    }
    entries_.cell(one.column, value, of);
    return end;
  }

  LogEntries& entries_;
  std::unordered_map<std::string, Named> names_;
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
