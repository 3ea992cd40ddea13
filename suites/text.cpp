// Chapter 10: generated text, by Plumbline's sampler and by the candidate's own loop.
#include <algorithm>
#include <cmath>

#include "harness/candidate/generation.hpp"
#include "harness/judging/generated_text.hpp"
#include "harness/model/departures/departures.hpp"
#include "harness/system/error.hpp"
#include "suites/requirement.hpp"

namespace plumbline {
namespace {

// Prompts of several lengths, (tokens) each.
std::vector<std::vector<Token>> prompts_of_several_lengths(Subject& subject) {
  std::vector<std::vector<Token>> prompts;
  for (const std::int64_t length : {7, 3, 9, 4}) {
    const auto ids = probe(subject, fmt::format("prompt of {}", length), 1, length).ids;
    prompts.emplace_back(ids.data_ptr<std::int64_t>(), ids.data_ptr<std::int64_t>() + length);
  }
  return prompts;
}

using LogitsOf = std::function<ExpectedLogits(const Tokens&)>;

// Expects every token of the texts, (tokens) each, to be the one that our sampler chooses from these logits
// and random numbers. Choices that rounding may decide are left out.
void expect_choices(Subject& subject, const std::string& what, const std::vector<std::vector<Token>>& prompts,
                    const std::vector<std::vector<Token>>& texts, const Sampling& sampling,
                    std::uint32_t seed, const std::string& whose, const LogitsOf& logits_of) {
  std::int64_t compared = 0, undecided = 0;
  std::string mistake;
  for (std::size_t row = 0; row < texts.size() && mistake.empty(); ++row) {
    auto all = prompts[row];
    all.insert(all.end(), texts[row].begin(), texts[row].end());
    const std::vector<std::int64_t> ids(all.begin(), all.end());
    const auto [exact, noise] =
        logits_of({at::tensor(at::ArrayRef<std::int64_t>(ids), at::kLong).unsqueeze(0), {}, Padding::none});
    const auto logits = exact.to(at::kFloat).contiguous();
    const auto vocabulary = static_cast<std::size_t>(logits.size(2));
    for (std::size_t step = 0; step < texts[row].size(); ++step) {
      const auto place = prompts[row].size() + step;  // of the token
      Choice expected;
      try {
        expected = choose({logits.data_ptr<float>() + (place - 1) * vocabulary, vocabulary}, sampling,
                          Sequence(all.data(), place), uniform_of(seed, row, step));
      } catch (const std::domain_error& error) {
        expect_that(subject, false, what,
                    fmt::format("after a prompt of {}, {}", prompts[row].size(), error.what()),
                    "logits to choose by");
        return;
      }
      if (expected.margin <= noise) {
        ++undecided;
        continue;
      }
      ++compared;
      if (expected.token == texts[row][step]) continue;
      mistake = fmt::format(
          "token {} of the text after a prompt of {} is {}, where {} is {} by a margin of {} "
          "(rounding explains {})",
          step, prompts[row].size(), texts[row][step], whose, expected.token, number(expected.margin),
          number(noise));
      break;
    }
  }
  if (mistake.empty() && compared <= undecided) {
    subject.recorder().not_assessed(fmt::format(
        "{}: {} of {} choices are between tokens that rounding cannot tell apart, too many to judge the text",
        what, undecided, undecided + compared));
    return;
  }
  auto check =
      compare_text(what, mistake.empty() ? fmt::format("{} tokens as {}", compared, whose) : mistake, whose);
  check.within = mistake.empty();
  check.elements = compared + (mistake.empty() ? 0 : 1);
  expect(subject, std::move(check));
  if (undecided > 0)
    subject.recorder().finding(fmt::format(
        "{}: {} of {} choices are between tokens that rounding cannot tell apart, and were not compared",
        what, undecided, undecided + compared));
}

// Expects text that our own sampler writes with the candidate to be the specification's.
void expect_sampled_by_us(Subject& subject, const std::string& what, const GenerationOptions& options) {
  const at::NoGradGuard no_gradients;
  const auto prompts = prompts_of_several_lengths(subject);
  std::vector<std::vector<Token>> texts;
  try {
    for (const auto& text : generate(subject.running(), prompts, options, [](std::int64_t, std::int64_t) {}))
      texts.push_back(text.tokens);
  } catch (const NoChoice& error) {  // other errors are not the model's
    expect_that(subject, false, what, error.what(), "tokens");
    return;
  }
  expect_choices(subject, what, prompts, texts, options.sampling, options.seed, "the specification's",
                 [&](const Tokens& tokens) -> ExpectedLogits {
                   const auto exact = subject.exact().forward(tokens).to(at::kCPU);
                   return {exact, rounding_error_between(subject, exact,
                                                         subject.rounded().forward(tokens).to(at::kCPU))};
                 });
}

GenerationOptions greedy_options(Subject& subject) {
  GenerationOptions options;
  options.most_positions = subject.specification().max_position_embeddings;
  options.most_tokens = std::min<std::int64_t>(16, options.most_positions - 9);
  if (options.most_tokens < 1) not_assessed("the model has too few positions for a prompt and a text");
  options.vocabulary = subject.specification().vocab_size;
  options.sampling.temperature = 0;
  return options;
}

}  // namespace

REQUIREMENT("TXT-1", "greedy text from several prompts at once matches the specification") {
  expect_sampled_by_us(subject, "greedy text", greedy_options(subject));
}

REQUIREMENT("TXT-2", "sampled text is what the same seed gives with the specification's probabilities") {
  auto options = greedy_options(subject);
  // A low temperature, so that few tokens share the probability and rounding decides rarely.
  options.sampling.temperature = 0.1;
  options.seed = 5;
  expect_sampled_by_us(subject, "text at temperature 0.1", options);
  options.sampling.temperature = 0.8;
  options.sampling.top_k = 20;
  options.sampling.top_p = 0.9;
  options.sampling.repetition_penalty = 1.2;
  expect_sampled_by_us(subject,
                       "text at temperature 0.8, of the 20 likeliest and 0.9 of the probability, penalty 1.2",
                       options);
}

namespace {

// The real tokens of each row.
std::vector<std::vector<Token>> real_tokens_of(const at::Tensor& ids, const at::Tensor& real) {
  std::vector<std::vector<Token>> all;
  for (std::int64_t row = 0; row < ids.size(0); ++row) {
    all.emplace_back();
    for (const auto& token : ids[row].masked_select(real[row]).unbind())
      all.back().push_back(static_cast<Token>(token.item<std::int64_t>()));
  }
  return all;
}

// Whether as many tokens were written as requested, where no token ends the text; records a failure
// otherwise.
bool is_complete(Subject& subject, const std::string& what, const at::Tensor& text) {
  const auto missing = (text < 0).sum().item<std::int64_t>();
  if (missing > 0)
    expect_that(subject, false, what, fmt::format("{} of {} tokens were not written", missing, text.numel()),
                "text goes on, since no end token was given");
  return missing == 0;
}

// Expects greedy text of the candidate's loop to follow its own logits, whether these are right or not.
void expect_greedy(Subject& subject, const std::string& what, const Tokens& prompts,
                   const Sampling& sampling) {
  const auto text = generate_text(subject, prompts, sampling, 12).tokens;
  if (!is_complete(subject, what, text)) return;
  expect_choices(subject, what, real_tokens_of(prompts.ids, real_tokens(prompts)),
                 real_tokens_of(text, text >= 0), sampling, 1, "that of its own logits",
                 [&](const Tokens& tokens) { return expected_logits(subject, tokens); });
}

// The candidate's own logits after the prompt: (V) float64.
ExpectedLogits logits_after_prompt(Subject& subject) {
  const auto [all, error] = expected_logits(subject, generation_prompts(subject, 1));
  return {all[0][-1], error};
}

constexpr std::int64_t kDraws = 512;
constexpr double kLeastP = 1e-6;

// Pearson's chi-squared test of kDraws tokens, drawn in the rows of one batch; tokens with expected counts
// below 5 are pooled. A correct loop fails once in a million runs.
void expect_distribution(Subject& subject, const std::string& what, const at::Tensor& probabilities,
                         const Sampling& sampling) {
  const auto drawn =
      generate_text(subject, repeated_generation_prompt(subject, kDraws), sampling, 1, 3).tokens.flatten();
  if (!is_complete(subject, what, drawn.unsqueeze(1))) return;
  const auto counts = at::bincount(drawn.clamp_min(0), {}, probabilities.size(0)).to(at::kDouble);
  const auto expected_counts = probabilities * static_cast<double>(kDraws);
  const auto outside = counts.masked_select(probabilities < 1e-12).sum().item<double>();
  const auto common = expected_counts >= 5;
  const auto rare = ~common;
  auto actual = counts.masked_select(common), expected = expected_counts.masked_select(common);
  if (expected_counts.masked_select(rare).sum().item<double>() >= 5) {
    actual = at::cat({actual, counts.masked_select(rare).sum().view(1)});
    expected = at::cat({expected, expected_counts.masked_select(rare).sum().view(1)});
  }
  if (actual.size(0) < 2) not_assessed("too few tokens share the probability, so draws cannot be judged");
  const auto statistic = ((actual - expected).square() / expected).sum();
  const auto freedom = static_cast<double>(actual.size(0) - 1);
  const double p =
      at::special_gammaincc(at::scalar_tensor(freedom / 2, at::kDouble), statistic / 2).item<double>();
  const bool holds = p >= kLeastP && outside == 0;
  auto check = compare_text(
      what,
      outside > 0 ? fmt::format("{} of {} tokens are excluded by its settings", outside, kDraws)
                  : fmt::format("{} tokens, chi-squared {} on {} degrees of freedom (p = {})", kDraws,
                                number(statistic.item<double>()), freedom, number(p)),
      fmt::format("drawn with the probabilities of its logits and settings (p of {} or more)", kLeastP));
  check.within = holds;
  check.elements = kDraws;
  expect(subject, std::move(check));
}

// Expects the settings that need this capability to have their effect on the candidate's own logits.
void expect_sampling(Subject& subject, const std::string& needs) {
  const auto after = logits_after_prompt(subject);
  const auto prompt = generation_prompts(subject, 1).ids[0];
  for (const auto& sampling_case : sampling_cases(after.logits)) {
    if (sampling_case.needs != needs) continue;
    const auto expected = next_probabilities(after.logits, prompt, sampling_case.sampling);
    if (!subject.can("generate.probabilities")) {
      expect_distribution(subject, sampling_case.name + ", the first token", expected,
                          sampling_case.sampling);
      continue;
    }
    std::vector<std::pair<std::string, at::Tensor>> mistakes;
    const auto tolerance = probability_tolerance(expected, sampling_case.sampling, after.error);
    for (const auto& name : sampling_case.mistakes) {
      const auto mistake =
          apply_departures(subject.specification(), name)
              .formulas.token_probabilities(after.logits, prompt, prompt.size(0), sampling_case.sampling);
      if (((mistake - expected).abs() / tolerance.bound).max().item<double>() < 10)
        not_assessed(fmt::format("{}: rounding hides the difference between the right probabilities and {}",
                                 sampling_case.name, name));
      mistakes.emplace_back(name, mistake);
    }
    expect_distinguishable(subject, "probabilities of the first token at " + sampling_case.name,
                           sampling_probabilities(subject, sampling_case.sampling), expected, mistakes,
                           tolerance);
  }
}

}  // namespace

REQUIREMENT("TXT-3", "greedy text of the candidate's own loop is that of its own logits") {
  const at::NoGradGuard no_gradients;
  expect_greedy(subject, "its own greedy text", generation_prompts(subject, 3), greedy());
  for (const auto side : {Padding::left, Padding::right}) {
    const std::string name = side == Padding::left ? "left" : "right";
    if (subject.can("generate.padding." + name))
      expect_greedy(subject, fmt::format("its own greedy text of prompts padded on the {}", name),
                    padded_generation_prompts(subject, side), greedy());
  }
}

REQUIREMENT("TXT-4", "temperature divides the logits") {
  const at::NoGradGuard no_gradients;
  expect_sampling(subject, "generate.temperature");
}

REQUIREMENT("TXT-5", "top-k keeps the k likeliest tokens") {
  const at::NoGradGuard no_gradients;
  expect_sampling(subject, "generate.top_k");
}

REQUIREMENT("TXT-6", "top-p keeps the fewest tokens that reach p, after the temperature") {
  const at::NoGradGuard no_gradients;
  expect_sampling(subject, "generate.top_p");
}

REQUIREMENT("TXT-7", "the repetition penalty makes what was said less likely, once") {
  const at::NoGradGuard no_gradients;
  if (subject.can("generate.probabilities") && subject.can("generate.temperature"))
    expect_sampling(subject, "generate.repetition_penalty");
  expect_greedy(subject, "its own greedy text with penalty 1.5", generation_prompts(subject, 3), greedy(1.5));
}

REQUIREMENT("TXT-8", "tokens are drawn as their probabilities say, each sequence for itself") {
  const at::NoGradGuard no_gradients;
  const auto after = logits_after_prompt(subject);
  const auto sampling_case = sampling_cases(after.logits).front();
  expect_distribution(
      subject, fmt::format("{} sequences of a batch at {}", kDraws, sampling_case.name),
      next_probabilities(after.logits, generation_prompts(subject, 1).ids[0], sampling_case.sampling),
      sampling_case.sampling);
}

REQUIREMENT("TXT-9", "the same seed writes the same text, and another seed writes another") {
  const at::NoGradGuard no_gradients;
  Sampling sampling;
  const auto first = generate_text(subject, generation_prompts(subject, 3), sampling, 24, 5).tokens,
             again = generate_text(subject, generation_prompts(subject, 3), sampling, 24, 5).tokens,
             other = generate_text(subject, generation_prompts(subject, 3), sampling, 24, 6).tokens;
  const auto words = [](bool same) { return same ? "the same text" : "other text"; };
  expect_that(subject, first.equal(again), "seed 5 twice, three prompts of 24 tokens",
              words(first.equal(again)), words(true));
  expect_that(subject, !first.equal(other), "seeds 5 and 6, three prompts of 24 tokens",
              words(first.equal(other)), words(false));
}

namespace {

void expect_text(Subject& subject, const std::string& what, const at::Tensor& actual,
                 const at::Tensor& expected, const std::string& as_expected, const std::string& called_for) {
  const auto differences = (actual != expected).nonzero();
  const auto place = [&] {
    return std::pair{differences[0][0].item<std::int64_t>(), differences[0][1].item<std::int64_t>()};
  };
  expect_that(subject, actual.equal(expected), what,
              differences.size(0) == 0
                  ? as_expected
                  : fmt::format("in row {}, place {}: got {}, expected {} (-1: nothing)", place().first,
                                place().second, actual[place().first][place().second].item<std::int64_t>(),
                                expected[place().first][place().second].item<std::int64_t>()),
              called_for);
}

// Loops take an end token of 0 for none, and none for a usual one.
void expect_end_of_any_id(Subject& subject, std::int64_t written) {
  for (const std::int64_t id : {0, 1, 2}) {
    const auto text = text_with_token(subject, id, written);
    if (!text) {
      subject.recorder().finding(fmt::format("no text with token {} in it could be had", id));
      continue;
    }
    expect_text(subject, fmt::format("its own greedy text with token {} in it, and no end", id),
                text->unended, text->whole, "goes on", "every token that was asked for");
    expect_text(subject, fmt::format("its own greedy text, of which token {} is the end", id), text->ended,
                end_text_at(text->whole, id), "ends there",
                "what it writes without an end token, up to that token");
  }
}

}  // namespace

REQUIREMENT("TXT-10", "text ends at the end token, and there alone") {
  const at::NoGradGuard no_gradients;
  const auto prompts = generation_prompts(subject, 3);
  const auto unended = generate_text(subject, prompts, greedy(), 12).tokens;
  const auto end = end_token_of(unended);
  expect_text(subject, fmt::format("its own greedy text, of which token {} is the end", end),
              generate_text(subject, prompts, greedy(), 12, 1, end).tokens, end_text_at(unended, end),
              "ends there", "what it writes without an end token, up to that token");
  if (subject.can("load") && end >= 0) expect_end_of_any_id(subject, end);
}

}  // namespace plumbline
