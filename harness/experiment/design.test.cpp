#include "harness/experiment/design.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <cmath>
#include <set>

using namespace plumbline;
using Catch::Matchers::WithinAbs;

namespace {

double sign(const Run& run, std::size_t factor) {
  return run.before[factor] ? 1 : -1;
}

}  // namespace

TEST_CASE("design: sixteen models for each seed, and the one after beside them", "[experiment]") {
  const auto runs = designed_runs(2);
  REQUIRE(runs.size() == 34);
  std::set<std::string> names;
  for (const auto& run : runs) names.insert(run.name());
  CHECK(names.size() == 34);
  CHECK(names.contains("BBBBB-1"));
  CHECK(names.contains("AAAAA-2"));
  for (const auto& run : runs) CHECK(run.designed == (run.name().substr(0, 5) != "AAAAA"));
}

TEST_CASE("design: each effect and each pair's is found, free of all others", "[experiment]") {
  const auto runs = designed_runs(2);
  std::vector<double> responses;
  for (const auto& run : runs) {
    // A run beside the design would spoil all of it.
    if (!run.designed) {
      responses.push_back(1e6);
      continue;
    }
    double response = 7 + (run.seed == 1 ? 0.01 : -0.01);
    for (std::size_t i = 0; i < kFactors; ++i) {
      response += 0.5 * (static_cast<double>(i) + 1) * sign(run, i);
      for (std::size_t j = i + 1; j < kFactors; ++j)
        response += 0.05 * static_cast<double>(10 * i + j) * sign(run, i) * sign(run, j);
    }
    responses.push_back(response);
  }
  const auto effects = effects_of(runs, responses);
  REQUIRE(effects.size() == 15);
  for (const auto& effect : effects) {
    const auto i = effect.factors[0];
    const double expected = effect.factors.size() == 1
                                ? static_cast<double>(i) + 1
                                : 0.1 * static_cast<double>(10 * i + effect.factors[1]);
    CHECK_THAT(effect.value, WithinAbs(expected, 1e-12));
    // 16 pairs of seeds 0.02 apart: variance 0.0002, standard error 0.005, t of 16 degrees 2.1199.
    CHECK_THAT(effect.interval.high - effect.value, WithinAbs(2.1199 * 0.005, 1e-5));
  }
}

TEST_CASE("design: with one mask alone, effects are those that hold there", "[experiment]") {
  const auto runs = designed_runs(2);
  std::vector<double> responses;
  for (const auto& run : runs)
    responses.push_back(run.before[kMask] ? 3 * sign(run, 0) + (run.seed == 1 ? 1 : -1)
                                          : 0.25 * sign(run, 1));
  const auto inverted = effects_of(runs, responses, true), right = effects_of(runs, responses, false);
  REQUIRE(inverted.size() == 4);
  CHECK_THAT(inverted[0].value, WithinAbs(6, 1e-12));
  CHECK_THAT(inverted[1].value, WithinAbs(0, 1e-12));
  CHECK(inverted[0].chance < 0.001);
  CHECK(inverted[1].chance > 0.99);
  CHECK_THAT(right[0].value, WithinAbs(0, 1e-12));
  CHECK_THAT(right[1].value, WithinAbs(0.5, 1e-12));
  CHECK(right[1].chance == 1);  // no two seeds differ: nothing is known of the error
  CHECK_THROWS_AS(effects_of(designed_runs(1), std::vector<double>(17)), std::logic_error);
}
