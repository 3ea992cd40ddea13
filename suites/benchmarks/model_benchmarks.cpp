// The model's speed: the reference, which is written to be read, and the engine, which is written to be fast.
#include <ATen/core/grad_mode.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "harness/candidate/fast_reference.hpp"
#include "harness/candidate/generation.hpp"
#include "suites/benchmarks/fixtures.hpp"
#include "suites/benchmarks/machine.hpp"

namespace plumbline::benchmarks {
namespace {

constexpr std::int64_t kPrompt = 64, kEnd = 192;  // decoding
constexpr std::int64_t kLong = 512, kChunk = 64;  // chunked prefill
constexpr std::int64_t kCapacity = 1024;          // a cache as it is allocated

const Model& runner(const Model*) {
  return model();
}
const Engine& runner(const Engine*) {
  return engine();
}

Tokens part(const Tokens& all, std::int64_t from, std::int64_t count) {
  return {all.ids.narrow(1, from, count), {}, Padding::none};
}

void count_products(benchmark::State& state, std::int64_t batch, std::int64_t length) {
  const auto rounds = static_cast<double>(state.iterations());
  const auto seconds_each = benchmark::Counter::kIsRate;
  const auto weights_only = weight_operations(batch * length);
  state.counters["tokens/s"] = {rounds * static_cast<double>(batch * length), seconds_each};
  state.counters["GFLOP/s"] = {rounds * (weights_only + attention_operations(batch, length)) * 1e-9,
                               seconds_each};
  // The products with weights alone, so that nothing but them counts as work.
  state.counters["of_matrix_rate"] = {rounds * weights_only / known_matrix_rate(), seconds_each};
}

template <typename Runner>
void pass(benchmark::State& state) {
  const at::NoGradGuard no_gradients;
  const auto& run = runner(static_cast<const Runner*>(nullptr));
  const auto input = tokens(state.range(1), state.range(0));
  known_matrix_rate();
  benchmark::DoNotOptimize(run.forward(input));
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(run.forward(input));
  count_products(state, state.range(1), state.range(0));
}

template <typename Runner>
void prefill(benchmark::State& state) {
  const at::NoGradGuard no_gradients;
  const auto& run = runner(static_cast<const Runner*>(nullptr));
  const auto input = tokens(1, kLong);
  known_matrix_rate();
  for ([[maybe_unused]] auto _ : state) {
    auto cache = run.make_cache(1, kLong);
    for (std::int64_t from = 0; from < kLong; from += kChunk)
      benchmark::DoNotOptimize(run.extend(cache, part(input, from, kChunk)));
  }
  count_products(state, 1, kLong);
}

// The time of the steps alone; the prompt is not counted.
template <typename Runner>
void decode(benchmark::State& state) {
  const at::NoGradGuard no_gradients;
  const auto& run = runner(static_cast<const Runner*>(nullptr));
  const auto batch = state.range(0);
  const auto input = tokens(batch, kPrompt);
  known_read_rate();
  for ([[maybe_unused]] auto _ : state) {
    state.PauseTiming();
    auto cache = run.make_cache(batch, kEnd);
    auto next = run.extend(cache, input).select(1, kPrompt - 1).argmax(-1, /*keepdim=*/true);  // (B, 1)
    state.ResumeTiming();
    for (auto length = kPrompt; length < kEnd; ++length)
      next = run.extend(cache, {next, {}, Padding::none}).select(1, 0).argmax(-1, /*keepdim=*/true);
    benchmark::DoNotOptimize(next);
  }
  const auto steps = static_cast<double>(state.iterations() * (kEnd - kPrompt));
  state.counters["tokens/s"] = {steps * static_cast<double>(batch), benchmark::Counter::kIsRate};
  state.counters["GB/s"] = {steps * weight_bytes() * 1e-9, benchmark::Counter::kIsRate};
  state.counters["of_memory_read"] = {steps * weight_bytes() / known_read_rate(),
                                      benchmark::Counter::kIsRate};
}

void cache_bytes(benchmark::State& state) {
  auto multi_head = specification();
  multi_head.num_key_value_heads = multi_head.num_attention_heads;
  const auto bytes = [](const auto& cache) {
    double held = 0;
    for (const auto& layer : cache.layers)
      held += static_cast<double>(layer.keys.nbytes() + layer.values.nbytes());
    return held;
  };
  const Model wide(multi_head, discriminating_weights(multi_head.parameters(), 1));
  const auto grouped = bytes(engine().make_cache(1, kCapacity)), plain = bytes(wide.make_cache(1, kCapacity));
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(engine().make_cache(1, kCapacity));
  state.counters["bytes/token"] = grouped / kCapacity;
  state.counters["multi_head_bytes/token"] = plain / kCapacity;
  state.counters["of_multi_head"] = grouped / plain;
}

// 32 prompts of 64 tokens, 128 more of each: what `plumbline sample` does.
void generate_batch(benchmark::State& state) {
  const auto candidate = make_engine("engine", specification(), at::kFloat, at::kCPU);
  candidate->load(weights());
  const auto ids = tokens(32, 64).ids;
  std::vector<std::vector<Token>> prompts;
  for (std::int64_t row = 0; row < 32; ++row) {
    const auto* first = ids.data_ptr<std::int64_t>() + 64 * row;
    prompts.emplace_back(first, first + 64);
  }
  GenerationOptions options;
  if (state.range(0) == 0) options.sampling.temperature = 0;
  if (state.range(0) == 2) options.sampling = {1, 0.8, 0, 0.9};
  options.most_tokens = 128;
  options.most_positions = specification().max_position_embeddings;
  options.vocabulary = specification().vocab_size;
  for (auto step : state) benchmark::DoNotOptimize(generate(*candidate, prompts, options, {}));
  state.counters["tokens/s"] = benchmark::Counter(32 * 128, benchmark::Counter::kIsIterationInvariantRate);
}

void milliseconds(benchmark::internal::Benchmark* benchmark) {
  benchmark->Unit(benchmark::kMillisecond)->UseRealTime();
}

void passes(benchmark::internal::Benchmark* benchmark) {
  milliseconds(benchmark->ArgNames({"tokens", "batch"})->ArgsProduct({{64, 512}, {1, 4}}));
}
void decodings(benchmark::internal::Benchmark* benchmark) {
  milliseconds(benchmark->ArgNames({"batch"})->Arg(1)->Arg(4));
}

BENCHMARK(pass<Engine>)->Name("pass/engine")->Apply(passes);
BENCHMARK(pass<Model>)->Name("pass/reference")->Apply(passes);
BENCHMARK(decode<Engine>)->Name("decode_64_to_192/engine")->Apply(decodings);
BENCHMARK(decode<Model>)->Name("decode_64_to_192/reference")->Apply(decodings);
BENCHMARK(prefill<Engine>)->Name("prefill_512_in_64s/engine")->Apply(milliseconds);
BENCHMARK(prefill<Model>)->Name("prefill_512_in_64s/reference")->Apply(milliseconds);
BENCHMARK(generate_batch)->Name("generate_32/engine")->ArgName("sampling")->Apply([](auto* benchmark) {
  milliseconds(
      benchmark->Arg(0)->Arg(1)->Arg(2));  // greedy; from the whole distribution; temperature 0.8, top-p 0.9
});
BENCHMARK(cache_bytes)->Name("cache/bytes");

}  // namespace
}  // namespace plumbline::benchmarks
