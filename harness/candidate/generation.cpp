#include "harness/candidate/generation.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "harness/system/error.hpp"

namespace plumbline {
namespace {

using Prompts = std::vector<std::vector<Token>>;

void require_possible(const Prompts& prompts, const GenerationOptions& options) {
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const auto& prompt = prompts[p];
    if (prompt.empty())
      throw InputError(fmt::format("prompt {} is empty; expected at least one token", p + 1));
    for (std::size_t i = 0; i < prompt.size(); ++i)
      if (prompt[i] >= static_cast<std::uint64_t>(options.vocabulary))
        throw InputError(fmt::format(
            "prompt {}: token {} has the id {}, expected one below {}; use the model's own tokenizer", p + 1,
            i + 1, prompt[i], options.vocabulary));
    const auto all = static_cast<std::int64_t>(prompt.size()) + options.most_tokens;
    if (all > options.most_positions)
      throw InputError(
          fmt::format("prompt {} has {} tokens, and up to {} more are requested, but the model allows {} "
                      "positions; use fewer --tokens or a shorter prompt",
                      p + 1, prompt.size(), options.most_tokens, options.most_positions));
  }
}

class Generation {
 public:
  Generation(Candidate& candidate, const Prompts& prompts, const GenerationOptions& options,
             const std::function<void(std::int64_t, std::int64_t)>& progress)
      : candidate_(candidate),
        capabilities_(candidate.capabilities()),
        prompts_(prompts),
        options_(options),
        progress_(progress),
        generated_(prompts.size() * static_cast<std::size_t>(options.samples)) {}

  std::vector<GeneratedSample> run() {
    std::vector<std::size_t> rows(generated_.size());
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    std::stable_sort(rows.begin(), rows.end(),
                     [&](std::size_t a, std::size_t b) { return prompt(a).size() < prompt(b).size(); });
    for (std::size_t begin = 0; begin < rows.size();) {
      auto end = begin;
      while (end < rows.size() && end - begin < static_cast<std::size_t>(options_.batch) &&
             (supports_padding() || prompt(rows[end]).size() == prompt(rows[begin]).size()))
        ++end;
      run_batch({rows.begin() + static_cast<std::ptrdiff_t>(begin),
                 rows.begin() + static_cast<std::ptrdiff_t>(end)});
      begin = end;
    }
    return std::move(generated_);
  }

 private:
  bool can(const char* capability) const { return capabilities_.contains(capability); }
  Padding side() const { return can("cache.padding.left") ? Padding::left : Padding::right; }
  bool supports_padding() const {
    return can("cache") && (can("cache.padding.left") || can("cache.padding.right"));
  }
  const std::vector<Token>& prompt(std::size_t row) const {
    return prompts_[row / static_cast<std::size_t>(options_.samples)];
  }

  // Prompts with all tokens appended so far: (B, T).
  at::Tensor full_sequences(const std::vector<std::size_t>& rows) const {
    const auto length = prompt(rows[0]).size() + appended_[0].size();
    auto ids =
        at::zeros({static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(length)}, at::kLong);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      auto* out = ids.data_ptr<std::int64_t>() + i * length;
      out = std::copy(prompt(rows[i]).begin(), prompt(rows[i]).end(), out);
      std::copy(appended_[i].begin(), appended_[i].end(), out);
    }
    return ids;
  }

  Tokens padded_prompts(const std::vector<std::size_t>& rows) const {
    Tokens tokens;
    std::size_t longest = 0;
    for (const auto row : rows) longest = std::max(longest, prompt(row).size());
    tokens.ids =
        at::zeros({static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(longest)}, at::kLong);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto& tokens_of_row = prompt(rows[i]);
      const auto first = side() == Padding::left ? longest - tokens_of_row.size() : 0;
      std::copy(tokens_of_row.begin(), tokens_of_row.end(),
                tokens.ids.data_ptr<std::int64_t>() + i * longest + first);
      tokens.lengths.push_back(static_cast<std::int64_t>(tokens_of_row.size()));
      if (tokens_of_row.size() != longest) tokens.padding = side();
    }
    if (tokens.padding == Padding::none) tokens.lengths.clear();
    return tokens;
  }

  void run_batch(const std::vector<std::size_t>& rows) {
    const auto count = static_cast<std::int64_t>(rows.size());
    appended_.assign(rows.size(), {});
    std::unique_ptr<Decoding> decoding;
    at::Tensor next;  // (B, 1)
    for (std::int64_t step = 0; step < options_.most_tokens; ++step) {
      at::Tensor last_logits;  // (B, V): of each row's last token
      if (!can("cache")) {
        const auto logits = candidate_.forward({full_sequences(rows), {}, Padding::none}, {});
        last_logits = logits.select(1, logits.size(1) - 1);
      } else if (step == 0) {
        const auto tokens = padded_prompts(rows);
        decoding = candidate_.decode(count, tokens.ids.size(1) + options_.most_tokens - 1);
        PassOptions options;
        options.last_only = tokens.padding != Padding::right;
        const auto logits = decoding->extend(tokens, options);
        last_logits = logits.select(1, logits.size(1) - 1);
        if (tokens.padding == Padding::right) {
          const auto ends = at::tensor(tokens.lengths, logits.options().dtype(at::kLong)) - 1;
          last_logits = logits.gather(1, ends.view({-1, 1, 1}).expand({-1, 1, logits.size(2)})).squeeze(1);
        }
      } else {
        last_logits = decoding->extend({next, {}, Padding::none}, {}).select(1, 0);
      }
      next = choose_next(last_logits.to(at::kCPU, at::kFloat).contiguous(), rows, step);
      if (progress_) progress_(done_, static_cast<std::int64_t>(generated_.size()) * options_.most_tokens);
      if (std::all_of(rows.begin(), rows.end(), [&](std::size_t row) { return generated_[row].ended; }))
        break;
    }
    for (const auto row : rows)
      done_ += options_.most_tokens - static_cast<std::int64_t>(generated_[row].tokens.size());
  }

  // Chooses the next token of every row and appends it: (B, 1), for the model. Rows that have ended stay in
  // the batch with token 0.
  at::Tensor choose_next(const at::Tensor& logits, const std::vector<std::size_t>& rows, std::int64_t step) {
    const auto count = logits.size(0), vocabulary = logits.size(1);
    auto next = at::zeros({count, 1}, at::kLong);
    auto* out = next.data_ptr<std::int64_t>();
    const auto* values = logits.data_ptr<float>();
    std::vector<Choice> choices(rows.size());
    at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = begin; i < end; ++i) {
        const auto row = rows[static_cast<std::size_t>(i)];
        if (generated_[row].ended) continue;
        std::vector<Token> previous;  // used by the penalty alone
        if (options_.sampling.repetition_penalty != 1) {
          previous = prompt(row);
          previous.insert(previous.end(), generated_[row].tokens.begin(), generated_[row].tokens.end());
        }
        try {
          choices[static_cast<std::size_t>(i)] =
              choose({values + i * vocabulary, static_cast<std::size_t>(vocabulary)}, options_.sampling,
                     previous, uniform_of(options_.seed, row, static_cast<std::uint64_t>(step)));
        } catch (const std::domain_error& error) {
          throw NoChoice(
              fmt::format("prompt {}, token {} of its text: {}; judge the model with `plumbline verify`",
                          row / static_cast<std::size_t>(options_.samples) + 1, step + 1, error.what()));
        }
      }
    });
    for (std::size_t i = 0; i < rows.size(); ++i) {
      auto& sample = generated_[rows[i]];
      if (!sample.ended) {
        const auto& choice = choices[i];
        out[i] = choice.token;
        sample.least_margin = step == 0 ? choice.margin : std::min(sample.least_margin, choice.margin);
        if (options_.end && choice.token == *options_.end)
          sample.ended = true;
        else
          sample.tokens.push_back(choice.token), ++done_;
      }
      appended_[i].push_back(static_cast<Token>(out[i]));
    }
    return next;
  }

  Candidate& candidate_;
  std::set<std::string> capabilities_;
  const Prompts& prompts_;
  const GenerationOptions& options_;
  const std::function<void(std::int64_t, std::int64_t)>& progress_;
  std::vector<GeneratedSample> generated_;
  std::vector<std::vector<Token>> appended_;  // tokens of each row of the batch, after its prompt
  std::int64_t done_ = 0;
};

}  // namespace

std::vector<GeneratedSample> generate(
    Candidate& candidate, const std::vector<std::vector<Token>>& prompts, const GenerationOptions& options,
    const std::function<void(std::int64_t done, std::int64_t most)>& progress) {
  require_possible(prompts, options);
  const at::NoGradGuard no_gradients;
  return Generation(candidate, prompts, options, progress).run();
}

}  // namespace plumbline
