#include "harness/candidate/hugging_face.hpp"

#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <limits>

#include "harness/candidate/reference.hpp"
#include "harness/system/error.hpp"
#include "harness/system/json.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
namespace {

// As transformers 5 writes MiniMind2-Small as a Llama.
Json llama5() {
  return parse_json(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
    "dtype": "float32", "eos_token_id": 2, "head_dim": 64, "hidden_act": "silu", "hidden_size": 512,
    "initializer_range": 0.02, "intermediate_size": 1408, "max_position_embeddings": 32768, "mlp_bias": false,
    "model_type": "llama", "num_attention_heads": 8, "num_hidden_layers": 8, "num_key_value_heads": 2,
    "pad_token_id": null, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}, "tie_word_embeddings": true,
    "transformers_version": "5.0.0", "use_cache": true, "vocab_size": 6400})",
                    "test");
}

// As transformers 4 does.
Json llama4() {
  auto config = llama5();
  config.erase("rope_parameters");
  config.erase("dtype");
  config["torch_dtype"] = "float32";
  config["rope_scaling"] = nullptr;
  config["rope_theta"] = 1000000.0;
  return config;
}

// As MiniMind's own class is saved (commit c090b69).
Json minimind() {
  return parse_json(R"({
    "architectures": ["MiniMindForCausalLM"], "dropout": 0.0, "flash_attn": true, "hidden_act": "silu",
    "hidden_size": 512, "intermediate_size": null, "max_position_embeddings": 32768, "model_type": "minimind",
    "n_routed_experts": 4, "num_attention_heads": 8, "num_hidden_layers": 8, "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "use_moe": false, "vocab_size": 6400})",
                    "test");
}

// The settings without where they were read.
std::map<std::string, Json> values(const Json& config) {
  std::map<std::string, Json> all;
  for (const auto& [key, setting] : read_settings(config, "config.json")) {
    all[key] = setting.value;
    CHECK_FALSE(setting.where.empty());
  }
  return all;
}

std::string refusal(const Json& config) {
  try {
    read_settings(config, "config.json");
  } catch (const InputError& error) {
    const std::string message = error.what();
    CHECK(message.starts_with("config.json: "));
    CHECK(message.find_first_of("\n\x1b") == std::string::npos);
    return message.substr(13);
  }
  return "accepted";
}

std::string refusal_with(const std::string& key, const Json& value, Json config = llama5()) {
  config[key] = value;
  return refusal(config);
}

Specification specification(const std::string& name) {
  return find_specification(name, PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
}

}  // namespace

TEST_CASE("hugging_face: a config of transformers 4 or 5 says all that the specification has",
          "[candidate][config]") {
  const auto expected = [] {
    std::map<std::string, Json> all;
    for (const auto& [key, setting] : specification_settings(specification("minimind2-small"), ""))
      all[key] = setting.value;
    return all;
  }();
  CHECK(expected.size() == 17);
  CHECK(values(llama5()) == expected);
  CHECK(values(llama4()) == expected);
  const auto settings = read_settings(llama5(), "config.json");
  CHECK(settings.at("hidden_size").where == "config.json: hidden_size");
  CHECK(settings.at("rope_theta").where == "config.json: rope_parameters.rope_theta");
  CHECK(settings.at("rope_type").where == "config.json: rope_parameters.rope_type");
  CHECK(read_settings(llama4(), "config.json").at("rope_theta").where == "config.json: rope_theta");
  CHECK(settings.at("rotary").where == "model_type llama turns halves");
}

TEST_CASE("hugging_face: what MiniMind's own config leaves out is what its class does",
          "[candidate][config]") {
  const auto found = values(minimind());
  CHECK(found.at("intermediate_size") == 1408);
  CHECK(found.at("head_dim") == 64);
  CHECK(found.at("dropout") == 0.0);
  CHECK(found.at("rotary") == "halves");
  CHECK(found.at("attention_bias") == false);
  CHECK(found.at("mlp_bias") == false);
  CHECK(found.at("tie_word_embeddings") == true);
  auto wide = minimind();
  wide["intermediate_size"] = 2048;
  CHECK(values(wide).at("intermediate_size") == 2048);
  wide["inference_rope_scaling"] = true;
  CHECK(values(wide).at("rope_type") != "default");
  CHECK(refusal_with("use_moe", true, minimind()) ==
        "'use_moe' is true: a mixture of experts is another architecture");
}

TEST_CASE("hugging_face: what a config does not say, or says as null, is its class's default, and said",
          "[candidate][config]") {
  const auto config = llama5();
  for (const auto& [key, usual] : std::map<std::string, Json>{{"num_key_value_heads", 8},
                                                              {"hidden_act", "silu"},
                                                              {"rms_norm_eps", 1e-6},
                                                              {"attention_bias", false},
                                                              {"mlp_bias", false},
                                                              {"tie_word_embeddings", false},
                                                              {"max_position_embeddings", 2048},
                                                              {"attention_dropout", 0.0}}) {
    INFO(key);
    auto expected = values(config);
    expected[key == "attention_dropout" ? "dropout" : key] = usual;
    auto less = config;
    less.erase(key);
    CHECK(values(less) == expected);
    less[key] = nullptr;
    CHECK(values(less) == expected);
    std::vector<std::string> notes;
    read_settings(less, "config.json", &notes);
    CHECK(notes == std::vector<std::string>{fmt::format(
                       "config.json has no {0}; the defaults of model_type llama were used: {0} {1}", key,
                       usual.dump())});
  }
  std::vector<std::string> notes;
  read_settings(config, "config.json", &notes);
  CHECK(notes.empty());
}

TEST_CASE("hugging_face: a size that a config does not say, or says as null, is left out",
          "[candidate][config]") {
  const auto config = llama5();
  for (const auto& key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}) {
    INFO(key);
    auto expected = values(config);
    expected.erase(key);
    auto less = config;
    less.erase(key);
    CHECK(values(less) == expected);
    less[key] = nullptr;
    CHECK(values(less) == expected);
  }
  auto less = config;
  less.erase("head_dim");
  CHECK(values(less) == values(config));
  less.erase("hidden_size");
  CHECK_FALSE(values(less).contains("head_dim"));
  less = config;
  less.erase("rope_parameters");
  CHECK(values(less).at("rope_theta") == 10000.0);
  CHECK(values(less).at("rope_type") == "default");
  CHECK_FALSE(values(Json{{"model_type", "llama"}}).contains("num_key_value_heads"));
}

TEST_CASE("hugging_face: MiniMind's first settings have other names, and turn neighbouring pairs",
          "[candidate][config]") {
  std::map<std::string, Json> expected;
  const auto s = specification("minimind-v1-small");
  for (const auto& [key, setting] : specification_settings(s, "")) expected[key] = setting.value;
  CHECK(values(parse_json(R"({"model_type": "minimind", "dim": 512, "n_layers": 8, "n_heads": 16,
    "n_kv_heads": 8, "hidden_dim": null, "norm_eps": 1e-05, "vocab_size": 6400, "max_seq_len": 8192,
    "dropout": 0.0, "use_moe": false})",
                          "test")) == expected);
}

TEST_CASE("hugging_face: attention within a window is another architecture", "[candidate][config]") {
  auto config = llama5();
  config["model_type"] = "mistral";
  CHECK_THAT(refusal(config), ContainsSubstring("'sliding_window' is 4096"));  // by default
  config["sliding_window"] = nullptr;
  CHECK(refusal(config) == "accepted");
  config["sliding_window"] = 32768;
  CHECK(refusal(config) == "accepted");
  config["sliding_window"] = 16;
  CHECK_THAT(refusal(config), ContainsSubstring("'sliding_window' is 16"));
  config["model_type"] = "qwen2";
  CHECK(refusal(config) == "accepted");
  config["use_sliding_window"] = true;
  CHECK_THAT(refusal(config), ContainsSubstring("'sliding_window' is 16"));
}

TEST_CASE("hugging_face: a value of the wrong type is refused by its key", "[candidate][config]") {
  const auto raw = [](const std::string& text) { return parse_json(text, "test"); };
  for (const std::string key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "intermediate_size", "max_position_embeddings", "head_dim"}) {
    for (const auto& text : {"512.0", "\"512\"", "true", "[512]", "{}", "1e3", "100000000000000000000"})
      CHECK_THAT(
          refusal_with(key, raw(text)),
          ContainsSubstring(fmt::format("'{}' is {}, expected a whole number", key, raw(text).dump())));
    for (const auto& text : {"0", "-1", "-9223372036854775808"})
      CHECK(refusal_with(key, raw(text)) ==
            fmt::format("'{}' is {}, expected at least 1: no such model exists", key, text));
    for (const auto& text : {"18446744073709551615", "9223372036854775808", "4294967297", "1073741825"})
      CHECK(refusal_with(key, raw(text)) == fmt::format("'{}' is {}: no such model exists", key, text));
  }
  for (const std::string key : {"attention_bias", "mlp_bias", "tie_word_embeddings"})
    for (const auto& text : {"0", "1", "\"false\"", "[]"})
      CHECK_THAT(refusal_with(key, raw(text)),
                 ContainsSubstring("'" + key + "' is " + text + ", expected true or false"));
  for (const std::string key : {"rms_norm_eps", "rope_theta", "attention_dropout"})
    for (const auto& text : {"\"1e-5\"", "true", "[1e-05]", "{}"})
      CHECK_THAT(refusal_with(key, raw(text), llama4()),
                 ContainsSubstring("'" + key + "' is " + text + ", expected a number"));
  CHECK(refusal_with("hidden_act", 5) == "'hidden_act' is 5, expected a string");
  CHECK(refusal_with("hidden_act", Json::array({std::string(5000, 'x')})).size() < 200);
  CHECK(refusal_with("vocab_size", "\x1b[2J\n\u202e").find('\x1b') == std::string::npos);
}

TEST_CASE("hugging_face: numbers that describe no model are refused with the numbers",
          "[candidate][config]") {
  auto config = llama5();
  config.erase("head_dim");
  config["num_attention_heads"] = 7;
  config["num_key_value_heads"] = 7;
  CHECK(refusal(config) == "hidden size 512 is not divisible by 7 heads: no such model exists");
  CHECK(refusal_with("num_key_value_heads", 3) ==
        "8 query heads are not divisible by 3 key/value heads: no such model exists");
  CHECK(refusal_with("head_dim", 63).starts_with("head size 63 is odd"));
  CHECK(refusal_with("head_dim", 32) == "accepted");  // possible, and for the suites to judge
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  for (const auto& eps : {Json(0.0), Json(-1e-5), Json(1.0), Json(5), Json(nan), Json(inf)})
    CHECK(
        refusal_with("rms_norm_eps", eps) ==
        fmt::format("'rms_norm_eps' is {}, expected above 0 and below 1: no such model exists", eps.dump()));
  for (const auto& theta : {Json(1.0), Json(0), Json(-1e6), Json(nan), Json(inf), Json(-inf)})
    CHECK_THAT(refusal_with("rope_theta", theta, llama4()),
               ContainsSubstring("'rope_theta' is " + theta.dump() + ", expected above 1"));
}

TEST_CASE("hugging_face: a dropout that is no probability is refused", "[candidate][config]") {
  for (const auto& dropout : {Json(1.0), Json(-0.1), Json(7), Json(std::nan(""))})
    CHECK(refusal_with("attention_dropout", dropout) ==
          fmt::format(
              "dropout ('attention_dropout') is {}, expected at least 0 and below 1: no such model exists",
              dropout.dump()));
  for (const auto& dropout : {Json(0), Json(0.99)})
    CHECK(refusal_with("attention_dropout", dropout) == "accepted");  // possible, and for the suites to judge
}

TEST_CASE("hugging_face: rotary settings that contradict each other are refused", "[candidate][config]") {
  CHECK_THAT(
      refusal_with("rope_theta", 10000.0),
      ContainsSubstring("'rope_theta' is 10000.0 but 'rope_parameters.rope_theta' is 1000000.0; remove one"));
  CHECK(refusal_with("rope_theta", 1000000) == "accepted");
  CHECK(refusal_with("rope_parameters", "default") == "'rope_parameters' is not an object");
  CHECK(refusal_with("rope_scaling", Json::array()) == "'rope_scaling' is not an object");
  CHECK(refusal_with("rope_parameters", {{"rope_type", 5}}) == "'rope_parameters.rope_type' is not a string");
  CHECK(refusal_with("rope_parameters", {{"rope_theta", "1e6"}}) ==
        "'rope_parameters.rope_theta' is not a number");
}

TEST_CASE("hugging_face: any scaling of positions is seen, wherever it stands", "[candidate][config]") {
  const auto type = [](const std::string& key, const Json& value, Json config) {
    config[key] = value;
    return values(config).at("rope_type");
  };
  CHECK(type("rope_scaling", {{"type", "linear"}, {"factor", 2.0}}, llama4()) == "linear");
  CHECK(type("rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}, llama4()) == "yarn");
  CHECK(type("rope_scaling", {{"rope_type", "default"}}, llama4()) == "default");
  CHECK(type("rope_scaling", {{"factor", 2.0}}, llama4()) != "default");
  CHECK(type("rope_scaling", {{"factor", 1}}, llama4()) == "default");
  CHECK(type("rope_parameters", {{"rope_type", "llama3"}, {"rope_theta", 1e6}}, llama5()) == "llama3");
  // Transformers takes the old section where there are two; ours has to see a scaling in either.
  CHECK(type("rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}, llama5()) == "linear");
  CHECK(type("rope_scaling", {{"rope_type", "default"}, {"type", "dynamic"}}, llama4()) == "dynamic");
  CHECK(type("partial_rotary_factor", 0.5, llama4()) != "default");
  CHECK(type("partial_rotary_factor", 1.0, llama4()) == "default");
  CHECK(type("rope_parameters", {{"rope_theta", 1e6}, {"partial_rotary_factor", 0.5}}, llama5()) !=
        "default");
}

TEST_CASE("hugging_face: another architecture, a quantised or a sparse model is refused",
          "[candidate][config]") {
  for (const Json& wrong : {Json(), Json::array({llama5()}), Json("llama"), Json(5)})
    CHECK(refusal(wrong) == "expected a JSON object");
  for (const Json& wrong : {Json(), Json(5), Json::array({"llama"})})
    CHECK(refusal_with("model_type", wrong) == "'model_type' is missing; expected \"llama\" or \"minimind\"");
  CHECK(refusal(Json::object()) == "'model_type' is missing; expected \"llama\" or \"minimind\"");
  CHECK(refusal_with("model_type", "mixtral") ==
        "'mixtral' is another architecture (a mixture of experts): Plumbline reads model types \"llama\", "
        "\"mistral\", \"qwen2\", \"minimind\"");
  for (const std::string name : {"Llama", "llama4", ""})
    CHECK_THAT(refusal_with("model_type", name), ContainsSubstring("unknown architecture '" + name + "'"));
  CHECK(refusal_with("model_type", "a\nb" + std::string(5000, 'x')).size() < 250);
  CHECK_THAT(refusal_with("quantization_config", {{"bits", 4}}),
             ContainsSubstring("the checkpoint is quantised (an unnamed method)"));
  CHECK_THAT(refusal_with("quantization_config", {{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}}),
             ContainsSubstring("the checkpoint is quantised (bitsandbytes, 8 bits); expected float32"));
  CHECK_THAT(refusal_with("quantization_config", {{"quant_method", 5}}),
             ContainsSubstring("the checkpoint is quantised (an unnamed method"));
  CHECK_THAT(refusal_with("quantization_config", true), ContainsSubstring("the checkpoint is quantised"));
  CHECK(refusal_with("quantization_config", nullptr) == "accepted");
  CHECK(refusal_with("use_moe", false) == "accepted");
}

TEST_CASE("hugging_face: a config that we write reads back as its specification", "[candidate][config]") {
  for (const auto& name : {"minimind2-small", "minimind2", "tiny", "diy-before"}) {
    INFO(name);
    const auto s = specification(name);
    std::map<std::string, Json> expected;
    for (const auto& [key, setting] : specification_settings(s, "")) expected[key] = setting.value;
    CHECK(values(parse_json(llama_config(s).dump(), "test")) == expected);
  }
  CHECK_THROWS_AS(llama_config(specification("minimind-v1-small")), InputError);
}
