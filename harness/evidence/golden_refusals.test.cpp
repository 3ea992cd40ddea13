#include <fmt/ranges.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fstream>

#include "harness/evidence/golden.test.hpp"
#include "harness/system/json.test.hpp"

using namespace plumbline;
using namespace plumbline::golden_tests;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

TEST_CASE("golden: gradients that are not as agreed are refused, and may be lacking",
          "[evidence][golden][gradients]") {
  // A good one, and a line that changes it.
  std::string good =
      "g = f.create_group('gradients'); g['tokens'] = [[1, 2, 3], [4, 5, 6]]; g['labels'] = [[1, -100, 3], "
      "[4, 5, 6]]\n"
      "g['loss'] = [4.5]\n";
  for (const auto& parameter : tiny().parameters())
    good += fmt::format("g['slopes/{}'] = [0.5, -2.0]\n", parameter.name);
  const std::string norm = "slopes/model.norm.weight";
  const auto again = [](const std::string& name, const std::string& value) {
    return fmt::format("del g['{0}']; g['{0}'] = {1}", name, value);
  };
  const std::vector<Variant> variants = {
      {"good", "", "accepted"},
      {"group", "del f['gradients']; f['gradients'] = 1", "/gradients/tokens: is missing"},
      {"no-tokens", "del g['tokens']", "/gradients/tokens: is missing; expected a dataset"},
      {"token-101", "g['tokens'][0, 1] = 101",
       "/gradients/tokens: expected rows of 2 or more tokens below 101"},
      {"token-negative", "g['tokens'][0, 1] = -1", "/gradients/tokens: expected rows of 2 or more tokens"},
      {"one-token", again("tokens", "[[1]]"), "/gradients/tokens: expected rows of 2 or more tokens"},
      {"labels-wide", again("labels", "[[1, 2, 3, 4]] * 2"),
       "/gradients/labels: has 4 elements along axis 1, expected 3"},
      {"labels-real", again("labels", "np.ones((2, 3))"),
       "/gradients/labels: has another type, expected int64"},
      {"label-101", "g['labels'][1, 2] = 101", "/gradients/labels: expected tokens below 101, or -100"},
      {"label-99", "g['labels'][1, 2] = -99", "/gradients/labels: expected tokens below 101, or -100"},
      {"labels-none", "g['labels'][:, 1:] = -100",
       "/gradients/labels: expected tokens below 101, or -100 for ignored ones"},
      {"loss-scalar", again("loss", "4.5"), "/gradients/loss: has rank 0, expected 1"},
      {"loss-nan", "g['loss'][0] = np.nan", "/gradients/loss: is not finite"},
      {"no-slopes", "del g['slopes']", "/gradients/slopes/model.embed_tokens.weight: is missing"},
      {"no-norm", fmt::format("del g['{}']", norm), "/gradients/slopes/model.norm.weight: is missing"},
      {"norm-three", again(norm, "[1.0, 2, 3]"), "norm.weight: has 3 elements along axis 0, expected 2"},
      {"norm-infinite", fmt::format("g['{}'][1] = np.inf", norm), "norm.weight: is not finite"},
      {"norm-short", again(norm, "np.ones(2, 'f4')"), "norm.weight: has another type, expected float64"},
      {"head", "g['slopes/lm_head.weight'] = [0.5, -2.0]",
       "/gradients/slopes: holds a parameter that this model does not have"},
  };
  std::vector<std::pair<std::string, std::string>> changes{{"none", ""}};
  for (const auto& [name, change, expected] : variants) changes.emplace_back(name, good + change);
  const GoldenFiles place(changes);
  CHECK_FALSE(Golden::load(place.directory / "none", tiny())->slopes().has_value());
  for (const auto& [name, change, expected] : variants) {
    INFO(name);
    const auto golden = Golden::load(place.directory / name, tiny());
    REQUIRE(golden);
    const auto message = refusal([&] { golden->slopes(); });
    CHECK_THAT(message, ContainsSubstring(expected));
    if (expected != "accepted")
      CHECK_THAT(message, ContainsSubstring((place.directory / name / "tiny.h5").string()));
  }
  const auto found = Golden::load(place.directory / "good", tiny())->slopes();
  REQUIRE(found);
  CHECK(found->loss.dim() == 0);
  CHECK(found->loss.item<double>() == 4.5);
  CHECK(found->by_parameter.at("model.norm.weight").equal(at::tensor(at::ArrayRef<double>({0.5, -2.0}))));
}

namespace {

const std::vector<Variant> changed_files = {
    {"good", "", "accepted"},
    {"fixed", "f.attrs['format'] = np.bytes_('plumbline-golden')", "accepted"},
    {"no-hdf5", "", "/: is not a readable HDF5 file"},
    {"cut-short", "", "/: is not a readable HDF5 file"},
    {"format-missing", "del f.attrs['format']", "/: attribute 'format' is missing"},
    {"format-number", "f.attrs['format'] = 5", "/: attribute 'format' is not text"},
    {"format-list", "f.attrs['format'] = ['plumbline-golden'] * 500", "/: attribute 'format' is not text"},
    {"format-fixed-list", "f.attrs['format'] = np.array([b'plumbline-golden'] * 500)",
     "'format' is not text"},
    {"format-long", "f.attrs['format'] = np.bytes_('x' * 5000)", "/: attribute 'format' cannot be read"},
    {"format-other", "f.attrs['format'] = 'plumbline'", "/: expected format plumbline-golden, version 1"},
    {"version-2", "f.attrs['version'] = 2", "/: expected format plumbline-golden, version 1"},
    {"version-text", "f.attrs['version'] = '1'", "/: attribute 'version' is missing or not a whole number"},
    {"version-list", "f.attrs['version'] = [1, 1]",
     "/: attribute 'version' is missing or not a whole number"},
    {"scheme-2", "f.attrs['scheme'] = 2", "weight scheme 1"},
    {"another", "f.attrs['specification_sha256'] = 'x'", "was recorded for another 'tiny'"},
    {"seed-negative", "f.attrs['seed'] = -1", "/: seed is -1, expected 0 to 4294967295"},
    {"seed-large", "f.attrs['seed'] = 2 ** 32 + 1", "/: seed is 4294967297"},
    {"no-probes", "del f['probes']", "/probes: expected a group"},
    {"empty-probes", "del p; del f['probes/p']", "/probes: holds no probe"},
    {"probes-dataset", "del f['probes']; f['probes'] = 1", "/probes: expected a group"},
    {"no-tokens", "del p['tokens']", "/probes/p/tokens: is missing; expected a dataset"},
    {"tokens-group", "del p['tokens']; p.create_group('tokens')",
     "/probes/p/tokens: is missing; expected a dataset"},
    {"tokens-deep", "del p['tokens']; p['tokens'] = np.ones((2, 3, 1), 'i8')",
     "/probes/p/tokens: has rank 3, expected 2"},
    {"tokens-flat", "del p['tokens']; p['tokens'] = [1, 2]", "/probes/p/tokens: has rank 1, expected 2"},
    {"tokens-real", "del p['tokens']; p['tokens'] = [[1.0]]",
     "/probes/p/tokens: has another type, expected int64"},
    {"tokens-short", "del p['tokens']; p['tokens'] = np.ones((2, 3), 'i4')",
     "has another type, expected int64"},
    {"tokens-none", "del p['tokens']; p['tokens'] = np.ones((0, 3), 'i8')",
     "/probes/p/tokens: has shape [0, 3]"},
    {"tokens-large", "p['tokens'][0, 0] = 101", "/probes/p: tokens or lengths are out of range"},
    {"tokens-negative", "p['tokens'][0, 0] = -1", "/probes/p: tokens or lengths are out of range"},
    {"lengths-0", "p['lengths'][1] = 0", "/probes/p: tokens or lengths are out of range"},
    {"lengths-4", "p['lengths'][1] = 4", "/probes/p: tokens or lengths are out of range"},
    {"lengths-many", "del p['lengths']; p['lengths'] = [3, 2, 1]",
     "/probes/p: tokens or lengths are out of range"},
    {"no-padding", "del p.attrs['padding']", "/probes/p: attribute 'padding' is missing"},
    {"padding-top", "p.attrs['padding'] = 'top'", "/probes/p: unknown padding"},
    {"positions-3", "p['positions'][1] = 3", "/probes/p/positions: expected 0 to 2"},
    {"positions-real", "del p['positions']; p['positions'] = [0.0]", "/probes/p/positions: has another type"},
    {"no-stages", "del p['stages']", "/probes/p/stages: expected a group"},
    {"empty-stages", "del p['stages']; p.create_group('stages')",
     "/probes/p/stages: holds nothing to compare"},
    {"stage-beyond", "p['stages/layers.5.q'] = 1.0",
     "/probes/p/stages: holds a stage that this model does not have"},
};

}  // namespace

TEST_CASE("golden: a file that is not as agreed is refused, naming the object", "[evidence][golden]") {
  std::vector<std::pair<std::string, std::string>> changes;
  for (const auto& [name, change, expected] : changed_files) changes.emplace_back(name, change);
  const GoldenFiles place(changes);
  for (const auto& [name, change, expected] : changed_files) {
    INFO(name);
    const auto message = refusal(place.directory / name);
    CHECK_THAT(message, ContainsSubstring(expected));
    if (expected != "accepted")
      CHECK_THAT(message, ContainsSubstring((place.directory / name / "tiny.h5").string()));
  }
}

TEST_CASE("golden: a tensor of the wrong rank, type or name is refused when it is read",
          "[evidence][golden]") {
  const GoldenFiles place(
      {{"good", ""},
       {"bad",
        "del p['stages/logits'], p['stages/embedding'], p['decode/logits'], f['rotation/rotated']\n"
        "p['stages/logits'] = np.zeros((2, 2)); p['stages/embedding'] = np.zeros((2, 2, 48), 'f4')\n"
        "p['decode/logits'] = np.zeros((2, 2, 101), 'i8'); f['rotation/rotated'] = np.ones((4, 6))"}});
  const auto good = Golden::load(place.directory / "good", tiny()),
             bad = Golden::load(place.directory / "bad", tiny());
  REQUIRE(good);
  REQUIRE(bad);
  CHECK(good->seed() == 7);
  const auto& probe = good->probes().at(0);
  CHECK(probe.tokens.padding == Padding::right);
  CHECK(fmt::format("{}", fmt::join(probe.stages, " ")) == "embedding layers.0.q logits");
  CHECK(good->stage(probe, {"q", 0}).sizes() == at::IntArrayRef({2, 2, 6, 8}));
  CHECK(good->rotation().vectors.eq(1).all().item<bool>());
  const auto of_stage = [&](const Stage& stage) { return refusal([&] { bad->stage(probe, stage); }); };
  CHECK_THAT(of_stage({"logits"}), ContainsSubstring("/probes/p/stages/logits: has rank 2, expected 3"));
  CHECK_THAT(of_stage({"embedding"}),
             ContainsSubstring("/probes/p/stages/embedding: has another type, expected float64"));
  CHECK_THAT(of_stage({"k", 0}), ContainsSubstring("/probes/p/stages/layers.0.k: is missing"));
  CHECK_THAT(refusal([&] { bad->decode_logits(probe); }),
             ContainsSubstring("/decode/logits: has another type"));
  CHECK_THAT(refusal([&] { bad->cached(probe, 5, "keys"); }),
             ContainsSubstring("/cache/layers.5.keys: is missing"));
  CHECK_THAT(refusal([&] { bad->rotation(); }),
             ContainsSubstring("/rotation/rotated: has 6 elements along axis 1, expected 8"));
}

TEST_CASE("golden: a tensor of another shape than the specification's is refused, not taken for the truth",
          "[evidence][golden]") {
  const GoldenFiles place(
      {std::pair{"bad",
                 "for name, shape in {'stages/logits': (2, 2, 100), 'stages/embedding': (2, 3, 48), "
                 "'stages/layers.0.q': (2, 2, 8, 6), 'decode/logits': (1, 2, 101), "
                 "'cache/layers.4.keys': (2, 3, 6, 8)}.items():\n"
                 "    del p[name]; p[name] = np.zeros(shape)\n"
                 "p['stages/layers.0.scores'] = np.zeros((2, 6, 3, 3))\n"
                 "p['stages/layers.0.k'] = np.zeros((2, 2, 6, 8))\n"
                 "p['stages/layers.0.gate'] = np.zeros((2, 2, 48))\n"
                 "del f['rotation/vectors']; f['rotation/vectors'] = np.ones((3, 8))"}});
  const auto bad = Golden::load(place.directory / "bad", tiny());
  REQUIRE(bad);
  const auto& probe = bad->probes().at(0);
  const auto of_stage = [&](const Stage& stage) { return refusal([&] { bad->stage(probe, stage); }); };
  CHECK_THAT(of_stage({"logits"}), ContainsSubstring("logits: has 100 elements along axis 2, expected 101"));
  CHECK_THAT(of_stage({"embedding"}),
             ContainsSubstring("embedding: has 3 elements along axis 1, expected 2"));
  CHECK_THAT(of_stage({"q", 0}), ContainsSubstring("has 8 elements along axis 2, expected 6"));
  CHECK_THAT(of_stage({"k", 0}), ContainsSubstring("has 6 elements along axis 2, expected 2"));
  CHECK_THAT(of_stage({"scores", 0}), ContainsSubstring("has 3 elements along axis 2, expected 2"));
  CHECK_THAT(of_stage({"gate", 0}), ContainsSubstring("has 48 elements along axis 2, expected 128"));
  CHECK_THAT(refusal([&] { bad->decode_logits(probe); }),
             ContainsSubstring("/decode/logits: has 1 elements along axis 0, expected 2"));
  CHECK_THAT(refusal([&] { bad->cached(probe, 4, "keys"); }),
             ContainsSubstring("has 6 elements along axis 2, expected 2"));
  CHECK_THAT(refusal([&] { bad->rotation(); }),
             ContainsSubstring("/rotation: positions, vectors and rotated disagree"));
}

TEST_CASE("golden: what the file fetches from another file is refused, for no hash covers it",
          "[evidence][golden]") {
  const std::string other =
      "with h5py.File(os.path.join(folder, 'other.h5'), 'w') as g: g['x'] = np.array([[1, 2, 3], [4, 5, "
      "0]])\n"
      "del p['tokens']\n";
  const GoldenFiles place(
      {{"link", other + "p['tokens'] = h5py.ExternalLink('other.h5', 'x')"},
       {"virtual", other + "layout = h5py.VirtualLayout((2, 3), 'i8')\n"
                           "layout[:] = h5py.VirtualSource('other.h5', 'x', (2, 3))\n"
                           "p.create_virtual_dataset('tokens', layout)"},
       {"storage",
        "del p['tokens']\n"
        "np.array([1, 2, 3, 4, 5, 0]).tofile(os.path.join(folder, 'raw'))\n"
        "p.create_dataset('tokens', (2, 3), 'i8', external=[(os.path.join(folder, 'raw'), 0, 48)])"},
       {"inside",
        "p['tokens again'] = p['tokens']; del p['tokens']; p['tokens'] = h5py.SoftLink('tokens again')"}});
  for (const auto* name : {"link", "virtual", "storage"}) {
    INFO(name);
    CHECK_THAT(refusal(place.directory / name), ContainsSubstring("/probes/p/tokens: lies in another file"));
  }
  CHECK(refusal(place.directory / "inside") == "accepted");
}

TEST_CASE("golden: a malformed manifest is refused by name", "[evidence][golden]") {
  const GoldenFiles place({std::pair{"x", ""}});
  const auto directory = place.directory / "x";
  const auto file = directory / "manifest.json";
  const auto good = parse_json(read_text(file, 1 << 20), "manifest");
  const auto with = [&](const std::string& text) {
    std::ofstream(file) << text;
    const auto message = refusal(directory);
    if (message != "accepted") CHECK_THAT(message, ContainsSubstring(directory.string()));
    return message;
  };
  const auto changed = [&](const std::string& pointer, const Json& value) {
    auto manifest = good;
    at_pointer(manifest, pointer) = value;
    return with(manifest.dump());
  };
  CHECK(with(good.dump()) == "accepted");
  for (const auto& text : {"", "{", "[]", "null", "7", "\"x\"", "{}"})
    CHECK_THAT(with(text), ContainsSubstring("manifest.json: "));
  for (const Json& wrong : {Json(), Json(7), Json({1}), Json("x"), Json::object()}) {
    INFO(wrong.dump());
    for (const auto& key : {"/format", "/version", "/files/0"})
      CHECK_THAT(changed(key, wrong), ContainsSubstring("manifest.json: "));
    if (!wrong.is_array()) CHECK_THAT(changed("/files", wrong), ContainsSubstring("manifest of version 1"));
    CHECK_THAT(changed("/files", Json::array({wrong})), ContainsSubstring("an entry of 'files' lacks"));
    CHECK_THAT(changed("/files/0/sha256", wrong), ContainsSubstring("manifest.json"));
    if (!wrong.is_string()) {
      CHECK_THAT(changed("/files/0/file", wrong), ContainsSubstring("an entry of 'files' lacks"));
      CHECK_THAT(changed("/files/0/specification", wrong), ContainsSubstring("an entry of 'files' lacks"));
    }
    if (!wrong.is_object())
      CHECK_THAT(changed("/files/0/float32_error", wrong), ContainsSubstring("an entry"));
  }
  for (const auto& name : {"../x/tiny.h5", "/tiny.h5", "no.h5", "", "..", "."})
    CHECK_THAT(changed("/files/0/file", name), ContainsSubstring("manifest.json: "));
  CHECK_THAT(changed("/files/0/file", std::string(5000, 'a')), ContainsSubstring("manifest.json: "));
  fs::remove(file);
  CHECK_THAT(refusal(directory), ContainsSubstring("manifest.json"));
}
