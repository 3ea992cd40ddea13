#include "harness/model/text_generation.hpp"

#include <ATen/core/grad_mode.h>

#include <vector>

namespace plumbline {
namespace {

// Samples by the inverse of the cumulative distribution over token ids.
std::int64_t draw(const at::Tensor& probabilities, double uniform) {
  const auto cumulative = probabilities.cumsum(0);  // (V)
  const auto total = cumulative[-1].item<double>();
  const auto token =
      at::searchsorted(cumulative, uniform * total, false, /*right=*/true).item<std::int64_t>();
  return std::min(token, probabilities.nonzero().max().item<std::int64_t>());
}

}  // namespace

GeneratedText generate(const Model& model, const Tokens& prompts, const TextRequest& request) {
  const at::NoGradGuard no_gradients;
  const auto& formulas = model.formulas();
  const auto batch = prompts.ids.size(0), steps = request.most_tokens;
  const auto written = formulas.tokens_to_write(steps, prompts.ids.size(1));
  const auto real = real_tokens(prompts);  // (B, T)
  GeneratedText text{at::full({batch, steps}, -1, at::kLong),
                     at::zeros({batch, steps, model.specification().vocab_size}, at::kDouble)};
  std::vector<at::Tensor> previous;  // of each row, prompt included: (n)
  std::vector<std::int64_t> prompt_lengths;
  for (std::int64_t row = 0; row < batch; ++row) {
    previous.push_back(prompts.ids[row].masked_select(real[row]));
    prompt_lengths.push_back(previous.back().size(0));
  }
  std::vector<bool> ended(static_cast<std::size_t>(batch), false);
  auto cache = model.make_cache(batch, prompts.ids.size(1) + steps);
  auto logits = formulas.last_logits(model.extend(cache, prompts).to(at::kCPU), real);  // (B, V)
  for (std::int64_t step = 0; step < written; ++step) {
    auto next = at::zeros({batch, 1}, at::kLong);
    for (std::size_t row = 0; row < previous.size(); ++row) {
      if (ended[row]) continue;
      const auto b = static_cast<std::int64_t>(row);
      const auto probabilities = formulas.token_probabilities(logits[b], previous[row], prompt_lengths[row],
                                                              request.sampling);  // (V)
      const auto token =
          draw(probabilities, formulas.random_number(request.seed, row, static_cast<std::uint64_t>(step)));
      text.tokens[b][step] = next[b][0] = token;
      text.probabilities[b][step].copy_(probabilities);
      previous[row] = at::cat({previous[row], next[b]});
      ended[row] = formulas.ends_text(token, request.end);
    }
    if (step + 1 == written || formulas.stops(ended)) break;
    logits = model.extend(cache, {next, {}, Padding::none}).to(at::kCPU).select(1, 0);
  }
  return text;
}

}  // namespace plumbline
