// Google Benchmark with one option of our own: --threads N.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <string_view>
#include <vector>

namespace {

constexpr int kBadUsage = 2;

// The number of threads asked for, taken out of the arguments; 0 leaves it to LibTorch, -1 is none.
int take_threads(std::vector<char*>& arguments) {
  int threads = 0;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    std::string_view word = arguments[i];
    std::size_t used = 1;
    if (word == "--threads") {
      word = i + 1 < arguments.size() ? arguments[i + 1] : "";
      used = 2;
    } else if (word.starts_with("--threads=")) {
      word.remove_prefix(std::string_view("--threads=").size());
    } else {
      continue;
    }
    const auto read = std::from_chars(word.data(), word.data() + word.size(), threads);
    if (read.ec != std::errc() || read.ptr != word.data() + word.size() || threads < 1 || threads > 1024)
      return -1;
    const auto at = arguments.begin() + static_cast<std::ptrdiff_t>(i);
    arguments.erase(at, at + static_cast<std::ptrdiff_t>(used));
    --i;
  }
  return threads;
}

}  // namespace

int main(int count, char** values) {
  std::vector<char*> arguments(values, values + count);
  const int threads = take_threads(arguments);
  if (threads < 0) {
    fmt::print(stderr, "plumbline_benchmarks: --threads: expected a number from 1 to 1024\n");
    return kBadUsage;
  }
  if (threads > 0) at::set_num_threads(threads);
  count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return kBadUsage;
  benchmark::AddCustomContext("model", "minimind2-small, float32, CPU");
  benchmark::AddCustomContext("threads", fmt::format("{}", at::get_num_threads()));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
