#include "harness/candidate/checkpoint_files.hpp"

#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "harness/candidate/checkpoint_files.test.hpp"

using namespace plumbline;
using namespace plumbline::checkpoint_tests;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

TEST_CASE("checkpoint: a directory with one file gives its config and its tensors by name",
          "[candidate][checkpoint]") {
  const CheckpointFolder place;
  place.config();
  place.weights("model.safetensors", {"b", "a", "c"});
  const CheckpointFiles files = read(place.directory);
  REQUIRE(files.config.has_value());
  CHECK((*files.config)["vocab_size"] == 7);
  CHECK(files.config_path == place.at("config.json").string());
  CHECK(names_of(files) == Names{"a", "b", "c"});
  CHECK(files.tensors[0].values[0].item<float>() == 1);
  CHECK(files.notes.empty());
  const std::string summary =
      fmt::format("config.json{0}{1}\nmodel.safetensors{0}{2}\n", '\0',
                  sha256_of_file(place.at("config.json")), sha256_of_file(place.at("model.safetensors")));
  CHECK(files.sha256 == sha256(summary));
}

TEST_CASE("checkpoint: shards are read as their index has them", "[candidate][checkpoint]") {
  const CheckpointFolder place;
  place.config();
  place.weights("x-1.safetensors", {"b"});
  place.weights("x-2.safetensors", {"a", "c"});
  place.weights("consolidated.safetensors", {"z"});
  place.index(R"({"a": "x-2.safetensors", "b": "x-1.safetensors", "c": "x-2.safetensors"})");
  const CheckpointFiles files = read(place.directory);
  CHECK(names_of(files) == Names{"a", "b", "c"});
  CHECK(notes_of(files) == "not listed in the index, so not read: consolidated.safetensors");
}

TEST_CASE("checkpoint: the hash is of every file's name and content", "[candidate][checkpoint]") {
  const CheckpointFolder place;
  place.config();
  place.weights("x-1.safetensors", {"a"});
  place.index(R"({"a": "x-1.safetensors"})");
  const std::string before = read(place.directory).sha256;
  CHECK(read(place.directory).sha256 == before);
  place.index(R"( {"a": "x-1.safetensors"})");
  CHECK(read(place.directory).sha256 != before);
  place.index(R"({"a": "x-1.safetensors"})");
  place.text("config.json", "{}");
  CHECK(read(place.directory).sha256 != before);
}

TEST_CASE("checkpoint: an index that contradicts its shards is refused, by name", "[candidate][checkpoint]") {
  const CheckpointFolder place;
  place.config();
  place.weights("x-1.safetensors", {"a"});
  place.weights("x-2.safetensors", {"b", "c"});
  const auto with = [&](const std::string& weight_map) {
    place.index(weight_map);
    return refusal(place.directory);
  };
  CHECK(with(R"({"a":"x-1.safetensors","b":"x-2.safetensors","c":"x-2.safetensors"})") == "accepted");
  CHECK_THAT(with(R"({"a":"x-1.safetensors","b":"x-2.safetensors"})"),
             ContainsSubstring("does not list tensor \"c\", which is in x-2.safetensors"));
  CHECK_THAT(
      with(R"({"a":"x-1.safetensors","b":"x-2.safetensors","c":"x-2.safetensors","d":"x-2.safetensors"})"),
      ContainsSubstring("tensor \"d\" is not in x-2.safetensors, where the index lists it"));
  CHECK_THAT(with(R"({"a":"x-1.safetensors","b":"x-2.safetensors","c":"x-1.safetensors"})"),
             ContainsSubstring("tensor \"c\" is not in x-1.safetensors") &&
                 ContainsSubstring("it is in x-2.safetensors"));
  CHECK_THAT(with(R"({"a":"x-1.safetensors","b":"x-3.safetensors"})"),
             ContainsSubstring("lists the shard x-3.safetensors, which is missing"));
  place.weights("x-1.safetensors", {"a", "b"});
  CHECK_THAT(with(R"({"a":"x-1.safetensors","b":"x-2.safetensors","c":"x-2.safetensors"})"),
             ContainsSubstring("tensor \"b\" is in two shards, x-1.safetensors and x-2.safetensors"));
}

TEST_CASE("checkpoint: a shard's name leads nowhere but into the directory", "[candidate][checkpoint]") {
  const CheckpointFolder place;
  place.config();
  place.weights("x.safetensors", {"a"});
  fs::copy(place.at("x.safetensors"), place.root.path() / "x.safetensors");
  fs::create_directory(place.at("d.safetensors"));
  for (const char* shard : {R"("../x.safetensors")", R"("/tmp/x.safetensors")", R"("sub/x.safetensors")",
                            R"("..\\x.safetensors")", R"("..safetensors")", R"("")", R"("x.bin")", "7",
                            "null", R"(["x.safetensors"])", R"("a\nx.safetensors")", R"("config.json")"}) {
    INFO(shard);
    place.index(fmt::format(R"({{"a":{}}})", shard));
    CHECK_THAT(refusal(place.directory), ContainsSubstring("tensor \"a\" is listed in") &&
                                             ContainsSubstring("plain name of a .safetensors file"));
  }
  place.index(R"({"a":"d.safetensors"})");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("which is missing"));
}

TEST_CASE("checkpoint: an index without a weight map is refused", "[candidate][checkpoint]") {
  const CheckpointFolder place;
  place.config();
  place.weights("x.safetensors", {"a"});
  for (const char* index : {"[]", "{}", R"({"weight_map": []})", R"({"weight_map": {}})"}) {
    place.text("model.safetensors.index.json", index);
    CHECK_THAT(refusal(place.directory), ContainsSubstring("index.json: has no \"weight_map\""));
  }
  place.index(R"({"a": "x.safetensors", "a": "x.safetensors"})");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("the key \"a\" stands twice"));
}

TEST_CASE("checkpoint: a directory that is no checkpoint is refused with what is there",
          "[candidate][checkpoint]") {
  const CheckpointFolder place;
  CHECK_THAT(refusal(place.directory),
             ContainsSubstring("model: is empty; expected a directory with config.json"));
  place.weights("model.safetensors", {"a"});
  CHECK_THAT(refusal(place.directory), ContainsSubstring("has no config.json, only model.safetensors"));
  place.config();
  CHECK(refusal(place.directory) == "accepted");
  place.weights("other.safetensors", {"b"});
  CHECK_THAT(refusal(place.directory),
             ContainsSubstring("has 2 .safetensors files (model.safetensors, other.safetensors) but "
                               "no model.safetensors.index.json"));
  fs::remove(place.at("other.safetensors"));
  place.index(R"({"a":"model.safetensors"})");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("an index of shards; remove one of them"));
  fs::remove(place.at("model.safetensors.index.json"));
  fs::remove(place.at("model.safetensors"));
  place.text("tokenizer.json", "{}");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("has no model: expected model.safetensors") &&
                                           ContainsSubstring("there is config.json, tokenizer.json"));
}

TEST_CASE("checkpoint: a config that is no JSON object is refused", "[candidate][checkpoint]") {
  const CheckpointFolder place;
  place.weights("model.safetensors", {"a"});
  place.text("config.json", "[]");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("config.json: is not an object"));
  place.text("config.json", R"({"a": 1, "a": 2})");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("config.json: the key \"a\" stands twice"));
  place.text("config.json", "");
  CHECK_THAT(refusal(place.directory), ContainsSubstring("config.json: not valid JSON"));
  fs::resize_file(place.at("config.json"), 20 << 20);
  CHECK_THAT(refusal(place.directory), ContainsSubstring("config.json: is larger than 16777216 bytes"));
}

TEST_CASE("checkpoint: a path that leads to nothing known is refused with what was expected",
          "[candidate][checkpoint]") {
  const CheckpointFolder place;
  CHECK_THAT(refusal(place.at("none")), ContainsSubstring("none: does not exist; expected a directory with"));
  place.text("model.gguf", "GGUF");
  CHECK_THAT(
      refusal(place.at("model.gguf")),
      ContainsSubstring("model.gguf: is GGUF, the format of llama.cpp, which is not read; convert it"));
  place.text("model.txt", "words");
  CHECK_THAT(refusal(place.at("model.txt")), ContainsSubstring("is no known kind of checkpoint; expected"));
  CHECK_THAT(refusal("/dev/null"), ContainsSubstring("is no known kind of checkpoint"));
  write_safetensors(place.at("a.safetensors"), {});
  CHECK_THAT(refusal(place.at("a.safetensors")),
             ContainsSubstring("a.safetensors: holds no tensors; pass the state dict of a model"));
  fs::create_symlink(place.at("none"), place.at("dangling.safetensors"));
  CHECK_THAT(refusal(place.at("dangling.safetensors")), ContainsSubstring("does not exist"));
}

TEST_CASE("checkpoint: a lone .safetensors file has no config, and one beside it is pointed out",
          "[candidate][checkpoint]") {
  const CheckpointFolder place;
  place.weights("m.safetensors", {"a"});
  const CheckpointFiles alone = read(place.at("m.safetensors"));
  CHECK_FALSE(alone.config.has_value());
  CHECK(alone.config_path.empty());
  CHECK(alone.notes.empty());
  place.config();
  CHECK_THAT(notes_of(read(place.at("m.safetensors"))), ContainsSubstring("pass the directory"));
  CHECK(notes_of(read(place.directory)) == "the model was read from m.safetensors");
}

TEST_CASE("checkpoint: what wrappers put before the names is taken off", "[candidate][checkpoint]") {
  const CheckpointFolder place;
  place.weights("m.safetensors",
                {"_orig_mod.module.b", "module._orig_mod.module.a", "c.module.d", "module."});
  const CheckpointFiles files = read(place.at("m.safetensors"));
  CHECK(names_of(files) == Names{"a", "b", "c.d", "module."});
  CHECK(notes_of(files) == "the wrapper's \"_orig_mod.\" and \"module.\" was removed from 3 of 4 names");
  place.weights("m.safetensors", {"module.a", "a"});
  CHECK_THAT(refusal(place.at("m.safetensors")),
             ContainsSubstring("\"module.a\" and \"a\" have the same name"));
}
