#include "harness/model/writing.hpp"

#include <ATen/core/grad_mode.h>

#include <vector>

namespace plumbline {
namespace {

// The inverse of the distribution function at `uniform`, tokens in the order of their ids.
std::int64_t draw(const at::Tensor& probabilities, double uniform) {
  const auto below = probabilities.cumsum(0);  // (V)
  const auto total = below[-1].item<double>();
  const auto token = at::searchsorted(below, uniform * total, false, /*right=*/true).item<std::int64_t>();
  return std::min(token, probabilities.nonzero().max().item<std::int64_t>());
}

}  // namespace

Text write(const Model& model, const Tokens& prompts, const TextRequest& request) {
  const at::NoGradGuard no_gradients;
  const auto& formulas = model.formulas();
  const auto batch = prompts.ids.size(0), steps = request.most_tokens;
  const auto real = real_tokens(prompts);  // (B, T)
  Text text{at::full({batch, steps}, -1, at::kLong),
            at::zeros({batch, steps, model.specification().vocab_size}, at::kDouble)};
  std::vector<at::Tensor> before;  // of each row, prompt included: (n)
  std::vector<std::int64_t> prompt;
  for (std::int64_t row = 0; row < batch; ++row) {
    before.push_back(prompts.ids[row].masked_select(real[row]));
    prompt.push_back(before.back().size(0));
  }
  std::vector<bool> ended(static_cast<std::size_t>(batch), false);
  auto cache = model.make_cache(batch, prompts.ids.size(1) + steps);
  auto last = formulas.last(model.extend(cache, prompts).to(at::kCPU), real);  // (B, V)
  for (std::int64_t step = 0; step < steps; ++step) {
    auto next = at::zeros({batch, 1}, at::kLong);
    for (std::size_t row = 0; row < before.size(); ++row) {
      if (ended[row]) continue;
      const auto b = static_cast<std::int64_t>(row);
      const auto probabilities =
          formulas.probabilities(last[b], before[row], prompt[row], request.sampling);  // (V)
      const auto token =
          draw(probabilities, formulas.random(request.seed, row, static_cast<std::uint64_t>(step)));
      text.tokens[b][step] = next[b][0] = token;
      text.probabilities[b][step].copy_(probabilities);
      before[row] = at::cat({before[row], next[b]});
      ended[row] = request.end && formulas.ends(token, *request.end);
    }
    if (step + 1 == steps || std::find(ended.begin(), ended.end(), false) == ended.end()) break;
    last = model.extend(cache, {next, {}, Padding::none}).to(at::kCPU).select(1, 0);
  }
  return text;
}

}  // namespace plumbline
