#include "suites/benchmarks/machine.hpp"

#include <ATen/core/grad_mode.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "harness/model/kernels.hpp"
#include "suites/benchmarks/fixtures.hpp"

namespace plumbline::benchmarks {
namespace {

constexpr std::int64_t kTokens = 512;
constexpr std::int64_t kReadElements = 1 << 26;  // 256 MiB

// The median of several calls, after one that is not counted.
template <typename Work>
double seconds_of(Work work) {
  std::vector<double> seconds;
  for (int i = 0; i < 6; ++i) {
    const auto began = std::chrono::steady_clock::now();
    work();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }
  seconds.erase(seconds.begin());
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

}  // namespace

double matrix_rate() {
  const at::NoGradGuard no_gradients;
  const auto& s = specification();
  const auto narrow = at::randn({kTokens, s.hidden_size}), wide = at::randn({kTokens, s.intermediate_size});
  const auto seconds = seconds_of([&] {
    for (const auto& [name, weight] : weights())
      if (weight.dim() == 2)
        benchmark::DoNotOptimize(at::linear(weight.size(1) == s.hidden_size ? narrow : wide, weight));
  });
  return weight_operations(kTokens) / seconds;
}

double read_rate() {
  static const auto memory = kernels::empty_in_huge_pages(kReadElements, at::kFloat).fill_(1);
  return static_cast<double>(memory.nbytes()) / seconds_of([&] { benchmark::DoNotOptimize(memory.sum()); });
}

double known_matrix_rate() {
  static const double rate = matrix_rate();
  return rate;
}

double known_read_rate() {
  static const double rate = read_rate();
  return rate;
}

namespace {

void machine_matrix_products(benchmark::State& state) {
  double rate = 0;
  for ([[maybe_unused]] auto _ : state) rate = matrix_rate();
  state.counters["GFLOP/s"] = rate * 1e-9;
}
BENCHMARK(machine_matrix_products)
    ->Name("machine/matrix_products")
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

void machine_memory_read(benchmark::State& state) {
  double rate = 0;
  for ([[maybe_unused]] auto _ : state) rate = read_rate();
  state.counters["GB/s"] = rate * 1e-9;
}
BENCHMARK(machine_memory_read)->Name("machine/memory_read")->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace plumbline::benchmarks
