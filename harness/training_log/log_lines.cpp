#include <algorithm>

#include "harness/training_log/log_scanners.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kLongestLine = std::size_t{1} << 16;
constexpr char kEscape = '\x1b';

bool ends_line(char c) {
  return c == '\n' || c == '\r' || c == '\b';
}

// "\x1b[31mloss" -> "loss"
void strip_colours(std::string_view line, std::string& plain) {
  plain.clear();
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] != kEscape) {
      plain += line[i];
      continue;
    }
    if (i + 1 < line.size() && line[i + 1] == '[') {
      ++i;
      while (i + 1 < line.size() && (line[i + 1] < '@' || line[i + 1] > '~')) ++i;
      ++i;
    }
  }
}

}  // namespace

bool LogLines::next(std::string_view& line) {
  line_.clear();
  bool whole = false;
  while (!whole) {
    if (part_.empty()) {
      part_ = file_.next_part();
      if (part_.empty()) break;
    }
    std::size_t end = 0;
    while (end < part_.size() && !ends_line(part_[end])) ++end;
    line = part_.substr(0, end);
    whole = end < part_.size();
    if (!whole || !line_.empty())
      line_.append(line.substr(0, kLongestLine - std::min(kLongestLine, line_.size())));
    if (whole) {
      // "\r\n" is one end.
      const bool second = part_[end] == '\n' && after_return_ && end == 0 && line_.empty();
      after_return_ = part_[end] == '\r';
      number_ += !second;
    }
    part_.remove_prefix(std::min(end + 1, part_.size()));
    if (whole && line_.empty() && end == 0) whole = false;  // an empty line
  }
  if (!line_.empty()) line = line_;
  if (!whole && line_.empty()) return false;
  if (!whole) ++number_;  // the last one, without an end
  line = line.substr(0, kLongestLine);
  if (line.find(kEscape) != std::string_view::npos) {
    strip_colours(line, plain_);
    line = plain_;
  }
  return true;
}

}  // namespace plumbline
