#include "harness/judging/subject.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "harness/candidate/void_parameters.hpp"
#include "harness/judging/passes.hpp"

namespace plumbline {

Stages stages_of(const Model& model, const Tokens& tokens) {
  Stages stages;
  PassOptions options;
  options.observer = [&](const Stage& stage, const at::Tensor& value) {
    stages[stage] = value.to(at::kCPU, at::kDouble);
  };
  model.forward(tokens, options);
  return stages;
}

Subject::Subject(Candidate& candidate, Specification specification, std::optional<Golden> golden,
                 std::filesystem::path fixtures, Recorder& recorder, ProbeOptions probes)
    : candidate_(candidate),
      specification_(std::move(specification)),
      golden_(std::move(golden)),
      fixtures_(std::move(fixtures)),
      recorder_(recorder),
      probes_(probes),
      capabilities_(candidate.capabilities()),
      missing_parameters_(plumbline::missing_parameters(specification_, candidate_.describe().parameters)) {}

const Weights& Subject::weights() {
  if (weights_) return *weights_;
  if (can("load")) {
    weights_ =
        make_void(discriminating_weights(specification_.parameters(), probes_.seed), missing_parameters_);
    return *weights_;
  }
  auto own = convert(candidate_.weights(), at::kFloat, at::kCPU);
  for (const auto& parameter : specification_.parameters())
    if (missing_parameters_.contains(parameter.name)) own[parameter.name] = at::zeros(parameter.shape);
  own = make_void(std::move(own), missing_parameters_);
  if (const auto name = find_not_void(own, missing_parameters_))
    throw NotShown(fmt::format("it has no parameter {}", *name));
  weights_ = std::move(own);
  return *weights_;
}

Candidate& Subject::running() {
  if (!loaded_ && can("load")) candidate_.load(weights());
  loaded_ = true;
  return candidate_;
}

void Subject::with_weights(const Weights& weights, const std::function<void(Candidate&)>& body) {
  candidate_.load(weights);
  loaded_ = true;  // so that running() does not replace them
  try {
    body(candidate_);
  } catch (...) {
    loaded_ = false;
    throw;
  }
  loaded_ = false;
}

void Subject::use_weights(Weights weights) {
  weights_ = std::move(weights);
  loaded_ = false;
  reset_reference_models();
}

void Subject::use_weights_for_rounding(Weights weights) {
  rounding_weights_ = std::move(weights);
  reset_reference_models();
}

void Subject::reset_reference_models() {
  rounded_.reset();
  exact_.reset();
  exact_weights_.reset();
  relative_noise_.clear();
}

const Model& Subject::rounded() {
  if (!rounded_)
    rounded_ = std::make_unique<Model>(
        specification_,
        convert(rounding_weights_ ? *rounding_weights_ : weights(), running().type(), running().device()));
  return *rounded_;
}

const Model& Subject::exact() {
  if (!exact_)
    exact_ = std::make_unique<Model>(specification_,
                                     convert(rounded().weights(), at::kDouble, running().device()));
  return *exact_;
}

const Weights& Subject::exact_weights() {
  if (!exact_weights_) exact_weights_ = convert(exact().weights(), at::kDouble, at::kCPU);
  return *exact_weights_;
}

Tolerance Subject::noise(const std::string& kind, const at::Tensor& expected) {
  if (relative_noise_.empty()) {
    const at::NoGradGuard no_gradients;
    const auto exact_stages = stages_of(exact(), standard_probe(*this)),
               rounded_stages = stages_of(rounded(), standard_probe(*this));
    for (const auto& [stage, value] : exact_stages) {
      const auto hidden = ~value.isfinite();
      const auto error = (rounded_stages.at(stage) - value).masked_fill(hidden, 0);
      const auto size = value.masked_fill(hidden, 0);
      auto& noise = relative_noise_[stage.kind];
      noise.worst = std::max(noise.worst, largest(error) / largest(size));
      noise.root_mean_square =
          std::max(noise.root_mean_square, root_mean_square(error) / root_mean_square(size));
    }
  }
  const auto size = finite(expected);
  const auto& relative = relative_noise_.at(kind);
  // The error of float32 angles is proportional to the position, which is below the length of the pass.
  const double angles = static_cast<double>(expected.dim() > 1 ? expected.size(1) : 1) * 0x1p-24;
  auto tolerance = Tolerance::absolute(
      (kNoiseFactor * relative.worst + angles) * largest(size),
      fmt::format("{} x the {} rounding error measured on the reference, {} of the largest", kNoiseFactor,
                  type_name(candidate_.type()), number(relative.worst)));
  tolerance.root_mean_square =
      (kRootMeanSquareFactor * relative.root_mean_square + angles) * root_mean_square(size);
  return tolerance;
}

}  // namespace plumbline
