#include "harness/judging/large_activations.hpp"

#include <algorithm>
#include <string>

#include "harness/candidate/void_parameters.hpp"
#include "harness/judging/passes.hpp"

namespace plumbline {
namespace {

constexpr double kResidual = 8192, kBranch = 2048, kScore = 20000;

double gain(double size, double wanted) {
  return size > 0 ? wanted / size : 1;
}

bool is_of(const std::string& name, const std::string& module) {
  return name.find(module + ".") != std::string::npos;
}

}  // namespace

LargeActivations large_activations(Subject& subject) {
  const at::NoGradGuard no_gradients;
  const auto stages = stages_of(subject.exact(), standard_probe(subject));
  const auto size_of = [&](const at::Tensor& values) { return largest(finite(values)); };
  double scores = 0;
  for (const auto& [stage, values] : stages)
    if (stage.kind == "scores") scores = std::max(scores, size_of(values));
  const auto& embedding = stages.at({"embedding"});
  const double residual = size_of(embedding), branch = size_of(stages.at({"after_attention", 0}) - embedding);
  const double of_residual = gain(residual, kResidual), of_branch = gain(branch, kBranch),
               of_scores = subject.candidate().type() == at::kFloat ? gain(scores, kScore) : 1;
  // A norm of each head undoes what its projection scales.
  const auto query = subject.specification().query_key_norm ? "q_norm" : "q_proj";
  LargeActivations large{subject.weights(), of_residual * residual, of_scores * scores};
  for (auto& [name, values] : large.weights) {
    if (is_of(name, "embed_tokens")) values = values * of_residual;
    if (is_of(name, "o_proj") || is_of(name, "down_proj")) values = values * of_branch;
    if (is_of(name, query)) values = values * of_scores;
  }
  large.weights = make_void(std::move(large.weights), subject.missing_parameters());
  return large;
}

}  // namespace plumbline
