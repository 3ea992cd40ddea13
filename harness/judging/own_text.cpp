#include "harness/judging/own_text.hpp"

#include <algorithm>
#include <cmath>

namespace plumbline {
namespace {

constexpr std::int64_t kPromptTokens = 7;

// Where so many tokens share the probability (the exponential of the entropy), and well away from 1, where
// nobody could tell it from none. Three digits, so that rounding moves it nowhere.
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

// The place from 2 to 9 of the largest step down: so many are kept.
std::int64_t clearest_edge(const at::Tensor& scores) {
  const auto most = std::min<std::int64_t>(10, scores.size(0));
  const auto sorted = std::get<0>(scores.topk(most));
  const auto steps = sorted.narrow(0, 1, most - 2) - sorted.narrow(0, 2, most - 2);
  return steps.argmax().item<std::int64_t>() + 2;
}

// A share that the last of so many tokens crosses in its middle.
double share_of(const at::Tensor& scores, std::int64_t kept) {
  const auto sorted = std::get<0>(at::softmax(scores, 0).topk(kept));
  const double share = (sorted.sum() - sorted[kept - 1] / 2).item<double>();
  return std::round(share * 1e4) / 1e4;
}

}  // namespace

std::vector<WayOfSampling> ways_of_sampling(const at::Tensor& given) {
  const auto logits = given.to(at::kDouble);
  const double few = temperature_for(logits, 8), more = temperature_for(logits, 20);
  const auto kept = clearest_edge(logits);
  const auto name = [](const char* format, double value) {
    return fmt::format(fmt::runtime(format), number(value));
  };
  std::vector<WayOfSampling> all = {
      {name("temperature {}", few), "generate.temperature", {}, {"text-temperature-multiplied"}},
      {fmt::format("the {} likeliest, temperature {}", kept, number(more)),
       "generate.top_k",
       {},
       {"text-top-k-one-more"}},
      {"", "generate.top_p", {}, {"text-top-p-before-temperature", "text-top-p-stops-short"}},
      {"penalty 2",
       "generate.repetition_penalty",
       {},
       {"text-penalty-divides-all", "text-penalty-per-occurrence", "text-penalty-not-on-prompt"}}};
  all[0].sampling.temperature = few;
  all[1].sampling.temperature = more;
  all[1].sampling.top_k = kept;
  all[2].sampling.temperature = few;
  all[2].sampling.top_p = share_of(logits / few, kept);
  all[2].name =
      fmt::format("{} of the probability, temperature {}", number(all[2].sampling.top_p), number(few));
  all[3].sampling.repetition_penalty = 2;
  return all;
}

Tokens own_prompts(Subject& subject, std::int64_t rows) {
  auto tokens = probe(subject, "own text", rows, kPromptTokens);
  for (const auto again : {2, 5}) tokens.ids.select(1, again).copy_(tokens.ids.select(1, 0));
  return tokens;
}

Tokens own_prompts_padded(Subject& subject, Padding side) {
  const std::vector<std::int64_t> lengths{kPromptTokens, 3, 5};
  const auto whole = own_prompts(subject, 3).ids;
  Tokens padded{at::zeros_like(whole), lengths, side};
  for (std::int64_t row = 0; row < 3; ++row) {
    const auto length = lengths[static_cast<std::size_t>(row)];
    const auto first = side == Padding::right ? 0 : kPromptTokens - length;
    padded.ids[row].narrow(0, first, length).copy_(whole[row].narrow(0, 0, length));
  }
  return padded;
}

Tokens own_prompt_repeated(Subject& subject, std::int64_t rows) {
  return {own_prompts(subject, 1).ids.expand({rows, -1}).contiguous(), {}, Padding::none};
}

Sampling greedy(double penalty) {
  Sampling sampling;
  sampling.temperature = 0;
  sampling.repetition_penalty = penalty;
  return sampling;
}

Text own_text(Subject& subject, const Tokens& prompts, const Sampling& sampling, std::int64_t most_tokens,
              std::uint32_t seed, std::optional<std::int64_t> end) {
  TextRequest request;
  request.sampling = sampling;
  request.most_tokens = most_tokens;
  request.seed = seed;
  request.end = end;
  return subject.running().own_text(prompts, request);
}

double off_between(Subject& subject, const at::Tensor& one, const at::Tensor& other) {
  const auto roundoff = unit_roundoff(subject.candidate().type());
  return 4 * largest(finite(one) - finite(other)) + 2 * roundoff * largest(finite(one));
}

Expected own_expected(Subject& subject, const Tokens& tokens) {
  const auto pass = logits(subject, tokens).to(at::kDouble);
  if (!subject.can("cache")) return {pass, subject.noise("logits", pass).bound.max().item<double>()};
  const auto steps = cached_logits(
      subject, tokens, one_by_one(std::min<std::int64_t>(3, tokens.ids.size(1)), tokens.ids.size(1)));
  return {pass, off_between(subject, pass, steps.to(at::kDouble))};
}

bool follows_its_logits(Subject& subject, const Tokens& prompts, const at::Tensor& text, double penalty) {
  const auto real = real_tokens(prompts);
  for (std::int64_t row = 0; row < text.size(0); ++row) {
    const auto prompt = prompts.ids[row].masked_select(real[row]);
    const auto written = text[row].masked_select(text[row] >= 0);
    const auto all = at::cat({prompt, written});
    const auto [given, off] = own_expected(subject, {all.unsqueeze(0), {}, Padding::none});
    for (std::int64_t place = prompt.size(0); place < all.size(0); ++place) {
      const auto scores = penalised(given[0][place - 1].to(at::kDouble), all.narrow(0, 0, place), penalty);
      const auto behind = scores.max() - scores[all[place]];
      if (!(behind.item<double>() <= 2 * off * std::max(penalty, 1 / penalty))) return false;
    }
  }
  return true;
}

Tolerance drawn_within(const at::Tensor& probabilities, const Sampling& sampling, double off) {
  const double stretched = std::max(sampling.repetition_penalty, 1 / sampling.repetition_penalty);
  const double factor = std::expm1(2 * off * stretched / sampling.temperature);
  return Tolerance::each(
      probabilities * factor + 1e-5 * probabilities + 1e-8,
      fmt::format("logits that are off by {} move a probability by {} of itself at temperature {}",
                  number(off), number(factor), number(sampling.temperature)));
}

at::Tensor own_probabilities(Subject& subject, const Sampling& sampling) {
  const auto text = own_text(subject, own_prompts(subject, 1), sampling, 1);
  if (!text.probabilities.defined())
    throw NotShown("it did not show the probabilities that it drew a token with");
  return text.probabilities.flatten().to(at::kCPU, at::kDouble);
}

std::int64_t token_within(const at::Tensor& text) {
  return text[0][std::min<std::int64_t>(3, text.size(1) - 1)].item<std::int64_t>();
}

at::Tensor ended_at(const at::Tensor& text, std::int64_t end) {
  const auto ends = (text == end).to(at::kLong);
  return text.masked_fill(ends.cumsum(1) - ends > 0, -1);
}

}  // namespace plumbline
