#include "harness/candidate/leak.hpp"

#include <ATen/Parallel.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "harness/candidate/reference.hpp"

using namespace plumbline;

namespace {

// A model of its own seed, and a stream of its own.
Leak look(const std::string& defect, std::uint32_t seed, at::ScalarType type) {
  const auto specification = find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  const auto departed =
      defect.empty() ? DepartedModel{specification, {}} : apply_departures(specification, defect);
  const auto candidate = make_reference("it", departed, type, at::kCPU);
  candidate->load(discriminating_weights(specification.parameters(), seed));
  return detect_leak(*candidate, specification.vocab_size, {.learning_rate = 1e-2, .beta2 = 0.95}, seed);
}

}  // namespace

TEST_CASE("leak: in 20 runs each, whoever sees what is to come is found and the right model is not",
          "[candidate][leak][long]") {
  at::set_num_threads(1);
  for (std::uint32_t seed = 1; seed <= 20; ++seed)
    for (const auto& [defect, leaks] :
         std::vector<std::pair<std::string, bool>>{{"", false},
                                                   {"mask-inverted", true},
                                                   {"mask-none", true},
                                                   {"mask-none-in-training", true},
                                                   {"loss-unshifted", true},
                                                   {"loss-shifted-twice", false}}) {
      const auto leak = look(defect, seed, at::kFloat);
      CAPTURE(defect, seed, leak.total_gain, leak.largest_gain, leak.largest_gain_step, leak.allowed);
      CHECK(leak.none() == !leaks);
      CHECK(leak.allowed < 16.2);
      if (leaks)
        CHECK(leak.largest_gain > 10 * leak.allowed);
      else
        CHECK(leak.largest_gain < 0.5 * leak.allowed);
    }
}

TEST_CASE("leak: in bfloat16 too", "[candidate][leak]") {
  at::set_num_threads(1);
  CHECK(look("", 1, at::kBFloat16).none());
  CHECK_FALSE(look("mask-none", 1, at::kBFloat16).none());
  CHECK_FALSE(look("loss-unshifted", 1, at::kBFloat16).none());
}

TEST_CASE("leak: losses that are no numbers do not pass", "[candidate][leak]") {
  const auto leak = look("logits-not-a-number", 1, at::kFloat);
  CHECK(std::isnan(leak.largest_gain));
  CHECK_FALSE(leak.none());
}
