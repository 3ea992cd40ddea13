// Chapter 10: what a candidate writes, by samplers and a generator of our own.
#include <algorithm>

#include "harness/candidate/generation.hpp"
#include "harness/system/error.hpp"
#include "suites/suite.hpp"

namespace plumbline {
namespace {

// Prompts of unlike lengths, (tokens) each.
std::vector<std::vector<Token>> some_prompts() {
  std::vector<std::vector<Token>> prompts;
  for (const std::int64_t length : {7, 3, 9, 4}) {
    const auto ids = probe(fmt::format("prompt of {}", length), 1, length).ids;
    prompts.emplace_back(ids.data_ptr<std::int64_t>(), ids.data_ptr<std::int64_t>() + length);
  }
  return prompts;
}

// Every token that it writes is the one that the specification, in float64 on the same weights, chooses after
// what it wrote before; but where rounding may decide.
void expect_written(const std::string& what, const GenerationOptions& options) {
  const at::NoGradGuard no_gradients;
  auto& s = subject();
  const auto prompts = some_prompts();
  std::vector<Generated> written;
  try {
    written = generate(s.running(), prompts, options, [](std::int64_t, std::int64_t) {});
  } catch (const InputError& error) {
    expect_that(false, what, error.what(), "tokens");
    return;
  }
  std::int64_t compared = 0, near = 0;
  std::string wrong;
  for (std::size_t row = 0; row < written.size() && wrong.empty(); ++row) {
    auto all = prompts[row];
    all.insert(all.end(), written[row].tokens.begin(), written[row].tokens.end());
    const std::vector<std::int64_t> ids(all.begin(), all.end());
    const Tokens tokens{
        at::tensor(at::ArrayRef<std::int64_t>(ids), at::kLong).unsqueeze(0), {}, Padding::none};
    const auto exact = s.exact().forward(tokens).to(at::kCPU);
    const double noise = s.noise("logits", exact).bound.max().item<double>();
    const auto logits = exact.to(at::kFloat).contiguous();
    const auto words = static_cast<std::size_t>(logits.size(2));
    for (std::size_t step = 0; step < written[row].tokens.size(); ++step) {
      const auto place = prompts[row].size() + step;  // of the token
      const auto right = choose({logits.data_ptr<float>() + (place - 1) * words, words}, options.sampling,
                                Sequence(all.data(), place), uniform_of(options.seed, row, step));
      if (right.margin <= noise) {
        ++near;
        continue;
      }
      ++compared;
      if (right.token == written[row].tokens[step]) continue;
      wrong = fmt::format(
          "token {} of the text after a prompt of {} is {}, where the specification's is {} by a margin of "
          "{} "
          "(rounding explains {})",
          step, prompts[row].size(), written[row].tokens[step], right.token, number(right.margin),
          number(noise));
      break;
    }
  }
  if (wrong.empty() && compared <= near) {
    s.recorder().not_assessed(
        fmt::format("{}: {} of {} choices are nearer to another than rounding, too many to say anything",
                    what, near, near + compared));
    return;
  }
  auto check = compare_text(
      what, wrong.empty() ? fmt::format("{} tokens as the specification writes them", compared) : wrong,
      "the specification's tokens");
  check.within = wrong.empty();
  check.elements = compared + (wrong.empty() ? 0 : 1);
  expect(std::move(check));
  if (near > 0)
    s.recorder().finding(
        fmt::format("{}: {} of {} choices are nearer to another than rounding, and were not compared", what,
                    near, near + compared));
}

GenerationOptions some_tokens() {
  GenerationOptions options;
  options.longest = subject().specification().max_position_embeddings;
  options.most_tokens = std::min<std::int64_t>(16, options.longest - 9);
  if (options.most_tokens < 1) not_assessed("the model has too few positions for a prompt and a text");
  options.vocabulary = subject().specification().vocab_size;
  options.sampling.temperature = 0;
  return options;
}

}  // namespace

REQUIREMENT("TXT-1", "greedy text of several prompts at once is the specification's") {
  expect_written("greedy text", some_tokens());
}

REQUIREMENT("TXT-2", "sampled text is what the same seed gives with the specification's probabilities") {
  auto options = some_tokens();
  // So low that few tokens share the probability: among thousands that are about as likely, rounding decides.
  options.sampling.temperature = 0.1;
  options.seed = 5;
  expect_written("text at temperature 0.1", options);
  options.sampling.temperature = 0.8;
  options.sampling.top_k = 20;
  options.sampling.top_p = 0.9;
  options.sampling.repetition_penalty = 1.2;
  expect_written("text at temperature 0.8, of the 20 likeliest and 0.9 of the probability, penalty 1.2",
                 options);
}

}  // namespace plumbline
