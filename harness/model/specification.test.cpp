#include "harness/model/specification.hpp"

#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fstream>
#include <limits>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

const fs::path fixtures = PLUMBLINE_SOURCE_DIR "/fixtures/specifications";

Specification fixture(const std::string& name) {
  return read_specification(fixtures / (name + ".json"));
}

Json tiny() {
  return parse_json(read_text(fixtures / "tiny.json", 1 << 20), "tiny");
}

// The tiny specification as text, with `raw` written where the value of `key` stood.
std::string tiny_with(const std::string& key, const std::string& raw) {
  auto json = tiny();
  json[key] = "@here@";
  auto text = json.dump();
  return text.replace(text.find("\"@here@\""), 8, raw);
}

// What reading this text as a specification file is refused with, without the file's name.
std::string refusal(const std::string& text) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "model.json";
  std::ofstream(file) << text;
  try {
    read_specification(file);
  } catch (const InputError& error) {
    const std::string message = error.what();
    CHECK(message.starts_with(file.string() + ": "));
    CHECK(message.find_first_of("\n\x1b") == std::string::npos);
    return message.substr(std::min(message.size(), file.string().size() + 2));
  }
  return "accepted";
}

std::string refusal_of_possible(const Specification& specification) {
  try {
    require_possible(specification, "here");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("specification: every fixture reads, is named as its file, and has the documented count",
          "[model][specification]") {
  const std::map<std::string, std::int64_t> counts = {{"minimind2-small", 25'829'888},
                                                      {"minimind2", 104'030'976},
                                                      {"minimind-v1-small", 26'878'464},
                                                      {"diy-before", 99'875'840},
                                                      {"tiny", 128'256}};
  std::size_t found = 0;
  for (const auto& entry : fs::directory_iterator(fixtures)) {
    const auto name = entry.path().stem().string();
    INFO(name);
    const auto specification = read_specification(entry.path());
    CHECK(specification.name == name);
    CHECK(specification.sha256 == sha256_of_file(entry.path()));
    REQUIRE(counts.contains(name));
    CHECK(specification.parameter_count() == counts.at(name));
    ++found;
  }
  CHECK(found == counts.size());
}

TEST_CASE("specification: MiniMind2-Small's numbers are the documented ones", "[model][specification]") {
  const auto s = fixture("minimind2-small");
  CHECK(s.head_size() == 64);
  CHECK(s.repeat_factor() == 4);
  CHECK(s.key_value_size() == 128);
  CHECK(s.intermediate_size == 1408);
  CHECK(s.intermediate_size_derived);
  std::map<std::string, std::int64_t> sums;
  for (const auto& [name, shape] : s.parameters()) {
    const bool layer = name.starts_with("model.layers.3.");
    const auto key = layer ? "a layer" : name.starts_with("model.layers.") ? "other layers" : name;
    sums[key] += shape.size() == 1 ? shape[0] : shape[0] * shape[1];
  }
  CHECK(sums == std::map<std::string, std::int64_t>{{"model.embed_tokens.weight", 3'276'800},
                                                    {"a layer", 2'819'072},
                                                    {"other layers", 7 * 2'819'072},
                                                    {"model.norm.weight", 512}});
}

TEST_CASE("specification: the derived feed-forward size is int(8/3 width), rounded up to 64",
          "[model][specification]") {
  CHECK(derived_intermediate_size(512) == 1408);
  CHECK(derived_intermediate_size(768) == 2048);
  CHECK(derived_intermediate_size(48) == 128);
  CHECK(derived_intermediate_size(24) == 64);  // 64 exactly stays 64
  CHECK(derived_intermediate_size(25) == 128);
  CHECK(derived_intermediate_size(1) == 64);
}

TEST_CASE(
    "specification: parameters have Hugging Face's names and (out, in) shapes, biases and head where there "
    "are some",
    "[model][specification]") {
  auto s = fixture("tiny");
  const auto listed = [&] {
    std::vector<std::string> all;
    for (const auto& [name, shape] : s.parameters())
      if (!name.starts_with("model.layers.") || name.starts_with("model.layers.1."))
        all.push_back(shape.size() == 1 ? fmt::format("{} {}", name, shape[0])
                                        : fmt::format("{} {}x{}", name, shape.at(0), shape.at(1)));
    return all;
  };
  const std::string layer = "model.layers.1.";
  CHECK(s.parameters().size() == 2 + 5 * 9);
  CHECK(listed() == std::vector<std::string>{
                        "model.embed_tokens.weight 101x48", layer + "input_layernorm.weight 48",
                        layer + "self_attn.q_proj.weight 48x48", layer + "self_attn.k_proj.weight 16x48",
                        layer + "self_attn.v_proj.weight 16x48", layer + "self_attn.o_proj.weight 48x48",
                        layer + "post_attention_layernorm.weight 48", layer + "mlp.gate_proj.weight 128x48",
                        layer + "mlp.up_proj.weight 128x48", layer + "mlp.down_proj.weight 48x128",
                        "model.norm.weight 48"});
  s.attention_bias = s.mlp_bias = true;
  s.tie_word_embeddings = false;
  const auto all = listed();
  CHECK(all.size() == 11 + 7 + 1);
  for (const auto& bias : {"self_attn.q_proj.bias 48", "self_attn.k_proj.bias 16", "self_attn.v_proj.bias 16",
                           "self_attn.o_proj.bias 48", "mlp.gate_proj.bias 128", "mlp.up_proj.bias 128",
                           "mlp.down_proj.bias 48"})
    CHECK(std::find(all.begin(), all.end(), layer + bias) != all.end());
  CHECK(all.back() == "lm_head.weight 101x48");
  CHECK(s.parameter_count() == 128'256 + 5 * (48 + 16 + 16 + 48 + 128 + 128 + 48) + 101 * 48);
}

TEST_CASE("specification: numbers that make no model are refused with the numbers",
          "[model][specification]") {
  CHECK_THAT(refusal(tiny_with("num_attention_heads", "7")),
             ContainsSubstring("hidden size 48 is not divisible by 7 heads"));
  CHECK_THAT(refusal(tiny_with("num_key_value_heads", "4")),
             ContainsSubstring("6 query heads are not divisible by 4 key/value heads"));
  CHECK_THAT(refusal(tiny_with("num_key_value_heads", "12")),
             ContainsSubstring("6 query heads are not divisible by 12 key/value heads"));
  CHECK_THAT(refusal(tiny_with("num_attention_heads", "16")),
             ContainsSubstring("head size 3 (hidden 48 / heads 16) is odd"));
  CHECK_THAT(refusal(tiny_with("num_hidden_layers", "4097")),
             ContainsSubstring("4097 layers, expected at most 4096"));
  CHECK_THAT(refusal(tiny_with("parameter_count", "128257")),
             ContainsSubstring("'parameter_count': states 128257, but the other numbers make 128256"));
  CHECK_THAT(refusal(tiny_with("rope_theta", "1.0")),
             ContainsSubstring("rope theta is 1, expected a number above 1"));
  CHECK_THAT(refusal(tiny_with("rope_theta", "-5")), ContainsSubstring("rope theta is -5"));
  CHECK_THAT(refusal(tiny_with("rms_norm_eps", "0.0")),
             ContainsSubstring("eps is 0, expected between 0 and 1"));
  CHECK_THAT(refusal(tiny_with("rms_norm_eps", "1")),
             ContainsSubstring("eps is 1, expected between 0 and 1"));
  CHECK_THAT(refusal(tiny_with("dropout", "1.0")),
             ContainsSubstring("dropout is 1, expected at least 0 and below 1"));
  CHECK_THAT(refusal(tiny_with("dropout", "-0.1")), ContainsSubstring("dropout is -0.1"));
  // A specification that was not read but changed, by a departure.
  for (const auto bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    auto s = fixture("tiny");
    s.rope_theta = bad;
    CHECK_THAT(refusal_of_possible(s), ContainsSubstring("here: rope theta is " + fmt::to_string(bad)));
    s = fixture("tiny");
    s.rms_norm_eps = bad;
    CHECK_THAT(refusal_of_possible(s), ContainsSubstring("eps is"));
    s = fixture("tiny");
    s.dropout = bad;
    CHECK_THAT(refusal_of_possible(s), ContainsSubstring("dropout is"));
  }
  auto s = fixture("tiny");
  s.intermediate_size = 0;
  CHECK_THAT(refusal_of_possible(s), ContainsSubstring("intermediate_size is 0, expected 1 to 16777216"));
  CHECK(refusal_of_possible(fixture("tiny")) == "accepted");
}

TEST_CASE("specification: the largest sizes that pass do not overflow the count", "[model][specification]") {
  auto s = fixture("tiny");
  s.vocab_size = s.hidden_size = s.intermediate_size = 1 << 24;
  s.num_attention_heads = s.num_key_value_heads = 1;
  s.num_hidden_layers = 4096;
  s.attention_bias = s.mlp_bias = true;
  s.tie_word_embeddings = false;
  CHECK(refusal_of_possible(s) == "accepted");
  const std::int64_t square = 1ll << 48;
  CHECK(s.parameter_count() == 4096 * (7 * square + 9 * (1ll << 24)) + 2 * square + (1ll << 24));
}

TEST_CASE("specification: a key that is missing, unknown or stands twice is refused by name",
          "[model][specification]") {
  const auto whole = tiny();
  CHECK(refusal(whole.dump()) == "accepted");
  for (const auto& [key, value] : whole.items()) {
    auto less = whole;
    less.erase(key);
    CHECK(refusal(less.dump()) == fmt::format("'{}': is missing", key));
  }
  auto more = whole;
  more["colour"] = 1;
  CHECK_THAT(refusal(more.dump()), ContainsSubstring("'colour': unknown key"));
  more = whole;
  more["a\nb"] = 1;
  CHECK_THAT(refusal(more.dump()), ContainsSubstring("'a?b': unknown key"));
  CHECK_THAT(refusal(tiny_with("vocab_size", R"(101, "vocab_size": 102)")),
             ContainsSubstring("\"vocab_size\" stands twice"));
}

TEST_CASE("specification: a value of the wrong type or out of range is refused by its key",
          "[model][specification]") {
  for (const auto& key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "max_position_embeddings", "parameter_count", "intermediate_size"})
    for (const auto& raw : {"101.0", "null", "true", "[101]", "{}", "18446744073709551615",
                            "9223372036854775808", "100000000000000000000", "1e3"})
      CHECK(refusal(tiny_with(key, raw)) == fmt::format("'{}': expected a whole number", key));
  for (const auto& raw : {"-1", "0", "-9223372036854775808", "16777217", "4294967297"})
    CHECK(refusal(tiny_with("hidden_size", raw)) ==
          fmt::format("'hidden_size': expected 1 to 16777216, found {}", raw));
  CHECK(refusal(tiny_with("vocab_size", "\"101\"")) == "'vocab_size': expected a whole number");
  CHECK(refusal(tiny_with("intermediate_size", "\"auto\"")) ==
        "'intermediate_size': expected a whole number or \"derived\"");
  for (const auto& raw : {"\"1e6\"", "null", "false", "[1.0]"})
    CHECK(refusal(tiny_with("rope_theta", raw)) == "'rope_theta': expected a number");
  for (const auto& raw : {"0", "1", "\"true\"", "null"})
    CHECK(refusal(tiny_with("mlp_bias", raw)) == "'mlp_bias': expected true or false");
  for (const auto& raw : {"5", "null", "[\"tiny\"]"})
    CHECK(refusal(tiny_with("name", raw)) == "'name': expected a string");
  CHECK(refusal(tiny_with("hidden_act", "\"relu\"")) ==
        "'hidden_act': expected one of gelu, gelu_pytorch_tanh, silu, found 'relu'");
  CHECK(refusal(tiny_with("rotary", R"("\u001b[2J\n")")) ==
        "'rotary': expected one of halves, pairs, found '?[2J?'");
  for (const auto& raw : {"NaN", "Infinity", "1e999", "-1e999"})
    CHECK_THAT(refusal(tiny_with("rope_theta", raw)), ContainsSubstring("not valid JSON"));
}

TEST_CASE("specification: what is no readable JSON object is refused", "[model][specification]") {
  for (const auto& text : {"[]", "null", "5", "\"tiny\""}) CHECK(refusal(text) == "expected a JSON object");
  for (const auto& text : {"", "{", "{} {}"}) CHECK_THAT(refusal(text), ContainsSubstring("not valid JSON"));
  CHECK_THAT(refusal(std::string(2 << 20, ' ')), ContainsSubstring("1048576"));
  CHECK_THROWS_AS(read_specification(fixtures / "no-such.json"), InputError);
  CHECK_THROWS_AS(read_specification(fixtures), InputError);
}

TEST_CASE("specification: it is found by name or by path, and the known names are listed",
          "[model][specification]") {
  CHECK(find_specification("tiny", fixtures).name == "tiny");
  CHECK(find_specification((fixtures / "minimind2.json").string(), "/no/such").name == "minimind2");
  for (const auto& name : {"minimind3", "", "../specifications/tiny", ".", "tiny.json"}) {
    INFO(name);
    try {
      find_specification(name, fixtures);
      FAIL("accepted");
    } catch (const InputError& error) {
      CHECK(
          std::string(error.what()) ==
          fmt::format(
              "--spec {}: no such specification or file; known are diy-before, minimind-v1-small, minimind2, "
              "minimind2-small, tiny",
              name));
    }
  }
  CHECK_THROWS_AS(find_specification("tiny", "/no/such"), InputError);
}

TEST_CASE("specification: it says how each kind of matrix begins", "[model][specification]") {
  const auto read = [](const std::string& initialization) {
    const TemporaryDirectory directory;
    const auto file = directory.path() / "model.json";
    std::ofstream(file) << tiny_with("initialization", initialization);
    return read_specification(file).initialization;
  };
  CHECK(read("\"linear\"") == Initialization{});
  CHECK(read("\"standard_normal\"") == kStandardNormalEmbedding);
  const auto begun =
      read(R"({"embedding": {"normal": 0.02}, "linear": {"normal": 0.03}, "residual": "linear"})");
  CHECK(begun.of(kEmbedding) == Distribution{0.02});
  CHECK(begun.of("model.layers.0.self_attn.q_proj.weight") == Distribution{0.03});
  CHECK(begun.of("model.layers.1.self_attn.o_proj.weight") == Distribution{});
  CHECK(begun.of("model.layers.1.mlp.down_proj.weight").deviation(48) == 1 / std::sqrt(144.0));
  CHECK(begun.of(kHead) == Distribution{0.03});
  CHECK_THAT(refusal(tiny_with("initialization", R"({"linear": "linear"})")),
             ContainsSubstring("'embedding': is missing"));
  CHECK_THAT(refusal(tiny_with("initialization", R"({"embedding": "xavier", "linear": "linear"})")),
             ContainsSubstring("expected one of linear, found 'xavier'"));
  CHECK_THAT(refusal(tiny_with("initialization", R"({"embedding": {"normal": 0}, "linear": "linear"})")),
             ContainsSubstring("expected a standard deviation above 0"));
  CHECK_THAT(refusal(tiny_with("initialization", R"({"embedding": "linear", "linear": "linear", "x": 1})")),
             ContainsSubstring("'x': unknown key"));
}

TEST_CASE("specification: its words are those that the files use", "[model][specification]") {
  CHECK(to_string(Rotary::halves) == "halves");
  CHECK(to_string(Rotary::pairs) == "pairs");
  CHECK(to_string(Activation::silu) == "silu");
  CHECK(to_string(Activation::gelu) == "gelu");
  CHECK(to_string(Activation::gelu_tanh) == "gelu_pytorch_tanh");
  CHECK(to_string(NormPrecision::model) == "model");
}
