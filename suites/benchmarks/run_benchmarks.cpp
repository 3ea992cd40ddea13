// Google Benchmark with options of our own: --threads N, and --export DIR, which writes the weights that are
// measured as a Hugging Face checkpoint and measures nothing.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/candidate/checkpoint.hpp"
#include "harness/system/error.hpp"
#include "harness/system/output.hpp"
#include "suites/benchmarks/fixtures.hpp"

namespace plumbline::benchmarks {
namespace {

constexpr int kBadUsage = 2;

// Removes "NAME VALUE" or "NAME=VALUE" from the arguments and returns the value; the last one counts.
std::optional<std::string> extract_option(std::vector<char*>& arguments, std::string_view name) {
  std::optional<std::string> value;
  for (std::size_t i = 1; i < arguments.size();) {
    const std::string_view word = arguments[i];
    const bool joined = word.size() > name.size() && word.starts_with(name) && word[name.size()] == '=';
    if (!joined && word != name) {
      ++i;
      continue;
    }
    const bool has_value = !joined && i + 1 < arguments.size();
    value = joined ? word.substr(name.size() + 1) : has_value ? arguments[i + 1] : "";
    const auto at = arguments.begin() + static_cast<std::ptrdiff_t>(i);
    arguments.erase(at, at + (has_value ? 2 : 1));
  }
  return value;
}

int parse_threads(const std::string& text) {
  int threads = 0;
  const auto* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, threads);
  if (read.ec != std::errc() || read.ptr != end || threads < 1 || threads > 1024)
    throw InputError(fmt::format("--threads {}: expected a number from 1 to 1024", text));
  return threads;
}

int run(int count, char** values) {
  std::vector<char*> arguments(values, values + count);
  if (const auto threads = extract_option(arguments, "--threads"))
    at::set_num_threads(parse_threads(*threads));
  const auto directory = extract_option(arguments, "--export");
  count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return kBadUsage;
  if (directory) {
    export_checkpoint(specification(), *directory);
    return 0;
  }
  benchmark::AddCustomContext("model", "minimind2-small, float32, CPU");
  benchmark::AddCustomContext("threads", fmt::format("{}", at::get_num_threads()));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace
}  // namespace plumbline::benchmarks

int main(int count, char** values) {
  try {
    return plumbline::benchmarks::run(count, values);
  } catch (const std::exception& error) {
    const std::string reason = error.what();
    plumbline::print_error("plumbline_benchmarks: {}\n", reason.substr(0, reason.find('\n')));
    return plumbline::benchmarks::kBadUsage;
  }
}
