#include "harness/model/gradients.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "harness/model/pass_work.hpp"
#include "harness/model/philox.hpp"
#include "harness/system/work_clock.hpp"

namespace plumbline {

Gradients gradients(const Model& model, const Tokens& tokens, const at::Tensor& labels,
                    const PassOptions& options) {
  const at::AutoGradMode with_gradients(true);
  Weights leaves;
  for (const auto& [name, values] : model.weights())
    leaves.emplace(name, values.detach().clone().set_requires_grad(true));
  const auto differentiable = model.with_weights(leaves);
  const auto loss = model.formulas().loss(differentiable.forward(tokens, options), labels);
  loss.backward();
  WorkClock::add(2 * pass_work(model.specification(), tokens.ids.numel(), tokens.ids.size(1), model.type()));
  Gradients result{loss.detach(), {}};
  for (const auto& [name, leaf] : leaves) {
    const bool reached = leaf.grad().defined();
    result.parameters.emplace(name, reached ? leaf.grad() : at::zeros_like(leaf));
    if (!reached) result.unreached.insert(name);
  }
  return result;
}

at::Tensor random_direction(const ParameterShape& parameter, std::int64_t number, std::uint32_t seed) {
  constexpr std::int64_t kBitsOfBlock = 128;
  const PhiloxStream stream(fmt::format("direction/{}/{}", number, parameter.name), seed);
  auto direction = at::empty(parameter.shape, at::kFloat);
  auto* out = direction.data_ptr<float>();
  const auto size = direction.numel();
  at::parallel_for(
      0, (size + kBitsOfBlock - 1) / kBitsOfBlock, 1 << 10, [&](std::int64_t begin, std::int64_t end) {
        for (auto block = begin; block < end; ++block) {
          const auto words = stream.block(static_cast<std::uint64_t>(block));
          for (std::int64_t bit = 0; bit < std::min(kBitsOfBlock, size - block * kBitsOfBlock); ++bit)
            out[block * kBitsOfBlock + bit] =
                (words[static_cast<std::size_t>(bit / 32)] >> (bit % 32) & 1) != 0 ? 1 : -1;
        }
      });
  return direction;
}

at::Tensor slopes(const std::string& name, const at::Tensor& gradient, std::int64_t directions,
                  std::uint32_t seed) {
  const auto exact = gradient.detach().to(at::kCPU, at::kDouble);
  auto derivatives = at::empty({directions}, at::kDouble);
  for (std::int64_t number = 0; number < directions; ++number)
    derivatives[number] = (exact * random_direction({name, exact.sizes().vec()}, number, seed)).sum();
  return derivatives;
}

}  // namespace plumbline
