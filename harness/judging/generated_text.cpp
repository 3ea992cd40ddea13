#include "harness/judging/generated_text.hpp"

#include <algorithm>
#include <cmath>

namespace plumbline {
namespace {

constexpr std::int64_t kPromptTokens = 7;

// The temperature at which the perplexity, the exponential of the entropy, is `choices`; kept away from 1,
// where it has no effect. Rounded to three digits, so that rounding of the logits does not change it.
double temperature_for(const at::Tensor& logits, double choices) {
  double low = 0.01, high = 100;
  for (int step = 0; step < 60; ++step) {
    const double middle = std::sqrt(low * high);
    const auto logarithms = at::log_softmax(logits / middle, 0);
    const double entropy = -(logarithms.exp() * logarithms).sum().item<double>();
    (entropy < std::log(choices) ? low : high) = middle;
  }
  double found = std::sqrt(low * high);
  if (found > 0.75 && found < 1.4) found = 0.75;
  const double digit = std::pow(10, std::floor(std::log10(found)) - 2);
  return std::round(found / digit) * digit;
}

// The k from 2 to 9 with the largest gap between the k-th and the next score.
std::int64_t k_before_largest_gap(const at::Tensor& scores) {
  const auto count = std::min<std::int64_t>(10, scores.size(0));
  const auto sorted = std::get<0>(scores.topk(count));
  const auto gaps = sorted.narrow(0, 1, count - 2) - sorted.narrow(0, 2, count - 2);
  return gaps.argmax().item<std::int64_t>() + 2;
}

// The top-p that the k-th token crosses in its middle.
double top_p_within(const at::Tensor& scores, std::int64_t k) {
  const auto sorted = std::get<0>(at::softmax(scores, 0).topk(k));
  const double share = (sorted.sum() - sorted[k - 1] / 2).item<double>();
  return std::round(share * 1e4) / 1e4;
}

}  // namespace

std::vector<SamplingCase> sampling_cases(const at::Tensor& model_logits) {
  const auto logits = model_logits.to(at::kDouble);
  const double low = temperature_for(logits, 8), high = temperature_for(logits, 20);
  const auto k = k_before_largest_gap(logits);
  const auto name = [](const char* format, double value) {
    return fmt::format(fmt::runtime(format), number(value));
  };
  std::vector<SamplingCase> all = {
      {name("temperature {}", low), "generate.temperature", {}, {"text-temperature-multiplied"}},
      {fmt::format("the {} likeliest, temperature {}", k, number(high)),
       "generate.top_k",
       {},
       {"text-top-k-one-more"}},
      {"", "generate.top_p", {}, {"text-top-p-before-temperature", "text-top-p-stops-short"}},
      {"penalty 2",
       "generate.repetition_penalty",
       {},
       {"text-penalty-divides-all", "text-penalty-per-occurrence", "text-penalty-not-on-prompt"}}};
  all[0].sampling.temperature = low;
  all[1].sampling.temperature = high;
  all[1].sampling.top_k = k;
  all[2].sampling.temperature = low;
  all[2].sampling.top_p = top_p_within(logits / low, k);
  all[2].name =
      fmt::format("{} of the probability, temperature {}", number(all[2].sampling.top_p), number(low));
  all[3].sampling.repetition_penalty = 2;
  return all;
}

Tokens generation_prompts(Subject& subject, std::int64_t rows) {
  auto tokens = probe(subject, "own text", rows, kPromptTokens);
  for (const auto repeated : {2, 5}) tokens.ids.select(1, repeated).copy_(tokens.ids.select(1, 0));
  return tokens;
}

Tokens padded_generation_prompts(Subject& subject, Padding side) {
  const std::vector<std::int64_t> lengths{kPromptTokens, 3, 5};
  const auto unpadded = generation_prompts(subject, 3).ids;
  Tokens padded{at::zeros_like(unpadded), lengths, side};
  for (std::int64_t row = 0; row < 3; ++row) {
    const auto length = lengths[static_cast<std::size_t>(row)];
    const auto first = side == Padding::right ? 0 : kPromptTokens - length;
    padded.ids[row].narrow(0, first, length).copy_(unpadded[row].narrow(0, 0, length));
  }
  return padded;
}

Tokens repeated_generation_prompt(Subject& subject, std::int64_t rows) {
  return {generation_prompts(subject, 1).ids.expand({rows, -1}).contiguous(), {}, Padding::none};
}

Sampling greedy(double penalty) {
  Sampling sampling;
  sampling.temperature = 0;
  sampling.repetition_penalty = penalty;
  return sampling;
}

GeneratedText generate_text(Subject& subject, const Tokens& prompts, const Sampling& sampling,
                            std::int64_t most_tokens, std::uint32_t seed, std::optional<std::int64_t> end) {
  TextRequest request;
  request.sampling = sampling;
  request.most_tokens = most_tokens;
  request.seed = seed;
  request.end = end;
  return subject.running().generate(prompts, request);
}

double rounding_error_between(Subject& subject, const at::Tensor& one, const at::Tensor& other) {
  const auto roundoff = unit_roundoff(subject.candidate().type());
  return 4 * largest(finite(one) - finite(other)) + 2 * roundoff * largest(finite(one));
}

ExpectedLogits expected_logits(Subject& subject, const Tokens& tokens) {
  const auto full = logits(subject, tokens).to(at::kDouble);
  if (!subject.can("cache")) return {full, subject.noise("logits", full).bound.max().item<double>()};
  const auto steps = cached_logits(
      subject, tokens,
      prefill_then_single_tokens(std::min<std::int64_t>(3, tokens.ids.size(1)), tokens.ids.size(1)));
  return {full, rounding_error_between(subject, full, steps.to(at::kDouble))};
}

bool follows_logits(Subject& subject, const Tokens& prompts, const at::Tensor& text, double penalty) {
  const auto real = real_tokens(prompts);
  for (std::int64_t row = 0; row < text.size(0); ++row) {
    const auto prompt = prompts.ids[row].masked_select(real[row]);
    const auto generated = text[row].masked_select(text[row] >= 0);
    const auto all = at::cat({prompt, generated});
    const auto [logits, error] = expected_logits(subject, {all.unsqueeze(0), {}, Padding::none});
    for (std::int64_t place = prompt.size(0); place < all.size(0); ++place) {
      const auto scores =
          penalise_repetition(logits[0][place - 1].to(at::kDouble), all.narrow(0, 0, place), penalty);
      const auto difference = scores.max() - scores[all[place]];
      if (!(difference.item<double>() <= 2 * error * std::max(penalty, 1 / penalty))) return false;
    }
  }
  return true;
}

Tolerance probability_tolerance(const at::Tensor& probabilities, const Sampling& sampling, double error) {
  const double penalty = std::max(sampling.repetition_penalty, 1 / sampling.repetition_penalty);
  const double factor = std::expm1(2 * error * penalty / sampling.temperature);
  return Tolerance::each(
      probabilities * factor + 1e-5 * probabilities + 1e-8,
      fmt::format("logits that are off by {} move a probability by {} of itself at temperature {}",
                  number(error), number(factor), number(sampling.temperature)));
}

at::Tensor sampling_probabilities(Subject& subject, const Sampling& sampling) {
  const auto text = generate_text(subject, generation_prompts(subject, 1), sampling, 1);
  if (!text.probabilities.defined())
    throw NotShown("it did not show the probabilities that it drew a token with");
  return text.probabilities.flatten().to(at::kCPU, at::kDouble);
}

std::int64_t end_token_of(const at::Tensor& text) {
  return text[0][std::min<std::int64_t>(3, text.size(1) - 1)].item<std::int64_t>();
}

at::Tensor end_text_at(const at::Tensor& text, std::int64_t end) {
  const auto ends = (text == end).to(at::kLong);
  return text.masked_fill(ends.cumsum(1) - ends > 0, -1);
}

namespace {

Weights with_tokens_exchanged(Weights weights, std::int64_t one, std::int64_t other) {
  for (const auto* name : {"model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"}) {
    const auto found = weights.find(name);
    if (found == weights.end()) continue;
    found->second = found->second.clone();
    const auto kept = found->second[one].clone();
    found->second[one].copy_(found->second[other]);
    found->second[other].copy_(kept);
  }
  return weights;
}

at::Tensor with_tokens_exchanged(const at::Tensor& text, std::int64_t one, std::int64_t other) {
  return at::where(text == one, at::scalar_tensor(other, at::kLong),
                   at::where(text == other, at::scalar_tensor(one, at::kLong), text));
}

}  // namespace

std::optional<TextWithToken> text_with_token(Subject& subject, std::int64_t id, std::int64_t written) {
  constexpr std::int64_t most = 6;
  const Tokens prompts{
      with_tokens_exchanged(generation_prompts(subject, 3).ids, written, id), {}, Padding::none};
  std::optional<TextWithToken> found;
  subject.with_weights(with_tokens_exchanged(subject.weights(), written, id), [&](Candidate&) {
    const auto text = [&](std::optional<std::int64_t> end) {
      return generate_text(subject, prompts, greedy(), most, 1, end).tokens;
    };
    // Few of the last ids can be in a text of so few tokens.
    for (auto other = subject.specification().vocab_size - 1; other > 3 && !found; --other) {
      const auto whole = text(other);
      if ((whole == other).any().item<bool>() || (whole < 0).any().item<bool>()) continue;
      if (!(whole == id).any().item<bool>()) return;
      found = {whole, text(std::nullopt), text(id)};
    }
  });
  return found;
}

}  // namespace plumbline
