#include "harness/evidence/golden.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fstream>

#include "harness/evidence/golden.test.hpp"
#include "harness/evidence/replay.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

using namespace plumbline;
using namespace plumbline::golden_tests;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

TEST_CASE("golden: the recorded tensors of the tiny specification open, with every probe and stage",
          "[evidence][golden]") {
  const auto golden = Golden::load(recorded, tiny());
  REQUIRE(golden);
  CHECK(golden->seed() == 1);
  const auto file = fs::path(PLUMBLINE_SOURCE_DIR) / "fixtures" / "probes.json";
  std::map<std::string, Json> listed;
  const auto probes = parse_json(read_text(file, 1 << 20), file.string());
  for (const auto& probe : probes.at("probes"))
    for (const auto& specification : probe.at("specifications"))
      if (specification == "tiny") listed[probe.at("name").text()] = probe;
  CHECK(golden->probes().size() == listed.size());
  std::int64_t tokens_before = 0;
  for (const auto& probe : golden->probes()) {
    INFO(probe.name);
    REQUIRE(listed.contains(probe.name));
    const auto& wanted = listed.at(probe.name);
    CHECK(probe.tokens.lengths == wanted.at("lengths").get<std::vector<std::int64_t>>());
    CHECK(probe.has_cache == wanted.at("cache").get<bool>());
    CHECK(probe.has_decode == wanted.at("decode").get<bool>());
    CHECK(probe.stages.size() == (wanted.at("stages") == "all" ? stages_in_order(5).size() : 3 + 5));
    CHECK(probe.tokens.ids.numel() >= tokens_before);  // the smallest first
    tokens_before = probe.tokens.ids.numel();
    const auto batch = probe.tokens.ids.size(0), rows = probe.positions.size(0);
    CHECK(golden->stage(probe, {"logits"}).sizes() == at::IntArrayRef({batch, rows, 101}));
    if (probe.has_decode) CHECK(golden->decode_logits(probe).sizes() == at::IntArrayRef({batch, rows, 101}));
    if (probe.has_cache)
      CHECK(golden->cached(probe, 4, "values").sizes() ==
            at::IntArrayRef({batch, probe.tokens.ids.size(1), 2, 8}));
  }
  const auto rotation = golden->rotation();
  CHECK(rotation.vectors.sizes() == at::IntArrayRef({rotation.positions.size(0), 8}));
  CHECK(rotation.positions.max().item<std::int64_t>() == 32767);
}

TEST_CASE("golden: the float64 model computes what the oracle recorded", "[evidence][golden]") {
  at::set_num_threads(1);
  const at::NoGradGuard no_gradients;
  const auto golden = Golden::load(recorded, tiny());
  REQUIRE(golden);
  const auto& probe = golden->probes().front();
  const Model model(
      tiny(), convert(discriminating_weights(tiny().parameters(), golden->seed()), at::kDouble, at::kCPU));
  std::size_t seen = 0;
  PassOptions options;
  options.observer = [&](const Stage& stage, const at::Tensor& value) {
    if (std::find(probe.stages.begin(), probe.stages.end(), stage) == probe.stages.end()) return;
    const auto axis = has_keys(stage.kind) ? 2 : 1;
    const auto check = compare(to_string(stage), value.index_select(axis, probe.positions),
                               golden->stage(probe, stage), Tolerance::absolute(1e-12, "float64"));
    INFO(reports::sentence_of(check));
    CHECK(check.within);
    ++seen;
  };
  model.forward(probe.tokens, options);
  CHECK(seen == probe.stages.size());
}

TEST_CASE("golden: automatic differentiation finds the slopes that the oracle found without",
          "[evidence][golden][gradients]") {
  at::set_num_threads(1);
  const auto golden = Golden::load(recorded, tiny());
  REQUIRE(golden);
  const auto expected = golden->slopes();
  REQUIRE(expected);
  CHECK(expected->tokens.ids.sizes() == at::IntArrayRef({2, 9}));
  CHECK(expected->labels.eq(kIgnoredLabel).sum().item<std::int64_t>() == 3);
  CHECK(expected->directions == 2);
  const auto weights = discriminating_weights(tiny().parameters(), golden->seed());
  const auto of = [&](at::ScalarType type, const at::Tensor& labels) {
    return gradients(Model(tiny(), convert(weights, type, at::kCPU)), expected->tokens, labels, {});
  };
  const auto exact = of(at::kDouble, expected->labels);
  const auto rounded = of(at::kFloat, expected->labels);
  const auto wrong =
      of(at::kDouble, expected->labels.roll(1, 1));  // what a model sees that shifts labels otherwise
  CHECK(std::abs((exact.loss - expected->loss).item<double>()) < 1e-13);
  CHECK(expected->by_parameter.size() == exact.parameters.size());
  for (const auto& [name, gradient] : exact.parameters) {
    const auto& right = expected->by_parameter.at(name);
    const auto off = [&](const at::Tensor& other) {
      return (slopes(name, other, 2, golden->seed()) - right).abs().max().item<double>();
    };
    CAPTURE(name);
    CHECK(off(gradient) < 1e-13 * gradient.abs().sum().item<double>());
    const auto allowed = golden->tolerance("gradients/slopes/" + name).bound.item<double>();
    CHECK(off(rounded.parameters.at(name)) < allowed / 8);
    CHECK(off(wrong.parameters.at(name)) > 50 * allowed);
  }
}

TEST_CASE("golden: a tolerance is a few float32 errors and roundings of the largest, or exact",
          "[evidence][golden]") {
  const TemporaryDirectory directory;
  fs::copy_file(recorded / "tiny.h5", directory.path() / "tiny.h5");
  auto manifest = parse_json(read_text(recorded / "manifest.json", 1 << 20), "manifest");
  for (auto& entry : manifest["files"])
    if (entry["specification"] == "tiny")
      entry["float32_error"] = {{"a", {{"error", 0x1p-20}, {"largest", 4}}},
                                {"exact", {{"error", 0}, {"largest", 4}}},
                                {"half", {{"error", 1}}},
                                {"text", {{"error", "1"}, {"largest", 4}}},
                                {"negative", {{"error", -1}, {"largest", 4}}},
                                {"null", nullptr}};
  std::ofstream(directory.path() / "manifest.json") << manifest.dump();
  const auto golden = Golden::load(directory.path(), tiny());
  REQUIRE(golden);
  const auto tolerance = golden->tolerance("a");
  const double factor = tolerance.bound.item<double>() / (0x1p-20 + 0x1p-22);
  CHECK(factor >= 10);
  CHECK(factor <= 100);
  CHECK(tolerance.reason == fmt::format("{} x the float32 rounding error measured there, 9.537e-07", factor));
  CHECK(golden->tolerance("exact").bound.item<double>() == 0);
  for (const auto& name : {"half", "text", "null", "negative", "no such stage"})
    CHECK_THAT(refusal([&] { golden->tolerance(name); }),
               ContainsSubstring(fmt::format("the manifest records no float32 error for '{}'", name)));
}

TEST_CASE("golden: an altered file is refused with both hashes before it is opened", "[evidence][golden]") {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "tiny.h5";
  auto bytes = read_text(recorded / "tiny.h5", 64 << 20);
  fs::copy_file(recorded / "manifest.json", directory.path() / "manifest.json");
  CHECK_THAT(refusal(directory.path()), ContainsSubstring("tiny.h5 is missing"));
  const auto right = sha256(bytes);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  std::ofstream(file, std::ios::binary) << bytes;
  const auto message = refusal(directory.path());
  CHECK_THAT(message, ContainsSubstring(file.string()));
  CHECK_THAT(message, ContainsSubstring(right));
  CHECK_THAT(message, ContainsSubstring(sha256(bytes)));
}

TEST_CASE("golden: a specification that the manifest does not list has none", "[evidence][golden]") {
  auto other = tiny();
  other.name = "somebody-else's";
  CHECK_FALSE(Golden::load(recorded, other).has_value());
  other = tiny();
  other.sha256[0] = other.sha256[0] == '0' ? '1' : '0';
  CHECK_THAT(
      refusal([&] { Golden::load(recorded, other); }),
      ContainsSubstring("was recorded for another 'tiny': its specification file had a different SHA-256"));
}
