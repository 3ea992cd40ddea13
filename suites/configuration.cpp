// Chapter 1: the configuration.
#include <cmath>
#include "harness/system/json.hpp"
#include "suites/requirement.hpp"

namespace plumbline {
namespace {

// The candidate's setting. Errors: NotShown where it is missing, since a missing value is never right.
const Setting& setting(Subject& subject, const char* key) {
  const auto& configuration = subject.description().configuration;
  const auto found = configuration.find(key);
  if (found == configuration.end()) not_assessed(fmt::format("the configuration does not say {}", key));
  return found->second;
}

// "q_proj.weight" of model.layers.3.self_attn.q_proj.weight.
std::string kind_of_parameter(const std::string& parameter) {
  const auto last = parameter.rfind('.');
  const auto before =
      last == std::string::npos || last == 0 ? std::string::npos : parameter.rfind('.', last - 1);
  return before == std::string::npos ? parameter : parameter.substr(before + 1);
}

void expect_setting(Subject& subject, const char* key, const Json& expected) {
  const auto& actual = setting(subject, key);
  expect_that(subject, actual.value == expected, fmt::format("{} ({})", key, actual.where),
              actual.value.dump(), expected.dump());
}

}  // namespace

REQUIREMENT("CFG-1", "the vocabulary size matches the specification") {
  expect_setting(subject, "vocab_size", subject.specification().vocab_size);
}

REQUIREMENT("CFG-2", "the hidden size matches the specification") {
  expect_setting(subject, "hidden_size", subject.specification().hidden_size);
}

REQUIREMENT("CFG-3", "the number of layers matches the specification") {
  expect_setting(subject, "num_hidden_layers", subject.specification().num_hidden_layers);
}

REQUIREMENT("CFG-4", "the number of query heads and the head size match the specification") {
  expect_setting(subject, "num_attention_heads", subject.specification().num_attention_heads);
  expect_setting(subject, "head_dim", subject.specification().head_size());
}

REQUIREMENT("CFG-5", "the number of key/value heads matches the specification") {
  const auto& s = subject.specification();
  expect_setting(subject, "num_key_value_heads", s.num_key_value_heads);
  const auto queries = setting(subject, "num_attention_heads").value.get<std::int64_t>();
  expect_equal(subject, "query heads for each key/value head",
               queries / setting(subject, "num_key_value_heads").value.get<std::int64_t>(),
               s.repeat_factor());
}

REQUIREMENT("CFG-6", "the feed-forward size matches the specification") {
  const auto& s = subject.specification();
  expect_setting(subject, "intermediate_size", s.intermediate_size);
  if (s.intermediate_size_derived)
    subject.recorder().finding(fmt::format("int({} * 8 / 3) = {}, rounded up to a multiple of 64: {}",
                                           s.hidden_size, s.hidden_size * 8 / 3,
                                           derived_intermediate_size(s.hidden_size)));
}

REQUIREMENT("CFG-7", "the feed-forward activation matches the specification") {
  const auto& actual = setting(subject, "hidden_act");
  const auto expected = to_string(subject.specification().hidden_act);
  const auto found = actual.value == "swish" ? Json("silu") : actual.value;  // two names of one function
  expect_that(subject, found == expected, fmt::format("hidden_act ({})", actual.where), actual.value.dump(),
              Json(expected).dump());
}

REQUIREMENT("CFG-8", "rotary theta matches the specification") {
  expect_setting(subject, "rope_theta", subject.specification().rope_theta);
}

REQUIREMENT("CFG-9", "rotary embedding turns the specification's pairs, without scaling") {
  expect_setting(subject, "rotary", to_string(subject.specification().rotary));
  expect_setting(subject, "rope_type", "default");
}

REQUIREMENT("CFG-10", "dropout is configured as 0, or as 0.1 for training") {
  const auto& actual = setting(subject, "dropout");
  const auto own = subject.specification().dropout;
  expect_that(subject, actual.value == 0.0 || actual.value == 0.1 || actual.value == own,
              fmt::format("dropout ({})", actual.where), actual.value.dump(), "0.0, or 0.1 in training");
}

REQUIREMENT("CFG-11", "RMSNorm's eps matches the specification") {
  expect_setting(subject, "rms_norm_eps", subject.specification().rms_norm_eps);
}

REQUIREMENT("CFG-12", "linear layers have biases only where the specification has them") {
  const auto& s = subject.specification();
  const auto& configuration = subject.description().configuration;
  if (configuration.contains("attention_bias")) expect_setting(subject, "attention_bias", s.attention_bias);
  if (configuration.contains("mlp_bias")) expect_setting(subject, "mlp_bias", s.mlp_bias);
  std::vector<std::string> surplus;
  for (const auto& parameter : subject.description().parameters) {
    const bool has_bias = parameter.name.find(".mlp.") != std::string::npos ? s.mlp_bias : s.attention_bias;
    if (parameter.name.ends_with(".bias") && !has_bias) surplus.push_back(parameter.name);
  }
  expect_that(subject, surplus.empty(), "parameters named .bias beyond the specification's",
              surplus.empty() ? "none" : fmt::format("{}, the first is {}", surplus.size(), surplus.front()),
              "none");
}

REQUIREMENT("CFG-13", "embedding and output head are tied as the specification says") {
  expect_setting(subject, "tie_word_embeddings", subject.specification().tie_word_embeddings);
}

REQUIREMENT("CFG-14", "the embedding matrix is initialised as the specification says") {
  const auto& s = subject.specification();
  const auto initial = subject.candidate().initialise(1);
  const auto found = initial.find("model.embed_tokens.weight");
  if (found == initial.end()) not_assessed("the candidate does not show its initial embedding matrix");
  const auto values = found->second.to(at::kCPU, at::kDouble);
  const auto n = static_cast<double>(values.numel());
  const double bound = 1 / std::sqrt(static_cast<double>(s.hidden_size));
  const auto& distribution = s.initialization.embedding;
  const bool uniform = distribution.uniform();
  const double deviation = distribution.deviation(s.hidden_size), variance = deviation * deviation;
  // Of a model that is held in another type, each value may have been rounded to it.
  const auto rounding = unit_roundoff(found->second.scalar_type());
  if (uniform)
    expect_that(subject, largest(values) <= bound * (1 + rounding), "largest initial embedding weight",
                number(largest(values)), "at most " + number(bound));
  // Six standard errors: by chance alone it fails once in 500 million runs. The variance of a sample variance
  // is (kurtosis - 1) / n; the kurtosis is 1.8 for a uniform and 3 for a normal distribution.
  expect_close(subject, "variance of the initial embedding weights", values.var(),
               at::scalar_tensor(variance, at::kDouble),
               Tolerance::absolute(6 * variance * std::sqrt((uniform ? 0.8 : 2.0) / n),
                                   fmt::format("six standard errors of {} samples", n)));
  expect_close(
      subject, "mean of the initial embedding weights", values.mean(), at::scalar_tensor(0.0, at::kDouble),
      Tolerance::absolute(6 * std::sqrt(variance / n), fmt::format("six standard errors of {} samples", n)));
  // A row's sample variance strays from the whole's by a tenth or two; one of zeros does so by all of it.
  const auto rows = values.square().mean(-1);
  expect_that(
      subject, rows.min().item<double>() >= variance / 10, "smallest mean square of a row",
      fmt::format("{}, of row {}", number(rows.min().item<double>()), rows.argmin().item<std::int64_t>()),
      "at least " + number(variance / 10) + ": no row is left out");
  // The empirical distribution function strays further than this once in a thousand million runs (Massart
  // 1990, the Dvoretzky-Kiefer-Wolfowitz inequality); values that depend on each other or have another shape
  // do so always.
  const auto sorted = std::get<0>(values.reshape(-1).sort());
  const auto expected =
      uniform ? (sorted / (2 * bound) + 0.5).clamp(0, 1) : at::special_ndtr(sorted / deviation);
  const auto below = at::arange(values.numel(), at::kDouble) / n;
  const auto strays = at::maximum((expected - below).abs(), (expected - below - 1 / n).abs()).max();
  expect_close(subject, "largest distance of their distribution function from the specification's", strays,
               at::scalar_tensor(0.0, at::kDouble),
               Tolerance::absolute(
                   std::sqrt(std::log(2 / 1e-9) / (2 * n)) + rounding,
                   fmt::format("exceeded by chance once in 1e9 runs of {} samples; and one rounding", n)));
}

REQUIREMENT("CFG-17", "each kind of matrix is initialised as the specification says, in every layer") {
  const auto& s = subject.specification();
  struct Sample {
    double squares = 0, count = 0;  // over all layers
    double deviation = 0;           // by the specification
    bool uniform = true;
  };
  std::map<std::string, Sample> kinds;
  for (const auto& [name, given] : subject.candidate().initialise(1)) {
    if (given.dim() != 2 || name == kEmbedding || (name == kHead && s.tie_word_embeddings)) continue;
    const auto& distribution = s.initialization.of(name);
    auto& kind = kinds[kind_of_parameter(name)];
    const auto values = given.to(at::kCPU, at::kDouble);
    kind.squares += values.square().sum().item<double>();
    kind.count += static_cast<double>(values.numel());
    kind.deviation = distribution.deviation(given.size(1));
    kind.uniform = distribution.uniform();
  }
  if (kinds.empty()) not_assessed("the candidate shows no initial matrices");
  for (const auto& [kind, sample] : kinds) {
    const double variance = sample.deviation * sample.deviation;
    const double error = 6 * variance * std::sqrt((sample.uniform ? 0.8 : 2.0) / sample.count);
    expect_close(subject, fmt::format("mean square of the initial {}", kind),
                 at::scalar_tensor(sample.squares / sample.count, at::kDouble),
                 at::scalar_tensor(variance, at::kDouble),
                 Tolerance::absolute(error, fmt::format("six standard errors of {} samples", sample.count)));
  }
}

REQUIREMENT("CFG-15", "the number of positions that the model supports matches the specification") {
  expect_setting(subject, "max_position_embeddings", subject.specification().max_position_embeddings);
}

REQUIREMENT("CFG-16", "the configuration describes a possible model") {
  const auto size = [&](const char* key) { return setting(subject, key).value.get<std::int64_t>(); };
  const auto heads = size("num_attention_heads");
  expect_equal(subject, "query heads mod key/value heads", heads % size("num_key_value_heads"), 0);
  expect_equal(subject, "hidden size mod heads", size("hidden_size") % heads, 0);
  expect_equal(subject, "head size mod 2", size("head_dim") % 2, 0);
}

}  // namespace plumbline
