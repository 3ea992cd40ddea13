// Speed of reading a checkpoint and of comparing tensors.
#include <ATen/core/grad_mode.h>
#include <benchmark/benchmark.h>

#include "harness/candidate/checkpoint.hpp"
#include "harness/evidence/compare.hpp"
#include "suites/benchmarks/fixtures.hpp"

namespace plumbline::benchmarks {
namespace {

void load_checkpoint(benchmark::State& state) {
  const auto directory = scratch() / "checkpoint";
  if (!std::filesystem::exists(directory)) export_checkpoint(specification(), directory);
  // From the page cache, and nothing is started for safetensors: no Python.
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(open_checkpoint(directory, "", ""));
  const auto bytes = static_cast<double>(std::filesystem::file_size(directory / "model.safetensors"));
  state.counters["GB/s"] = {static_cast<double>(state.iterations()) * bytes * 1e-9,
                            benchmark::Counter::kIsRate};
}

// Two tensors of 256 MiB that differ by rounding, as two correct implementations do.
struct Pair {
  at::Tensor first = at::randn({1 << 26}), second = first * (1 + 1e-7);
};

template <typename Work>
void benchmark_comparison(benchmark::State& state, Work work) {
  const at::NoGradGuard no_gradients;
  const Pair pair;
  for ([[maybe_unused]] auto _ : state) work(pair);
  const auto bytes = static_cast<double>(pair.first.nbytes() + pair.second.nbytes());
  state.counters["GB/s"] = {static_cast<double>(state.iterations()) * bytes * 1e-9,
                            benchmark::Counter::kIsRate};
}

void compare_one_bound(benchmark::State& state) {
  benchmark_comparison(state, [](const Pair& pair) {
    benchmark::DoNotOptimize(compare("pair", pair.first, pair.second, Tolerance::absolute(1e-5, "rounding")));
  });
}

void compare_each_bound(benchmark::State& state) {
  const auto bounds = Tolerance::each(at::full({1 << 26}, 1e-5, at::kDouble), "rounding");
  benchmark_comparison(state, [&](const Pair& pair) {
    benchmark::DoNotOptimize(compare("pair", pair.first, pair.second, bounds));
  });
}

// For comparison: LibTorch's allclose, and a largest difference.
void library_allclose(benchmark::State& state) {
  benchmark_comparison(state, [](const Pair& pair) {
    benchmark::DoNotOptimize(at::allclose(pair.first, pair.second, 0, 1e-5));
  });
}
void library_largest_difference(benchmark::State& state) {
  benchmark_comparison(state, [](const Pair& pair) {
    benchmark::DoNotOptimize((pair.first - pair.second).abs().max().item<float>());
  });
}

void milliseconds(benchmark::internal::Benchmark* benchmark) {
  benchmark->Unit(benchmark::kMillisecond)->UseRealTime();
}

BENCHMARK(load_checkpoint)->Name("load_checkpoint")->Apply(milliseconds);
BENCHMARK(compare_one_bound)->Name("compare_256MiB/one_bound")->Apply(milliseconds);
BENCHMARK(compare_each_bound)->Name("compare_256MiB/bound_of_each")->Apply(milliseconds);
BENCHMARK(library_allclose)->Name("compare_256MiB/library_allclose")->Apply(milliseconds);
BENCHMARK(library_largest_difference)->Name("compare_256MiB/library_largest_difference")->Apply(milliseconds);

}  // namespace
}  // namespace plumbline::benchmarks
