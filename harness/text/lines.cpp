#include "harness/text/lines.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "harness/system/error.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostLineBytes = std::size_t{1} << 30;

}  // namespace

Lines::Lines(const std::filesystem::path& path) : file_(path), buffer_(1 << 20, '\0') {}

bool Lines::next(std::string& line) {
  line.clear();
  while (true) {
    const auto end = buffer_.find('\n', begin_);
    const auto stop = std::min(end, filled_);
    line.append(buffer_, begin_, stop - begin_);
    if (line.size() > kMostLineBytes)
      throw InputError(fmt::format("{}: line {} is longer than {} bytes", file_.path().string(), number_ + 1,
                                   kMostLineBytes));
    begin_ = stop;
    if (end < filled_) {
      ++begin_;
      break;
    }
    filled_ = file_.read_some(buffer_.data(), buffer_.size());
    std::fill(buffer_.begin() + static_cast<std::ptrdiff_t>(filled_), buffer_.end(), '\0');
    begin_ = 0;
    hash_.update({buffer_.data(), filled_});
    if (filled_ == 0) {
      if (line.empty()) return false;
      break;
    }
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  if (++number_ == 1 && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);
  return true;
}

std::string lowered(std::string_view text) {
  std::string out(text);
  for (auto& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

}  // namespace plumbline
