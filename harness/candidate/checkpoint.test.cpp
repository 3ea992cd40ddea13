#include "harness/candidate/checkpoint.hpp"

#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fstream>

#include "harness/candidate/reference.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

Specification specification(const std::string& name) {
  return find_specification(name, PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
}

std::unique_ptr<Candidate> open(const fs::path& path) {
  return open_checkpoint(path, PLUMBLINE_PYTHON, PLUMBLINE_SOURCE_DIR "/harness/python");
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

using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

// A lone weight file with these tensors, opened.
struct StateDict {
  TemporaryDirectory directory;
  fs::path file = directory.path() / "model.safetensors";
  std::unique_ptr<Candidate> candidate;
  explicit StateDict(const Tensors& tensors) {
    write_safetensors(file, tensors);
    candidate = open(file);
  }
  Json setting(const std::string& key) const {
    const auto& settings = candidate->describe().configuration;
    return settings.contains(key) ? settings.at(key).value : Json();
  }
};

}  // namespace

TEST_CASE("checkpoint: what is exported opens as the same configuration and the same tensors, bit for bit",
          "[candidate][export]") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "new" / "model";
  const auto s = specification("tiny");
  export_checkpoint(s, path);
  CHECK(std::distance(fs::directory_iterator(path), fs::directory_iterator()) == 2);
  const auto candidate = open(path);
  const auto& description = candidate->describe();
  CHECK(description.kind == "checkpoint");
  CHECK(description.name == path.string());
  CHECK(description.sha256.size() == 64);
  CHECK(description.notes.empty());
  const auto expected = specification_settings(s, "");
  CHECK(description.configuration.size() == expected.size());
  for (const auto& [key, setting] : expected) {
    INFO(key);
    REQUIRE(description.configuration.contains(key));
    CHECK(description.configuration.at(key).value == setting.value);
  }
  const auto weights = discriminating_weights(s.parameters(), 1);
  CHECK(candidate->weights().size() == weights.size());
  for (const auto& [name, shape] : s.parameters()) {
    INFO(name);
    REQUIRE(candidate->weights().contains(name));
    CHECK(candidate->weights().at(name).equal(weights.at(name)));
    CHECK(candidate->weights().at(name).scalar_type() == at::kFloat);
  }
  CHECK(description.parameters.size() == weights.size());
}

TEST_CASE("checkpoint: an untied model with biases is exported whole", "[candidate][export]") {
  const TemporaryDirectory directory;
  auto s = specification("tiny");
  s.tie_word_embeddings = false;
  s.attention_bias = s.mlp_bias = true;
  export_checkpoint(s, directory.path());  // is there, and empty
  const auto candidate = open(directory.path());
  CHECK(candidate->weights().size() == s.parameters().size());
  CHECK(candidate->weights().at("lm_head.weight").sizes() == at::IntArrayRef({101, 48}));
  CHECK(candidate->describe().configuration.at("tie_word_embeddings").value == false);
}

TEST_CASE("checkpoint: an export into what is in use is refused and touches nothing", "[candidate][export]") {
  const TemporaryDirectory directory;
  const auto s = specification("tiny");
  const auto file = directory.path() / "file";
  std::ofstream(file) << "kept";
  CHECK_THAT(refusal([&] { export_checkpoint(s, directory.path()); }),
             ContainsSubstring("exists already and is not an empty directory; name a new one"));
  CHECK_THAT(refusal([&] { export_checkpoint(s, file); }), ContainsSubstring("exists already"));
  CHECK_THAT(refusal([&] { export_checkpoint(s, file / "below"); }),
             ContainsSubstring("export " + file.string()));
  fs::create_symlink(directory.path() / "nowhere", directory.path() / "dangling");
  CHECK_THAT(refusal([&] { export_checkpoint(s, directory.path() / "dangling"); }),
             ContainsSubstring("export "));
  CHECK(read_text(file, 100) == "kept");
  CHECK(std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator()) == 2);
}

TEST_CASE("checkpoint: neighbouring pairs are not exported, and no directory is made",
          "[candidate][export]") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "pairs";
  CHECK_THAT(refusal([&] { export_checkpoint(specification("minimind-v1-small"), path); }),
             ContainsSubstring("export minimind-v1-small: it rotates neighbouring pairs"));
  CHECK_FALSE(fs::exists(path));
}

TEST_CASE("checkpoint: a lone weight file says what its names and shapes decide, and no more",
          "[candidate][checkpoint]") {
  const StateDict state({{"model.embed_tokens.weight", at::zeros({101, 48})},
                         {"model.layers.0.mlp.gate_proj.weight", at::zeros({128, 48})},
                         {"model.layers.10.mlp.gate_proj.weight", at::zeros({64, 48})},
                         {"model.layers.9.self_attn.k_proj.weight", at::zeros({16, 48})}});
  const auto& description = state.candidate->describe();
  CHECK(description.kind == "state_dict");
  CHECK(description.configuration.size() == 4);
  CHECK(state.setting("vocab_size") == 101);
  CHECK(state.setting("hidden_size") == 48);
  CHECK(state.setting("intermediate_size") == 128);
  CHECK(state.setting("num_hidden_layers") == 11);
  CHECK(description.configuration.at("vocab_size").where == "the shape of model.embed_tokens.weight");
  CHECK(description.parameters.at(0).shape == std::vector<std::int64_t>{101, 48});
}

TEST_CASE("checkpoint: names and shapes that decide nothing say nothing", "[candidate][checkpoint]") {
  const StateDict state({{"model.embed_tokens.weight", at::zeros({4848})},
                         {"model.layers.0.mlp.gate_proj.weight", at::zeros({128})},
                         {"model.layers.x.weight", at::zeros({2})},
                         {"model.layers..weight", at::zeros({2})},
                         {"model.layers.99999999999999999999.weight", at::zeros({2})},
                         {"model.layers.-3.weight", at::zeros({2})},
                         {"layers.7.weight", at::zeros({2})}});
  CHECK(state.setting("vocab_size").is_null());
  CHECK(state.setting("intermediate_size").is_null());
  CHECK(state.setting("num_hidden_layers") == 1);
}

TEST_CASE("checkpoint: stored tables are noted and not judged, and a file of nothing else is refused",
          "[candidate][checkpoint]") {
  const Tensors tables = {{"freqs_cos", at::zeros({3})},
                          {"model.freqs_sin", at::zeros({3})},
                          {"model.layers.0.self_attn.rotary_emb.inv_freq", at::zeros({4})}};
  auto both = tables;
  both.emplace_back("model.norm.weight", at::ones({48}));
  const StateDict state(both);
  CHECK(state.candidate->weights().size() == 1);
  CHECK(state.candidate->describe().parameters.size() == 1);
  CHECK(state.candidate->describe().notes ==
        std::vector<std::string>{"tables and masks that code computes were not judged: freqs_cos, "
                                 "model.freqs_sin, model.layers.0.self_attn.rotary_emb.inv_freq"});
  CHECK_THAT(refusal([&] { const StateDict refused(tables); }), ContainsSubstring("holds no parameters"));
}

TEST_CASE("checkpoint: a head stands in for the embedding only where it is said to be tied",
          "[candidate][checkpoint]") {
  const auto matrix = at::arange(12, at::kFloat).view({4, 3});
  const auto with_head_alone = [&](bool tied) {
    const TemporaryDirectory directory;
    auto s = specification("tiny");
    s.tie_word_embeddings = tied;
    export_checkpoint(s, directory.path());
    write_safetensors(directory.path() / "model.safetensors", {{"lm_head.weight", matrix}});
    return open(directory.path());
  };
  const auto tied = with_head_alone(true);
  CHECK(tied->weights().at("model.embed_tokens.weight").equal(matrix));
  CHECK_FALSE(tied->weights().contains("lm_head.weight"));
  CHECK_THAT(tied->describe().notes.at(0), ContainsSubstring("stored as lm_head.weight alone"));
  CHECK_FALSE(with_head_alone(false)->weights().contains("model.embed_tokens.weight"));
  // Nobody says so: the embedding is missing.
  const StateDict unsaid({{"lm_head.weight", matrix}});
  CHECK_FALSE(unsaid.candidate->weights().contains("model.embed_tokens.weight"));
}

TEST_CASE("checkpoint: it has no code, and says so to whoever asks for some", "[candidate][checkpoint]") {
  const StateDict state({{"model.norm.weight", at::ones({48})}});
  auto& candidate = *state.candidate;
  CHECK_THROWS_AS(candidate.load({}), NotShown);
  CHECK_THROWS_AS(candidate.initialise(1), NotShown);
  CHECK_THROWS_AS(candidate.forward({}, {}), NotShown);
  CHECK_THROWS_AS(candidate.decode(1, 1), NotShown);
  CHECK_THROWS_AS(candidate.repeat_kv({}, 1), NotShown);
  CHECK_THROWS_AS(candidate.rotate({}, {}), NotShown);
  CHECK_THROWS_AS(candidate.type(), NotShown);
}

TEST_CASE("checkpoint: an impossible configuration is refused with its file", "[candidate][checkpoint]") {
  const TemporaryDirectory directory;
  export_checkpoint(specification("tiny"), directory.path());
  const auto file = directory.path() / "config.json";
  const auto text = read_text(file, 1 << 20);
  for (const auto& [from, to, expected] :
       {std::tuple{"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4",
                   "6 query heads are not divisible by 4"},
        {"\"hidden_size\": 48", "\"hidden_size\": 1e999", "not valid JSON"},
        {"\"hidden_size\": 48", "\"hidden_size\": 48, \"hidden_size\": 48", "stands twice"}}) {
    auto changed = text;
    REQUIRE(changed.find(from) != std::string::npos);
    changed.replace(changed.find(from), std::string(from).size(), to);
    std::ofstream(file) << changed;
    const auto message = refusal([&] { open(directory.path()); });
    CHECK_THAT(message, ContainsSubstring(file.string()));
    CHECK_THAT(message, ContainsSubstring(expected));
  }
}
