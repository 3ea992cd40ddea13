#include "harness/comparison/pair.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "harness/candidate/void_parameters.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

namespace {

constexpr int kRounds = 5;

// A measurement, which is not judged.
reports::Check measured_check(const std::string& what, const std::string& value, std::int64_t measurements) {
  reports::Check check;
  check.what = what;
  check.within = true;
  check.elements = measurements;
  check.actual = value;
  check.expected = reports::not_judged;
  check.form = reports::Form::measured;
  check.tolerance_reason = "measured";
  return check;
}

double seconds_of(Candidate& candidate, const std::function<void()>& work) {
  const auto account = [&] {
    const auto usage = candidate.usage();
    return usage ? usage->seconds : std::nullopt;
  };
  const auto before = account();
  const auto begin = std::chrono::steady_clock::now();
  work();
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const auto after = account();
  const double reported = before && after ? *after - *before : 0;
  return reported > 0 ? reported : elapsed;
}

std::string format_bytes(double bytes) {
  return bytes < 1e6 ? fmt::format("{:.0f} bytes", bytes) : fmt::format("{:.1f} MB", bytes / 1e6);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// "0.310 s after 0.300 s: 1.03 x (0.98 to 1.06)"
std::string format_ratio(const std::vector<double>& one, const std::vector<double>& other) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < one.size(); ++i) ratios.push_back(other[i] / one[i]);
  const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
  return fmt::format("{:.2f} x the time ({:.2f} to {:.2f}): {:.4f} s, {:.4f} s before", median(ratios),
                     *least, *most, median(other), median(one));
}

}  // namespace

void CandidatePair::compare_speed() {
  if (other == nullptr) return;
  const at::NoGradGuard no_gradients;
  const auto length = std::min<std::int64_t>(512, one.specification().max_position_embeddings);
  const auto long_tokens = probe(one, "speed", 1, length),
             prompt = probe(one, "speed", 1, std::min<std::int64_t>(64, length / 2));
  const auto steps = prompt.ids.size(1);
  const auto pass = [&](Subject& subject) {
    auto& candidate = subject.running();
    return seconds_of(candidate, [&] { candidate.forward(long_tokens, {}).to(at::kCPU); });
  };
  const auto decode = [&](Subject& subject) {
    auto& candidate = subject.running();
    const auto decoding = candidate.decode(1, 2 * steps);
    decoding->extend(prompt, {});
    return seconds_of(candidate, [&] {
      for (std::int64_t step = 0; step < steps; ++step)
        decoding->extend({prompt.ids.narrow(1, step, 1), {}, Padding::none}, {}).to(at::kCPU);
    });
  };
  const auto measure = [&](const std::string& what, const auto& work) {
    std::vector<double> first, second;
    for (int round = -1; round < kRounds; ++round) {
      const double a = work(one), b = work(*other);
      if (round < 0) continue;
      first.push_back(a);
      second.push_back(b);
    }
    const auto words = format_ratio(first, second);
    one.recorder().add(measured_check(what, words, kRounds));
    one.recorder().finding(fmt::format("{}: {}", what, words));
  };
  measure(fmt::format("a pass of {} tokens", length), pass);
  if (can("cache")) measure(fmt::format("decoding {0} tokens after {0}", steps), decode);
}

void CandidatePair::compare_memory() {
  if (other == nullptr) return;
  const auto say = [&](const std::string& what, double second, double first) {
    const auto words = fmt::format("{}, {} before", format_bytes(second), format_bytes(first));
    one.recorder().add(measured_check(what, words, 1));
    one.recorder().finding(fmt::format("{}: {}", what, words));
  };
  const auto total = [](Subject& subject) {
    double bytes = 0;
    for (const auto& parameter : subject.description().parameters)
      bytes += static_cast<double>(c10::multiply_integers(parameter.shape)) *
               static_cast<double>(at::elementSize(parameter.type));
    return bytes;
  };
  say("parameters", total(*other), total(one));
  if (can("cache.show"))
    compare_answers([](Subject& subject) { return fill_cache(subject).view; },
                    [&](const CacheView& first, const CacheView& second) {
                      const auto each = [](const CacheView& view) {
                        return static_cast<double>(view.bytes) /
                               static_cast<double>(3 * std::max<std::int64_t>(1, view.capacity));
                      };
                      say("cache, for each position of a sequence", each(second), each(first));
                    });
  const auto first = one.candidate().usage(), second = other->candidate().usage();
  if (first && second && first->peak_bytes && second->peak_bytes)
    say("the most that its program held", static_cast<double>(*second->peak_bytes),
        static_cast<double>(*first->peak_bytes));
}

}  // namespace plumbline
