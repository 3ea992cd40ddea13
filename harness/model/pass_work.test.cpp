#include "harness/model/pass_work.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <filesystem>
#include <functional>

#include "harness/model/gradients.hpp"
#include "harness/model/model.hpp"
#include "harness/model/training_steps.hpp"
#include "harness/system/work_clock.hpp"

namespace plumbline {
namespace {

const Model& tiny() {
  static const auto specification =
      find_specification("tiny", std::filesystem::path(PLUMBLINE_SOURCE_DIR) / "fixtures/specifications");
  static const Model model(specification, discriminating_weights(specification.parameters(), 1));
  return model;
}

Tokens tokens(std::int64_t length) {
  return {(at::arange(length, at::kLong) % 16).unsqueeze(0), {}, Padding::none};
}

// Of what is done, in terms of a pass over 8 tokens.
double work_of(const std::function<void()>& done) {
  const auto begin = WorkClock::now();
  done();
  return (WorkClock::now() - begin) / pass_work(tiny().specification(), 8, 8, at::kFloat);
}

}  // namespace

TEST_CASE("work: every way to run the model is counted, and the same on every machine", "[model][work]") {
  using Catch::Matchers::WithinRel;
  CHECK_THAT(work_of([] { tiny().forward(tokens(8)); }), WithinRel(1.0, 1e-6));
  CHECK(work_of([] { tiny().forward(tokens(200)); }) > 2);
  CHECK_THAT(work_of([] { gradients(tiny(), tokens(8), tokens(8).ids, {}); }), WithinRel(3.0, 1e-6));
  const auto decoding = work_of([] {
    auto cache = tiny().make_cache(1, 8);
    for (std::int64_t token = 0; token < 8; ++token) tiny().extend(cache, tokens(1));
  });
  CHECK(decoding > 6);
  CHECK(decoding < 8);
  const auto training = work_of([] {
    train(tiny(), {tokens(8).ids.unsqueeze(0), tokens(8).ids.unsqueeze(0), {}, {}});
  });
  CHECK(training > 3);
}

}  // namespace plumbline
