// Chapter 2: the parameters.
#include <algorithm>
#include <map>
#include <regex>

#include <fmt/ranges.h>

#include "suites/requirement.hpp"

namespace plumbline {
namespace {

constexpr const char* kVoid =
    "void: a bias 0, a norm's weight 1, a head the embedding, a block that adds 0 to the residual stream";

std::int64_t elements(const std::vector<std::int64_t>& shape) {
  std::int64_t product = 1;
  for (const auto size : shape) product *= size;
  return product;
}

// Files may store a tied head as a copy of the embedding; in code an untied head is a surplus parameter.
bool is_stored_copy(Subject& subject, const std::string& name) {
  return name == kHead && subject.specification().tie_word_embeddings && !subject.can("code");
}

std::map<std::string, std::vector<std::int64_t>> expected_shapes(Subject& subject) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const auto& parameter : subject.specification().parameters()) shapes[parameter.name] = parameter.shape;
  return shapes;
}

std::map<std::string, std::vector<std::int64_t>> actual_shapes(Subject& subject) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const auto& parameter : subject.description().parameters) shapes[parameter.name] = parameter.shape;
  return shapes;
}

}  // namespace

REQUIREMENT("PAR-1", "the number of parameters is exactly the specification's") {
  std::int64_t total = 0;
  for (const auto& parameter : subject.description().parameters)
    if (!is_stored_copy(subject, parameter.name)) total += elements(parameter.shape);
  expect_equal(subject, "parameters", total, subject.specification().parameter_count());
  subject.recorder().finding(fmt::format("{} parameters", total));
}

REQUIREMENT("PAR-2", "every parameter of the specification is there") {
  const auto actual = actual_shapes(subject);
  for (const auto& [name, shape] : expected_shapes(subject))
    expect_that(subject, actual.contains(name), name, actual.contains(name) ? "present" : "missing",
                "present, " + shape_of(shape));
  if (subject.can("code") && !subject.missing_parameters().empty())
    subject.recorder().finding(
        fmt::format("everything else was judged with the missing parameters added and {}", kVoid));
}

REQUIREMENT("PAR-3", "every parameter has the right shape") {
  const auto actual = actual_shapes(subject);
  bool any = false;
  for (const auto& [name, shape] : expected_shapes(subject)) {
    const auto found = actual.find(name);
    if (found == actual.end()) continue;  // PAR-2 reports it
    any = true;
    expect_equal(subject, name, shape_of(found->second), shape_of(shape));
  }
  if (!any) not_assessed("no parameter of the specification is there");
}

REQUIREMENT("PAR-4", "there are no parameters outside the specification") {
  const auto expected = expected_shapes(subject);
  bool any = false;
  for (const auto& [name, shape] : actual_shapes(subject)) {
    const bool known = expected.contains(name) || is_stored_copy(subject, name);
    expect_that(subject, known, name, known ? "known" : "surplus, " + shape_of(shape), "known");
    any |= !known;
  }
  if (any && subject.can("load"))
    subject.recorder().finding(
        fmt::format("everything else was judged with the surplus parameters made {}", kVoid));
}

REQUIREMENT("PAR-5", "the tied matrix is tied: a stored head is absent or equal") {
  if (!subject.specification().tie_word_embeddings) {
    expect_that(subject, actual_shapes(subject).contains(kHead), kHead,
                actual_shapes(subject).contains(kHead) ? "present" : "missing",
                "present: the head is not tied");
    return;
  }
  const auto& weights = subject.candidate().weights();
  const auto embedding = weights.find(kEmbedding), head = weights.find(kHead);
  if (embedding == weights.end()) not_assessed("there is no embedding matrix to compare the head with");
  if (head != weights.end()) {
    expect_close(subject, kHead, head->second, embedding->second,
                 Tolerance::exact("a tied head is the embedding matrix itself"));
    return;
  }
  const auto& configuration = subject.description().configuration;
  const auto tied = configuration.find("tie_word_embeddings");
  const bool contradicted = tied != configuration.end() && tied->second.value == false;
  expect_that(subject, !contradicted, kHead,
              contradicted ? "absent although the configuration says it is not tied" : "absent",
              "absent or equal to the embedding");
}

REQUIREMENT("PAR-7", "the tied matrix is tied: changing the embedding changes the output head") {
  if (!subject.specification().tie_word_embeddings) not_assessed("this specification's head is not tied");
  const auto tokens = standard_probe(subject);
  const auto before = logits(subject, tokens).to(at::kDouble);
  // Doubles the row of a token that is not in the probe: with a tied head its logit doubles and nothing else
  // changes; an untied head would keep its own weights.
  std::int64_t row = 0;
  while ((tokens.ids == row).any().item<bool>()) ++row;
  auto changed = subject.weights();
  const auto embedding = changed.at(kEmbedding);
  changed[kHead] = embedding;
  auto doubled = embedding.clone();
  doubled[row].mul_(2);
  changed[kEmbedding] = doubled;
  auto expected = before.clone();
  expected.select(-1, row).mul_(2);
  subject.with_weights(changed, [&](Candidate& candidate) {
    const at::NoGradGuard no_gradients;
    expect_close(subject, fmt::format("logits after row {} of the embedding was doubled", row),
                 candidate.forward(tokens, {}), expected, subject.noise("logits", expected));
  });
}

REQUIREMENT("PAR-6", "every parameter is finite and of a floating type") {
  for (const auto& parameter : subject.description().parameters) {
    const bool floating =
        parameter.type == at::kFloat || parameter.type == at::kHalf || parameter.type == at::kBFloat16;
    expect_that(subject, floating, parameter.name + " type", at::toString(parameter.type),
                "Float, Half or BFloat16");
  }
  if (subject.can("code")) subject.running();
  for (const auto& [name, values] : subject.candidate().weights())
    if (at::isFloatingType(values.scalar_type())) expect(subject, all_finite(name, values));
  if (!subject.can("initialise")) return;
  for (const auto& [name, values] : subject.candidate().initialise(1))
    if (at::isFloatingType(values.scalar_type())) expect(subject, all_finite("initial " + name, values));
}

namespace {

// Whether all rows are multiples of one: what is left of the matrix (R, C) without the share of its longest
// row is rounding.
bool has_rank_one(const at::Tensor& matrix) {
  const auto lengths = matrix.norm(2, 1);
  const auto direction = matrix[lengths.argmax()] / lengths.max();
  const auto rest = matrix - at::outer(matrix.mv(direction), direction);
  return (rest.norm() <= 1e-6 * matrix.norm()).item<bool>();
}

// What is degenerate about a parameter's values; empty: nothing.
std::string degeneracy_of(const at::Tensor& stored) {
  if (stored.numel() < 2 || !at::isFloatingType(stored.scalar_type())) return "";
  const auto values = stored.to(at::kDouble);
  if (!values.isfinite().all().item<bool>()) return "";  // PAR-6 reports it
  const bool equal = (values == values.flatten()[0]).all().item<bool>();
  const double first = values.flatten()[0].item<double>();
  if (values.dim() == 1)
    return equal && first == 0 ? "all its values are 0" : "";  // all 1: a norm as it begins
  if (equal) return fmt::format("all its values are {}", number(first));
  const bool matrix = values.dim() == 2 && values.size(0) > 1 && values.size(1) > 1;
  return matrix && has_rank_one(values) ? "every row is a multiple of one row" : "";
}

}  // namespace

REQUIREMENT("PAR-8", "no parameter is degenerate: of one value, of rank one, or a copy of another layer's") {
  struct Matrix {
    std::string name;
    at::Tensor values;
  };
  static const std::regex layer("(^|\\.)layers\\.[0-9]+\\.");
  std::map<std::pair<std::string, double>, Matrix> of_layers;  // by name without the layer, and sum
  for (const auto& [name, values] : subject.candidate().weights()) {
    const bool bias = name.ends_with(".bias");
    auto wrong = bias ? "" : degeneracy_of(values);
    if (wrong.empty() && values.dim() == 2 && std::regex_search(name, layer)) {
      const auto kind = std::regex_replace(name, layer, "$1layers.*.");
      const auto [other, is_first] =
          of_layers.try_emplace({kind, values.sum(at::kDouble).item<double>()}, Matrix{name, values});
      if (!is_first && other->second.values.equal(values)) wrong = "it is equal to " + other->second.name;
    }
    expect_that(subject, wrong.empty(), name, wrong.empty() ? "not degenerate" : wrong, "not degenerate");
  }
}

}  // namespace plumbline
