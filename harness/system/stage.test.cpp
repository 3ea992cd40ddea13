#include "harness/system/stage.hpp"

#include <catch2/catch_test_macros.hpp>
#include <vector>

using namespace plumbline;

TEST_CASE("stage: its name says its layer and its kind, and is read back", "[stage]") {
  CHECK(to_string(Stage{"scores", 3}) == "layers.3.scores");
  CHECK(to_string(Stage{"logits"}) == "logits");
  CHECK(parse_stage("layers.12.scores") == Stage{"scores", 12});
  CHECK(parse_stage("logits") == Stage{"logits"});
  CHECK(fmt::format("{}", Stage{"q", 0}) == "layers.0.q");
}

TEST_CASE("stage: any text is a name, and none is lost", "[stage]") {
  for (const auto* name :
       {"", "layers", "layers.", "layers..", "layers.3", "layers..scores", "layers.x.scores",
        "layers.3x.scores", "layers.03.scores", "layers.-1.scores", "layers.+1.scores", "layers. 1.scores",
        "layers.9223372036854775808.scores", "model.layers.3.scores", "Layers.3.scores"}) {
    INFO(name);
    CHECK(parse_stage(name) == Stage{name});
  }
  CHECK(parse_stage("layers.9223372036854775807.a.b") == Stage{"a.b", INT64_MAX});
  CHECK(parse_stage("layers.3.") == Stage{"", 3});
  for (const auto* name : {"layers.3.", "layers.0.a.b", "layers.x.scores"})
    CHECK(to_string(parse_stage(name)) == name);
}

TEST_CASE("stage: stages are ordered as their names are", "[stage]") {
  const std::vector<Stage> all{{"embedding"},    {"final_norm"}, {"logits"},     {"layers"}, {"layers."},
                               {"layers.x"},     {"q", 0},       {"scores", 1},  {"q", 1},   {"q", 2},
                               {"scores", 2},    {"q", 10},      {"scores", 10}, {"q", 19},  {"q", 100},
                               {"q_rotated", 1}, {"", 1}};
  for (const auto& one : all)
    for (const auto& other : all) {
      INFO(to_string(one) << " and " << to_string(other));
      CHECK((one < other) == (to_string(one) < to_string(other)));
      CHECK((one == other) == (to_string(one) == to_string(other)));
    }
}
