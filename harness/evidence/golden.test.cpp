#include "harness/evidence/golden.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fstream>

#include "harness/evidence/replay.hpp"
#include "harness/system/child.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.test.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

const fs::path recorded = PLUMBLINE_SOURCE_DIR "/golden";

const Specification& tiny() {
  static const auto specification =
      find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  return specification;
}

std::string refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const InputError& error) {
    const std::string message = error.what();
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  return "accepted";
}

std::string refusal(const fs::path& directory) {
  return refusal([&] { Golden::open(directory, tiny()); });
}

// A directory with one small golden file and its manifest, changed by Python that finds the file as `f`.
struct Place {
  TemporaryDirectory root;
  const fs::path& directory = root.path();

  explicit Place(const std::vector<std::pair<std::string, std::string>>& variants) {
    Json changes = Json::object();
    for (const auto& [name, change] : variants) changes[name] = change;
    const std::string script = R"(
import hashlib, json, os, sys
import h5py, numpy as np
for name, change in json.loads(sys.argv[2]).items():
    folder = os.path.join(sys.argv[1], name)
    os.mkdir(folder)
    path = os.path.join(folder, "tiny.h5")
    with h5py.File(path, "w", libver=("earliest", "v110")) as f:
        f.attrs.update({"format": "plumbline-golden", "version": 1, "scheme": 1, "seed": 7,
                        "specification_sha256": sys.argv[3]})
        p = f.create_group("probes/p")
        p.attrs["padding"] = "right"
        p["tokens"] = np.array([[1, 2, 3], [4, 5, 0]])
        p["lengths"] = np.array([3, 2])
        p["positions"] = np.array([0, 2])
        p["stages/logits"] = np.zeros((2, 2, 101))
        p["stages/embedding"] = np.zeros((2, 2, 48))
        p["stages/layers.0.q"] = np.zeros((2, 2, 6, 8))
        p["decode/logits"] = np.zeros((2, 2, 101))
        p["cache/layers.4.keys"] = np.zeros((2, 3, 2, 8))
        f["rotation/positions"] = np.arange(4)
        f["rotation/vectors"] = np.ones((4, 8))
        f["rotation/rotated"] = np.ones((4, 8))
        exec(change)
    if name == "no-hdf5":
        with open(path, "wb") as file:
            file.write(b"nothing of the kind")
    if name == "cut-short":
        os.truncate(path, os.path.getsize(path) // 2)
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    entry = {"file": "tiny.h5", "sha256": digest, "specification": "tiny", "float32_error": {}}
    with open(os.path.join(folder, "manifest.json"), "w") as file:
        json.dump({"format": "plumbline-golden-manifest", "version": 1, "files": [entry]}, file)
)";
    const auto result =
        run_child({PLUMBLINE_PYTHON, "-c", script, directory.string(), changes.dump(), tiny().sha256}, {});
    INFO(result.errors);
    REQUIRE(result.succeeded());
  }
};

}  // namespace

TEST_CASE("golden: the recorded tensors of the tiny specification open, with every probe and stage",
          "[evidence][golden]") {
  const auto golden = Golden::open(recorded, tiny());
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
    CHECK(probe.stages.size() == (wanted.at("stages") == "all" ? stage_names(5).size() : 3 + 5));
    CHECK(probe.tokens.ids.numel() >= tokens_before);  // the smallest first
    tokens_before = probe.tokens.ids.numel();
    const auto batch = probe.tokens.ids.size(0), rows = probe.positions.size(0);
    CHECK(golden->stage(probe, "logits").sizes() == at::IntArrayRef({batch, rows, 101}));
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
  const auto golden = Golden::open(recorded, tiny());
  REQUIRE(golden);
  const auto& probe = golden->probes().front();
  const Model model(
      tiny(), convert(discriminating_weights(tiny().parameters(), golden->seed()), at::kDouble, at::kCPU));
  std::size_t seen = 0;
  PassOptions options;
  options.observe = [&](const std::string& stage, const at::Tensor& value) {
    if (std::find(probe.stages.begin(), probe.stages.end(), stage) == probe.stages.end()) return;
    const auto axis = stage.ends_with(".scores") || stage.ends_with(".probabilities") ? 2 : 1;
    const auto check = compare(stage, value.index_select(axis, probe.positions), golden->stage(probe, stage),
                               Tolerance::absolute(1e-12, "float64"));
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
  const auto golden = Golden::open(recorded, tiny());
  REQUIRE(golden);
  const auto expected = golden->slopes();
  REQUIRE(expected);
  CHECK(expected->tokens.ids.sizes() == at::IntArrayRef({2, 9}));
  CHECK(expected->labels.eq(kIgnored).sum().item<std::int64_t>() == 3);
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
  const std::vector<std::array<std::string, 3>> variants = {
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
       "/gradients/labels: expected tokens below 101, or -100 for some"},
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
  const Place place(changes);
  CHECK_FALSE(Golden::open(place.directory / "none", tiny())->slopes().has_value());
  for (const auto& [name, change, expected] : variants) {
    INFO(name);
    const auto golden = Golden::open(place.directory / name, tiny());
    REQUIRE(golden);
    const auto message = refusal([&] { golden->slopes(); });
    CHECK_THAT(message, ContainsSubstring(expected));
    if (expected != "accepted")
      CHECK_THAT(message, ContainsSubstring((place.directory / name / "tiny.h5").string()));
  }
  const auto found = Golden::open(place.directory / "good", tiny())->slopes();
  REQUIRE(found);
  CHECK(found->loss.dim() == 0);
  CHECK(found->loss.item<double>() == 4.5);
  CHECK(found->by_parameter.at("model.norm.weight").equal(at::tensor(at::ArrayRef<double>({0.5, -2.0}))));
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
  const auto golden = Golden::open(directory.path(), tiny());
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
  CHECK_FALSE(Golden::open(recorded, other).has_value());
  other = tiny();
  other.sha256[0] = other.sha256[0] == '0' ? '1' : '0';
  CHECK_THAT(
      refusal([&] { Golden::open(recorded, other); }),
      ContainsSubstring("was recorded for another 'tiny': its specification file had a different SHA-256"));
}

TEST_CASE("golden: a file that is not as agreed is refused, naming the object", "[evidence][golden]") {
  const std::vector<std::array<std::string, 3>> variants = {
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
      {"version-text", "f.attrs['version'] = '1'", "/: attribute 'version' is missing or no whole number"},
      {"version-list", "f.attrs['version'] = [1, 1]", "/: attribute 'version' is missing or no whole number"},
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
      {"positions-real", "del p['positions']; p['positions'] = [0.0]",
       "/probes/p/positions: has another type"},
      {"no-stages", "del p['stages']", "/probes/p/stages: expected a group"},
      {"empty-stages", "del p['stages']; p.create_group('stages')",
       "/probes/p/stages: holds nothing to compare with"},
      {"stage-beyond", "p['stages/layers.5.q'] = 1.0",
       "/probes/p/stages: holds a stage that this model does not have"},
  };
  std::vector<std::pair<std::string, std::string>> changes;
  for (const auto& [name, change, expected] : variants) changes.emplace_back(name, change);
  const Place place(changes);
  for (const auto& [name, change, expected] : variants) {
    INFO(name);
    const auto message = refusal(place.directory / name);
    CHECK_THAT(message, ContainsSubstring(expected));
    if (expected != "accepted")
      CHECK_THAT(message, ContainsSubstring((place.directory / name / "tiny.h5").string()));
  }
}

TEST_CASE("golden: a tensor of the wrong rank, type or name is refused when it is read",
          "[evidence][golden]") {
  const Place place(
      {{"good", ""},
       {"bad",
        "del p['stages/logits'], p['stages/embedding'], p['decode/logits'], f['rotation/rotated']\n"
        "p['stages/logits'] = np.zeros((2, 2)); p['stages/embedding'] = np.zeros((2, 2, 48), 'f4')\n"
        "p['decode/logits'] = np.zeros((2, 2, 101), 'i8'); f['rotation/rotated'] = np.ones((4, 6))"}});
  const auto good = Golden::open(place.directory / "good", tiny()),
             bad = Golden::open(place.directory / "bad", tiny());
  REQUIRE(good);
  REQUIRE(bad);
  CHECK(good->seed() == 7);
  const auto& probe = good->probes().at(0);
  CHECK(probe.tokens.padding == Padding::right);
  CHECK(probe.stages == std::vector<std::string>{"embedding", "layers.0.q", "logits"});
  CHECK(good->stage(probe, "layers.0.q").sizes() == at::IntArrayRef({2, 2, 6, 8}));
  CHECK(good->rotation().vectors.eq(1).all().item<bool>());
  const auto of_stage = [&](const std::string& name) { return refusal([&] { bad->stage(probe, name); }); };
  CHECK_THAT(of_stage("logits"), ContainsSubstring("/probes/p/stages/logits: has rank 2, expected 3"));
  CHECK_THAT(of_stage("embedding"),
             ContainsSubstring("/probes/p/stages/embedding: has another type, expected float64"));
  CHECK_THAT(of_stage("layers.0.k"), ContainsSubstring("/probes/p/stages/layers.0.k: is missing"));
  CHECK_THAT(refusal([&] { bad->decode_logits(probe); }),
             ContainsSubstring("/decode/logits: has another type"));
  CHECK_THAT(refusal([&] { bad->cached(probe, 5, "keys"); }),
             ContainsSubstring("/cache/layers.5.keys: is missing"));
  CHECK_THAT(refusal([&] { bad->rotation(); }),
             ContainsSubstring("/rotation/rotated: has 6 elements along axis 1, expected 8"));
}

TEST_CASE("golden: a tensor of another shape than the specification's is refused, not taken for the truth",
          "[evidence][golden]") {
  const Place place(
      {std::pair{"bad",
                 "for name, shape in {'stages/logits': (2, 2, 100), 'stages/embedding': (2, 3, 48), "
                 "'stages/layers.0.q': (2, 2, 8, 6), 'decode/logits': (1, 2, 101), "
                 "'cache/layers.4.keys': (2, 3, 6, 8)}.items():\n"
                 "    del p[name]; p[name] = np.zeros(shape)\n"
                 "p['stages/layers.0.scores'] = np.zeros((2, 6, 3, 3))\n"
                 "p['stages/layers.0.k'] = np.zeros((2, 2, 6, 8))\n"
                 "p['stages/layers.0.gate'] = np.zeros((2, 2, 48))\n"
                 "del f['rotation/vectors']; f['rotation/vectors'] = np.ones((3, 8))"}});
  const auto bad = Golden::open(place.directory / "bad", tiny());
  REQUIRE(bad);
  const auto& probe = bad->probes().at(0);
  const auto of_stage = [&](const std::string& name) { return refusal([&] { bad->stage(probe, name); }); };
  CHECK_THAT(of_stage("logits"), ContainsSubstring("logits: has 100 elements along axis 2, expected 101"));
  CHECK_THAT(of_stage("embedding"), ContainsSubstring("embedding: has 3 elements along axis 1, expected 2"));
  CHECK_THAT(of_stage("layers.0.q"), ContainsSubstring("has 8 elements along axis 2, expected 6"));
  CHECK_THAT(of_stage("layers.0.k"), ContainsSubstring("has 6 elements along axis 2, expected 2"));
  CHECK_THAT(of_stage("layers.0.scores"), ContainsSubstring("has 3 elements along axis 2, expected 2"));
  CHECK_THAT(of_stage("layers.0.gate"), ContainsSubstring("has 48 elements along axis 2, expected 128"));
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
  const Place place(
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
  const Place place({std::pair{"x", ""}});
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
