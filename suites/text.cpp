// Chapter 10: what a candidate writes, by samplers and a generator of our own, and by its own loop.
#include <algorithm>
#include <cmath>

#include "harness/candidate/generation.hpp"
#include "harness/judging/own_text.hpp"
#include "harness/model/departures/departures.hpp"
#include "harness/system/error.hpp"
#include "suites/requirement.hpp"

namespace plumbline {
namespace {

// Prompts of unlike lengths, (tokens) each.
std::vector<std::vector<Token>> some_prompts(Subject& subject) {
  std::vector<std::vector<Token>> prompts;
  for (const std::int64_t length : {7, 3, 9, 4}) {
    const auto ids = probe(subject, fmt::format("prompt of {}", length), 1, length).ids;
    prompts.emplace_back(ids.data_ptr<std::int64_t>(), ids.data_ptr<std::int64_t>() + length);
  }
  return prompts;
}

using Expect = std::function<Expected(const Tokens&)>;

// Whether every token of the texts, (tokens) each, is the one that these logits call for after what stands
// before it; but where rounding may decide.
void expect_chosen(Subject& subject, const std::string& what, const std::vector<std::vector<Token>>& prompts,
                   const std::vector<std::vector<Token>>& texts, const Sampling& sampling, std::uint32_t seed,
                   const std::string& whose, const Expect& ask) {
  std::int64_t compared = 0, near = 0;
  std::string wrong;
  for (std::size_t row = 0; row < texts.size() && wrong.empty(); ++row) {
    auto all = prompts[row];
    all.insert(all.end(), texts[row].begin(), texts[row].end());
    const std::vector<std::int64_t> ids(all.begin(), all.end());
    const auto [exact, noise] =
        ask({at::tensor(at::ArrayRef<std::int64_t>(ids), at::kLong).unsqueeze(0), {}, Padding::none});
    const auto logits = exact.to(at::kFloat).contiguous();
    const auto words = static_cast<std::size_t>(logits.size(2));
    for (std::size_t step = 0; step < texts[row].size(); ++step) {
      const auto place = prompts[row].size() + step;  // of the token
      Choice right;
      try {
        right = choose({logits.data_ptr<float>() + (place - 1) * words, words}, sampling,
                       Sequence(all.data(), place), uniform_of(seed, row, step));
      } catch (const std::domain_error& error) {
        expect_that(subject, false, what,
                    fmt::format("after a prompt of {}, {}", prompts[row].size(), error.what()),
                    "logits to choose by");
        return;
      }
      if (right.margin <= noise) {
        ++near;
        continue;
      }
      ++compared;
      if (right.token == texts[row][step]) continue;
      wrong = fmt::format(
          "token {} of the text after a prompt of {} is {}, where {} is {} by a margin of {} "
          "(rounding explains {})",
          step, prompts[row].size(), texts[row][step], whose, right.token, number(right.margin),
          number(noise));
      break;
    }
  }
  if (wrong.empty() && compared <= near) {
    subject.recorder().not_assessed(
        fmt::format("{}: {} of {} choices are nearer to another than rounding, too many to say anything",
                    what, near, near + compared));
    return;
  }
  auto check =
      compare_text(what, wrong.empty() ? fmt::format("{} tokens as {}", compared, whose) : wrong, whose);
  check.within = wrong.empty();
  check.elements = compared + (wrong.empty() ? 0 : 1);
  expect(subject, std::move(check));
  if (near > 0)
    subject.recorder().finding(
        fmt::format("{}: {} of {} choices are nearer to another than rounding, and were not compared", what,
                    near, near + compared));
}

// Text that we have it write, each token by our own sampler.
void expect_written(Subject& subject, const std::string& what, const GenerationOptions& options) {
  const at::NoGradGuard no_gradients;
  const auto prompts = some_prompts(subject);
  std::vector<std::vector<Token>> texts;
  try {
    for (const auto& one : generate(subject.running(), prompts, options, [](std::int64_t, std::int64_t) {}))
      texts.push_back(one.tokens);
  } catch (const NoChoice& error) {  // anything else that goes wrong is not the model's
    expect_that(subject, false, what, error.what(), "tokens");
    return;
  }
  expect_chosen(subject, what, prompts, texts, options.sampling, options.seed, "the specification's",
                [&](const Tokens& tokens) -> Expected {
                  const auto exact = subject.exact().forward(tokens).to(at::kCPU);
                  return {exact, off_between(subject, exact, subject.rounded().forward(tokens).to(at::kCPU))};
                });
}

GenerationOptions some_tokens(Subject& subject) {
  GenerationOptions options;
  options.longest = subject.specification().max_position_embeddings;
  options.most_tokens = std::min<std::int64_t>(16, options.longest - 9);
  if (options.most_tokens < 1) not_assessed("the model has too few positions for a prompt and a text");
  options.vocabulary = subject.specification().vocab_size;
  options.sampling.temperature = 0;
  return options;
}

}  // namespace

REQUIREMENT("TXT-1", "greedy text from several prompts at once matches the specification") {
  expect_written(subject, "greedy text", some_tokens(subject));
}

REQUIREMENT("TXT-2", "sampled text is what the same seed gives with the specification's probabilities") {
  auto options = some_tokens(subject);
  // So low that few tokens share the probability: among thousands that are about as likely, rounding decides.
  options.sampling.temperature = 0.1;
  options.seed = 5;
  expect_written(subject, "text at temperature 0.1", options);
  options.sampling.temperature = 0.8;
  options.sampling.top_k = 20;
  options.sampling.top_p = 0.9;
  options.sampling.repetition_penalty = 1.2;
  expect_written(subject,
                 "text at temperature 0.8, of the 20 likeliest and 0.9 of the probability, penalty 1.2",
                 options);
}

namespace {

// Row by row, without padding and without what follows a row's end.
std::vector<std::vector<Token>> rows_of(const at::Tensor& ids, const at::Tensor& real) {
  std::vector<std::vector<Token>> all;
  for (std::int64_t row = 0; row < ids.size(0); ++row) {
    all.emplace_back();
    for (const auto& token : ids[row].masked_select(real[row]).unbind())
      all.back().push_back(static_cast<Token>(token.item<std::int64_t>()));
  }
  return all;
}

// Where no token ends a text, as many are written as were asked for.
bool went_on(Subject& subject, const std::string& what, const at::Tensor& text) {
  const auto missing = (text < 0).sum().item<std::int64_t>();
  if (missing > 0)
    expect_that(subject, false, what, fmt::format("{} of {} tokens were not written", missing, text.numel()),
                "text goes on, since nothing was said to end it");
  return missing == 0;
}

// Greedy text of its own loop is that of its own logits: a wrong model is not this requirement's business.
void expect_own_greedy(Subject& subject, const std::string& what, const Tokens& prompts,
                       const Sampling& sampling) {
  const auto text = own_text(subject, prompts, sampling, 12).tokens;
  if (!went_on(subject, what, text)) return;
  expect_chosen(subject, what, rows_of(prompts.ids, real_tokens(prompts)), rows_of(text, text >= 0), sampling,
                1, "that of its own logits",
                [&](const Tokens& tokens) { return own_expected(subject, tokens); });
}

// The logits after the prompt: (V) float64.
Expected after_prompt(Subject& subject) {
  const auto [all, off] = own_expected(subject, own_prompts(subject, 1));
  return {all[0][-1], off};
}

constexpr std::int64_t kDraws = 512;
constexpr double kUnlikely = 1e-6;

// Pearson's chi-squared test of 512 tokens, drawn in rows of one batch, rare ones taken together. An honest
// loop fails once in a million runs.
void expect_drawn(Subject& subject, const std::string& what, const at::Tensor& probabilities,
                  const Sampling& sampling) {
  const auto drawn = own_text(subject, own_prompt_repeated(subject, kDraws), sampling, 1, 3).tokens.flatten();
  if (!went_on(subject, what, drawn.unsqueeze(1))) return;
  const auto counts = at::bincount(drawn.clamp_min(0), {}, probabilities.size(0)).to(at::kDouble);
  const auto expected = probabilities * static_cast<double>(kDraws);
  const auto outside = counts.masked_select(probabilities < 1e-12).sum().item<double>();
  const auto usual = expected >= 5;
  const auto rare = ~usual;
  auto seen = counts.masked_select(usual), right = expected.masked_select(usual);
  if (expected.masked_select(rare).sum().item<double>() >= 5) {
    seen = at::cat({seen, counts.masked_select(rare).sum().view(1)});
    right = at::cat({right, expected.masked_select(rare).sum().view(1)});
  }
  if (seen.size(0) < 2) not_assessed("too few tokens share the probability to tell anything from draws");
  const auto statistic = ((seen - right).square() / right).sum();
  const auto freedom = static_cast<double>(seen.size(0) - 1);
  const double p =
      at::special_gammaincc(at::scalar_tensor(freedom / 2, at::kDouble), statistic / 2).item<double>();
  const bool holds = p >= kUnlikely && outside == 0;
  auto check = compare_text(
      what,
      outside > 0 ? fmt::format("{} of {} tokens are ones that its settings leave out", outside, kDraws)
                  : fmt::format("{} tokens, chi-squared {} on {} degrees of freedom (p = {})", kDraws,
                                number(statistic.item<double>()), freedom, number(p)),
      fmt::format("drawn with the probabilities that its logits and settings call for (p of {} or more)",
                  kUnlikely));
  check.within = holds;
  check.elements = kDraws;
  expect(subject, std::move(check));
}

// The settings of this kind do what they say to the candidate's own logits.
void expect_sampled(Subject& subject, const std::string& needs) {
  const auto after = after_prompt(subject);
  const auto prompt = own_prompts(subject, 1).ids[0];
  for (const auto& way : ways_of_sampling(after.logits)) {
    if (way.needs != needs) continue;
    const auto right = next_probabilities(after.logits, prompt, way.sampling);
    if (!subject.can("generate.probabilities")) {
      expect_drawn(subject, way.name + ", the first token", right, way.sampling);
      continue;
    }
    std::vector<std::pair<std::string, at::Tensor>> wrong;
    const auto tolerance = drawn_within(right, way.sampling, after.off);
    for (const auto& name : way.mistakes) {
      const auto other = depart(subject.specification(), name)
                             .formulas.probabilities(after.logits, prompt, prompt.size(0), way.sampling);
      if (((other - right).abs() / tolerance.bound).max().item<double>() < 10)
        not_assessed(fmt::format("{}: rounding hides what is right from {}", way.name, name));
      wrong.emplace_back(name, other);
    }
    expect_told_apart(subject, "probabilities of the first token at " + way.name,
                      own_probabilities(subject, way.sampling), right, wrong, tolerance);
  }
}

}  // namespace

REQUIREMENT("TXT-3", "greedy text of the candidate's own loop is that of its own logits") {
  const at::NoGradGuard no_gradients;
  expect_own_greedy(subject, "its own greedy text", own_prompts(subject, 3), greedy());
  for (const auto side : {Padding::left, Padding::right}) {
    const std::string name = side == Padding::left ? "left" : "right";
    if (subject.can("generate.padding." + name))
      expect_own_greedy(subject, fmt::format("its own greedy text of prompts padded on the {}", name),
                        own_prompts_padded(subject, side), greedy());
  }
}

REQUIREMENT("TXT-4", "temperature divides the logits") {
  const at::NoGradGuard no_gradients;
  expect_sampled(subject, "generate.temperature");
}

REQUIREMENT("TXT-5", "top-k keeps the k likeliest tokens") {
  const at::NoGradGuard no_gradients;
  expect_sampled(subject, "generate.top_k");
}

REQUIREMENT("TXT-6", "top-p keeps the fewest tokens that reach p, after the temperature") {
  const at::NoGradGuard no_gradients;
  expect_sampled(subject, "generate.top_p");
}

REQUIREMENT("TXT-7", "the repetition penalty makes what was said less likely, once") {
  const at::NoGradGuard no_gradients;
  if (subject.can("generate.probabilities") && subject.can("generate.temperature"))
    expect_sampled(subject, "generate.repetition_penalty");
  expect_own_greedy(subject, "its own greedy text with penalty 1.5", own_prompts(subject, 3), greedy(1.5));
}

REQUIREMENT("TXT-8", "tokens are drawn as their probabilities say, each sequence for itself") {
  const at::NoGradGuard no_gradients;
  const auto after = after_prompt(subject);
  const auto way = ways_of_sampling(after.logits).front();
  expect_drawn(subject, fmt::format("{} sequences of a batch at {}", kDraws, way.name),
               next_probabilities(after.logits, own_prompts(subject, 1).ids[0], way.sampling), way.sampling);
}

REQUIREMENT("TXT-9", "the same seed writes the same text, and another seed writes another") {
  const at::NoGradGuard no_gradients;
  Sampling sampling;
  const auto once = own_text(subject, own_prompts(subject, 3), sampling, 24, 5).tokens,
             again = own_text(subject, own_prompts(subject, 3), sampling, 24, 5).tokens,
             other = own_text(subject, own_prompts(subject, 3), sampling, 24, 6).tokens;
  const auto said = [](bool same) { return same ? "the same text" : "other text"; };
  expect_that(subject, once.equal(again), "seed 5 twice, three prompts of 24 tokens", said(once.equal(again)),
              said(true));
  expect_that(subject, !once.equal(other), "seeds 5 and 6, three prompts of 24 tokens",
              said(once.equal(other)), said(false));
}

REQUIREMENT("TXT-10", "text ends at the end token, and there alone") {
  const at::NoGradGuard no_gradients;
  const auto whole = own_text(subject, own_prompts(subject, 3), greedy(), 12).tokens;
  const auto end = token_within(whole);
  const auto text = own_text(subject, own_prompts(subject, 3), greedy(), 12, 1, end).tokens;
  const auto right = ended_at(whole, end);
  const auto wrong = (text != right).nonzero();
  expect_that(
      subject, text.equal(right), fmt::format("its own greedy text, of which token {} is the end", end),
      wrong.size(0) == 0 ? "ends there"
                         : fmt::format("in row {}, place {}, there is {} for {} (-1: nothing)",
                                       wrong[0][0].item<std::int64_t>(), wrong[0][1].item<std::int64_t>(),
                                       text[wrong[0][0]][wrong[0][1]].item<std::int64_t>(),
                                       right[wrong[0][0]][wrong[0][1]].item<std::int64_t>()),
      "what it writes without an end, as far as that token");
}

}  // namespace plumbline
