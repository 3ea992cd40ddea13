#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "harness/training_log/log_scanners.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kDeepest = 64;
constexpr std::size_t kLongestWord = 256;  // of a name or a value; what is longer is cut
constexpr std::size_t kLongestPath = 1024;
constexpr std::size_t kMostArrays = 32;  // columns as arrays
constexpr std::size_t kMostOfArray = std::size_t{1} << 20;

class Characters {
 public:
  static constexpr int end = -1;
  explicit Characters(UnpackedFile& file) : file_(file) {}
  int peek() {
    if (at_ == part_.size()) {
      part_ = file_.next_part();
      at_ = 0;
      if (part_.empty()) return end;
    }
    return static_cast<unsigned char>(part_[at_]);
  }
  void skip() {
    if (part_[at_++] == '\n') ++line_;
  }
  std::size_t line() const { return line_; }

 private:
  UnpackedFile& file_;
  std::string_view part_;
  std::size_t at_ = 0, line_ = 1;
};

class JsonScanner {
 public:
  JsonScanner(UnpackedFile& file, LogEntries& entries) : input_(file), entries_(entries) {}

  bool scan() {
    while (true) {
      const int c = input_.peek();
      if (c == Characters::end) break;
      if (!read_token(c)) resume_after_line();
    }
    // The log may have been copied while an object was being written.
    if (!levels_.empty()) entries_.end_record(input_.line());
    add_arrays();
    return values_at_top_ > 1;
  }

 private:
  struct Level {
    bool is_object;
    std::size_t path;         // the length of path_ outside of this level
    std::size_t numbers = 0;  // of an array, so far
    double first[3] = {0, 0, 0};
    bool pairs_only = true;  // nothing but numbers
  };

  bool read_token(int c) {
    switch (c) {
      case ' ':
      case '\t':
      case '\r':
      case '\n':
      case ',':
      case ':':
        input_.skip();
        return true;
      case '{':
      case '[':
        input_.skip();
        return open_level(c == '{');
      case '}':
      case ']':
        input_.skip();
        return close_level(c == '}');
      case '"':
      case '\'':
        input_.skip();
        return read_string(static_cast<char>(c));
      default:
        return read_word();
    }
  }

  bool in_object() const { return !levels_.empty() && levels_.back().is_object; }

  bool open_level(bool object) {
    if (levels_.size() == kDeepest || (in_object() && !has_name_)) return false;
    if (levels_.empty()) ++values_at_top_;
    if (!levels_.empty() && !object) levels_.back().pairs_only = false;
    // An object within an object adds to its record, as "metrics/loss"; one in an array is a record.
    const bool begins_record = object && !in_object();
    Level level{object, path_.size()};
    if (in_object() && path_.size() < kLongestPath) path_ += (path_.empty() ? "" : "/") + name_;
    if (begins_record) path_.clear();
    levels_.push_back(level);
    if (begins_record && !records_.empty()) flush();
    if (begins_record) records_.push_back(levels_.size());
    has_name_ = false;
    return true;
  }

  bool close_level(bool object) {
    if (levels_.empty() || levels_.back().is_object != object || has_name_) return false;
    const auto level = levels_.back();
    const bool ends_record = !records_.empty() && records_.back() == levels_.size();
    if (ends_record) {
      flush();
      records_.pop_back();
    }
    levels_.pop_back();
    // TensorBoard's own JSON: [wall time, step, value].
    if (!object && level.pairs_only && level.numbers == 3 && !levels_.empty() && !levels_.back().is_object &&
        records_.empty()) {
      constexpr const char* names[] = {"wall time", "step", "value"};
      for (std::size_t i = 0; i < 3; ++i) entries_.cell(entries_.column(names[i]), level.first[i]);
      entries_.end_record(input_.line());
    }
    path_.resize(std::min(path_.size(), level.path));
    if (levels_.empty()) {
      add_arrays();
      path_.clear();
    }
    return true;
  }

  void flush() { entries_.end_record(input_.line()); }

  bool read_string(char quote) {
    word_.clear();
    while (true) {
      const int c = input_.peek();
      if (c == Characters::end || c == '\n') return false;
      input_.skip();
      if (c == quote) break;
      char kept = static_cast<char>(c);
      if (c == '\\') {
        const int next = input_.peek();
        if (next == Characters::end || next == '\n') return false;
        input_.skip();
        kept = next == 'u' ? '?' : static_cast<char>(next);
      }
      if (word_.size() < kLongestWord) word_ += kept;
    }
    if (in_object() && !has_name_) {
      name_ = word_;
      has_name_ = true;
      return true;
    }
    if (const auto number = parse_cell(word_); number.is_number) {
      add_number(number.value);
    } else if (in_object()) {
      const int column = entries_.column(full_name());
      const auto slash = word_.find('/');
      if (column >= 0 && entries_.meaning(column).role == Role::tag)
        entries_.tag(word_);
      else if (slash != std::string::npos)
        add_progress(std::string_view(word_).substr(0, slash), std::string_view(word_).substr(slash + 1));
    }
    return end_value();
  }

  bool read_word() {
    word_.clear();
    while (true) {
      const int c = input_.peek();
      const bool inside = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                          c == '-' || c == '+' || c == '.';
      if (!inside) break;
      input_.skip();
      if (word_.size() < kLongestWord) word_ += static_cast<char>(c);
    }
    if (word_.empty() || levels_.empty() || (in_object() && !has_name_)) return false;
    const auto number = parse_cell(word_);
    if (number.is_number)
      add_number(number.value);
    else if (word_ == "null" || word_ == "None")
      add_empty_cell();
    else if (word_ != "true" && word_ != "false" && word_ != "True" && word_ != "False")
      return false;
    return end_value();
  }

  // "global_step/max_steps": "10/2000"
  void add_progress(std::string_view done, std::string_view total) {
    const auto number = parse_cell(done), of = parse_cell(total);
    if (number.is_number && of.is_number && number.value <= of.value)
      entries_.cell(entries_.column("progress", kProgress), number.value, of.value);
  }

  bool end_value() {
    if (levels_.empty()) return false;
    has_name_ = false;
    return true;
  }

  const std::string& full_name() {
    if (path_.empty()) return name_;
    full_ = path_;
    full_ += '/';
    full_ += name_;
    return full_;
  }

  void add_number(double number) {
    if (levels_.empty()) return;
    auto& level = levels_.back();
    if (level.is_object) {
      // Tables by column: {"loss": {"0": 8.7, "1": 8.6}, "step": {...}}.
      const bool is_row = !path_.empty() && name_.find_first_not_of("0123456789") == std::string::npos;
      if (is_row) return add_to_array(number);
      entries_.cell(entries_.column(full_name()), number);
      return;
    }
    if (level.numbers < 3) level.first[level.numbers] = number;
    ++level.numbers;
    // A column as an array: {"loss": [...], "step": [...]}.
    if (levels_.size() < 2 || !levels_[levels_.size() - 2].is_object) return;
    add_to_array(number);
  }

  void add_empty_cell() {
    if (in_object()) entries_.empty_cell(entries_.column(full_name()));
  }

  void add_to_array(double number) {
    const auto found = arrays_.find(path_);
    if (found == arrays_.end() && arrays_.size() == kMostArrays) return;
    auto& all = found == arrays_.end() ? arrays_[path_] : found->second;
    if (all.size() < kMostOfArray) all.push_back(number);
  }

  void add_arrays() {
    std::size_t longest = 0;
    for (const auto& [name, values] : arrays_) longest = std::max(longest, values.size());
    if (longest > 1) {
      std::vector<std::pair<int, const std::vector<double>*>> columns;
      for (const auto& [name, values] : arrays_)
        if (values.size() > 1) columns.emplace_back(entries_.column(name), &values);
      for (std::size_t i = 0; i < longest; ++i) {
        for (const auto& [column, values] : columns)
          if (i < values->size()) entries_.cell(column, (*values)[i]);
        entries_.end_record(i + 1);
      }
    }
    arrays_.clear();
  }

  void resume_after_line() {
    while (input_.peek() != Characters::end && input_.peek() != '\n') input_.skip();
    flush();
    levels_.clear();
    records_.clear();
    path_.clear();
    has_name_ = false;
  }

  Characters input_;
  LogEntries& entries_;
  std::vector<Level> levels_;
  std::vector<std::size_t> records_;  // depths of the objects that are records
  std::string path_, name_, full_, word_;
  bool has_name_ = false;
  std::size_t values_at_top_ = 0;
  std::map<std::string, std::vector<double>> arrays_;
};

}  // namespace

bool begins_as_json(std::string_view first) {
  const auto rest_after = [&](std::string_view text) {
    const auto begin = text.find_first_not_of(" \t\r\n");
    return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
  };
  const auto begin = rest_after(first);
  if (begin.empty()) return false;
  const auto inside = rest_after(begin.substr(1));
  if (begin[0] == '{') return inside.empty() || inside[0] == '"' || inside[0] == '}';
  return begin[0] == '[' && (inside.empty() || inside[0] == '{' || inside[0] == '[' || inside[0] == ']');
}

bool scan_json(UnpackedFile& file, LogEntries& entries) {
  return JsonScanner(file, entries).scan();
}

}  // namespace plumbline
