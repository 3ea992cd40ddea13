#include "harness/experiment/trainer.hpp"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "harness/evidence/safetensors.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

double learning_rate(const Recipe& recipe, std::int64_t step) {
  const double most = recipe.optimiser.learning_rate;
  if (step < recipe.warm_up)
    return most * static_cast<double>(step + 1) / static_cast<double>(recipe.warm_up);
  const double passed = static_cast<double>(step - recipe.warm_up) /
                        std::max(1.0, static_cast<double>(recipe.steps - recipe.warm_up));
  return most * (0.1 + 0.9 * 0.5 * (1 + std::cos(std::numbers::pi * passed)));
}

struct Trainer::State {
  Recipe recipe;
  at::Generator random;  // of dropout; not shared, so that other trainers do not change it
  std::vector<std::string> names;
  std::vector<at::Tensor> leaves, first, second, count;
  TrainingHistory course;

  Model model() const {
    Weights weights;
    for (std::size_t i = 0; i < names.size(); ++i) weights.emplace(names[i], leaves[i].to(recipe.compute));
    return {recipe.model.specification, std::move(weights), recipe.model.formulas, recipe.model.overrides};
  }
};

Trainer::Trainer(Recipe recipe) : state_(std::make_unique<State>()) {
  auto& s = *state_;
  s.random = at::globalContext().defaultGenerator(recipe.device).clone();
  recipe.model.formulas.dropout = [random = s.random](const at::Tensor& x, double p) {
    if (p == 0) return x;
    return x * (at::empty_like(x.detach()).bernoulli_(1 - p, random) / (1 - p));
  };
  auto weights = initial_weights(recipe.model.specification, recipe.seed);
  for (auto& [name, values] : weights) values = recipe.model.formulas.initial_values(name, values);
  for (const auto& [name, value] : weights) {
    s.names.push_back(name);
    s.leaves.push_back(value.to(recipe.device, at::kFloat).clone().set_requires_grad(true));
    s.first.push_back(at::zeros_like(s.leaves.back()).detach());
    s.second.push_back(at::zeros_like(s.leaves.back()).detach());
    s.count.push_back(at::zeros({}, s.leaves.back().options().requires_grad(false)));
  }
  s.recipe = std::move(recipe);
}

Trainer::~Trainer() = default;

void Trainer::step(const at::Tensor& tokens) {
  auto& s = *state_;
  const auto step = s.course.steps();
  auto random = s.random;
  random.set_current_seed(std::uint64_t{s.recipe.seed} << 32 | static_cast<std::uint64_t>(step));
  PassOptions options;
  options.training = true;
  options.dropout = s.recipe.dropout;
  const at::AutoGradMode with_gradients(true);
  const auto model = s.model();
  const auto loss = s.recipe.model.formulas.loss(model.forward({tokens, {}, Padding::none}, options), tokens);
  const double value = loss.item<double>();
  if (!std::isfinite(value)) {
    std::string where = "every parameter is a finite number";
    for (std::size_t i = s.names.size(); i-- > 0;)
      if (!s.leaves[i].detach().isfinite().all().item<bool>())
        where = fmt::format("{} holds a value that is not finite", s.names[i]);
    throw InputError(
        fmt::format("step {}: the loss is {}; {}", step + 1, std::isnan(value) ? "nan" : "infinite", where));
  }
  loss.backward();
  const at::NoGradGuard no_gradients;
  std::vector<at::Tensor> gradients;
  auto squares = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(s.recipe.device));
  for (const auto& leaf : s.leaves) {
    gradients.push_back(leaf.grad());
    squares += leaf.grad().to(at::kDouble).square().sum();
  }
  const double norm = std::sqrt(squares.item<double>());
  if (!std::isfinite(norm))
    for (std::size_t i = 0; i < s.names.size(); ++i)
      if (!gradients[i].isfinite().all().item<bool>())
        throw InputError(
            fmt::format("step {}: the gradient of {} is no finite number", step + 1, s.names[i]));
  if (norm > s.recipe.clip)
    for (auto& gradient : gradients) gradient.mul_(s.recipe.clip / norm);
  const auto& o = s.recipe.optimiser;
  for (auto& count : s.count) count += 1;
  at::_fused_adamw_(s.leaves, gradients, s.first, s.second, {}, s.count, learning_rate(s.recipe, step),
                    o.beta1, o.beta2, o.weight_decay, o.eps, /*amsgrad=*/false, /*maximize=*/false);
  for (auto& leaf : s.leaves) leaf.mutable_grad().reset();
  s.course.losses.push_back(value);
  s.course.norms.push_back(norm);
}

const TrainingHistory& Trainer::history() const {
  return state_->course;
}

bool Trainer::done() const {
  return state_->course.steps() >= state_->recipe.steps;
}

Weights Trainer::weights() const {
  Weights all;
  for (std::size_t i = 0; i < state_->names.size(); ++i)
    all.emplace(state_->names[i], state_->leaves[i].detach().to(at::kCPU).clone());
  return all;
}

double Trainer::loss_on(const at::Tensor& tokens, bool training) const {
  const at::NoGradGuard no_gradients;
  PassOptions options;
  options.training = training;
  const auto model = state_->model();
  double sum = 0;
  for (std::int64_t i = 0; i < tokens.size(0); ++i)
    sum += next_token_loss(model.forward({tokens[i], {}, Padding::none}, options), tokens[i]).item<double>();
  return sum / static_cast<double>(tokens.size(0));
}

void Trainer::save(const std::filesystem::path& file, const std::string& fingerprint) const {
  const auto& s = *state_;
  NamedTensors all;
  for (std::size_t i = 0; i < s.names.size(); ++i) {
    all.emplace_back("parameter." + s.names[i], s.leaves[i].detach());
    all.emplace_back("first." + s.names[i], s.first[i]);
    all.emplace_back("second." + s.names[i], s.second[i]);
  }
  const auto values = [](const std::vector<double>& of) {
    return at::tensor(at::ArrayRef<double>(of), at::kDouble);
  };
  all.emplace_back("losses", values(s.course.losses));
  all.emplace_back("norms", values(s.course.norms));
  write_safetensors(file, all, {{"training", fingerprint}});
}

void Trainer::load(const std::filesystem::path& file, const std::string& fingerprint) {
  auto& s = *state_;
  const auto path = printable(file.string());
  const auto stored = read_safetensors(file);
  const auto training = stored.metadata.find("training");
  if (training == stored.metadata.end() || training->second != fingerprint)
    throw InputError(
        fmt::format("{}: is the state of another training; remove it, or name another --out", path));
  const std::map<std::string, at::Tensor> tensors(stored.tensors.begin(), stored.tensors.end());
  const auto tensor_of = [&](const std::string& tensor, at::IntArrayRef sizes, at::ScalarType type) {
    const auto found = tensors.find(tensor);
    if (found == tensors.end() || found->second.sizes() != sizes || found->second.scalar_type() != type)
      throw InputError(fmt::format("{}: holds no {} of the expected shape; remove it", path, tensor));
    return found->second;
  };
  const auto numbers = [&](const char* tensor) {
    const auto found = tensors.find(tensor);
    const auto count = found == tensors.end() ? 0 : found->second.numel();
    const auto value = tensor_of(tensor, {count}, at::kDouble);
    return std::vector<double>(value.data_ptr<double>(), value.data_ptr<double>() + count);
  };
  TrainingHistory course{numbers("losses"), numbers("norms")};
  if (course.losses.size() != course.norms.size() || course.steps() > s.recipe.steps)
    throw InputError(fmt::format("{}: its curves do not have one value for each step; remove it", path));
  const at::NoGradGuard no_gradients;
  for (std::size_t i = 0; i < s.names.size(); ++i) {
    s.leaves[i].copy_(tensor_of("parameter." + s.names[i], s.leaves[i].sizes(), at::kFloat));
    s.first[i].copy_(tensor_of("first." + s.names[i], s.leaves[i].sizes(), at::kFloat));
    s.second[i].copy_(tensor_of("second." + s.names[i], s.leaves[i].sizes(), at::kFloat));
    s.count[i].fill_(static_cast<double>(course.steps()));
  }
  s.course = std::move(course);
}

}  // namespace plumbline
