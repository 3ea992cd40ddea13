#include "harness/cli/progress.hpp"
#include "harness/system/output.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace plumbline {

Progress::~Progress() {
  if (shown_) print_error("\n");
}

double Progress::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

void Progress::tell(double done, const std::string& words) {
  const auto now = std::chrono::steady_clock::now();
  const bool is_terminal = isatty(STDERR_FILENO) == 1;
  const auto tenth = static_cast<int>(done * 10);
  if (is_terminal ? now - told_ < std::chrono::milliseconds(100) && done < 1
                  : tenth == tenth_ || now - told_ < std::chrono::seconds(2))
    return;
  told_ = now;
  tenth_ = tenth;
  const auto text = fmt::format("{:>3} %{}", static_cast<int>(done * 100), words);
  if (!is_terminal) {
    print_error("{}\n", text);
    std::fflush(stderr);
    return;
  }
  constexpr std::size_t kWidth = 30;
  const auto filled = static_cast<std::size_t>(done * kWidth);
  print_error("\r[{}{}] {:<44}", std::string(filled, '='), std::string(kWidth - filled, ' '), text);
  shown_ = true;
  std::fflush(stderr);
}

}  // namespace plumbline
