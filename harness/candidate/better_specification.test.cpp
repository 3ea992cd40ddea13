#include "harness/candidate/better_specification.hpp"

#include <catch2/catch_test_macros.hpp>

#include "harness/candidate/reference.hpp"

using namespace plumbline;

namespace {

const std::filesystem::path kFolder = PLUMBLINE_SOURCE_DIR "/fixtures/specifications";

Description of(const std::string& name) {
  return make_reference(name, {find_specification(name, kFolder), {}}, at::kFloat, at::kCPU)->describe();
}

}  // namespace

TEST_CASE(
    "better specification: the one that a model fits is named, where it is not the one it is held against",
    "[candidate]") {
  const auto small = find_specification("minimind2-small", kFolder),
             tiny = find_specification("tiny", kFolder);
  CHECK(better_specification(of("tiny"), small, kFolder) == "tiny");
  CHECK(better_specification(of("minimind2"), small, kFolder) == "minimind2");
  CHECK(better_specification(of("tiny"), tiny, kFolder).empty());
  auto weights_alone = of("tiny");
  weights_alone.configuration.clear();
  CHECK(better_specification(weights_alone, small, kFolder) == "tiny");
  // One setting may be wrong of the right one; a model of neither is called neither.
  auto wrong = of("tiny");
  wrong.configuration["rope_theta"].value = 1e4;
  CHECK(better_specification(wrong, small, kFolder) == "tiny");
  CHECK(better_specification(wrong, tiny, kFolder).empty());
  for (auto& parameter : wrong.parameters) parameter.shape.push_back(1);
  CHECK(better_specification(wrong, small, kFolder).empty());
}
