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
    if (all > options.longest)
      throw InputError(
          fmt::format("prompt {} has {} tokens, and up to {} more are requested, but the model allows {} "
                      "positions; use fewer --tokens or a shorter prompt",
                      p + 1, prompt.size(), options.most_tokens, options.longest));
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

  std::vector<Generated> all() {
    std::vector<std::size_t> rows(generated_.size());
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    std::stable_sort(rows.begin(), rows.end(),
                     [&](std::size_t a, std::size_t b) { return prompt(a).size() < prompt(b).size(); });
    for (std::size_t begin = 0; begin < rows.size();) {
      auto end = begin;
      while (end < rows.size() && end - begin < static_cast<std::size_t>(options_.batch) &&
             (pads() || prompt(rows[end]).size() == prompt(rows[begin]).size()))
        ++end;
      batch({rows.begin() + static_cast<std::ptrdiff_t>(begin),
             rows.begin() + static_cast<std::ptrdiff_t>(end)});
      begin = end;
    }
    return std::move(generated_);
  }

 private:
  bool can(const char* capability) const { return capabilities_.contains(capability); }
  Padding side() const { return can("cache.padding.left") ? Padding::left : Padding::right; }
  bool pads() const { return can("cache") && (can("cache.padding.left") || can("cache.padding.right")); }
  const std::vector<Token>& prompt(std::size_t row) const {
    return prompts_[row / static_cast<std::size_t>(options_.samples)];
  }

  // Prompt and all that was generated, as far as the model has to know it.
  at::Tensor whole(const std::vector<std::size_t>& rows) const {
    const auto length = prompt(rows[0]).size() + fed_[0].size();
    auto ids =
        at::zeros({static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(length)}, at::kLong);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      auto* out = ids.data_ptr<std::int64_t>() + i * length;
      out = std::copy(prompt(rows[i]).begin(), prompt(rows[i]).end(), out);
      std::copy(fed_[i].begin(), fed_[i].end(), out);
    }
    return ids;
  }

  Tokens padded(const std::vector<std::size_t>& rows) const {
    Tokens tokens;
    std::size_t longest = 0;
    for (const auto row : rows) longest = std::max(longest, prompt(row).size());
    tokens.ids =
        at::zeros({static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(longest)}, at::kLong);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto& own = prompt(rows[i]);
      const auto first = side() == Padding::left ? longest - own.size() : 0;
      std::copy(own.begin(), own.end(), tokens.ids.data_ptr<std::int64_t>() + i * longest + first);
      tokens.lengths.push_back(static_cast<std::int64_t>(own.size()));
      if (own.size() != longest) tokens.padding = side();
    }
    if (tokens.padding == Padding::none) tokens.lengths.clear();
    return tokens;
  }

  void batch(const std::vector<std::size_t>& rows) {
    const auto count = static_cast<std::int64_t>(rows.size());
    fed_.assign(rows.size(), {});
    std::unique_ptr<Decoding> decoding;
    at::Tensor next;  // (B, 1)
    for (std::int64_t step = 0; step < options_.most_tokens; ++step) {
      at::Tensor last;  // (B, V): logits after the last token of each row
      if (!can("cache")) {
        const auto logits = candidate_.forward({whole(rows), {}, Padding::none}, {});
        last = logits.select(1, logits.size(1) - 1);
      } else if (step == 0) {
        const auto tokens = padded(rows);
        decoding = candidate_.decode(count, tokens.ids.size(1) + options_.most_tokens - 1);
        PassOptions options;
        options.last_only = tokens.padding != Padding::right;
        const auto logits = decoding->extend(tokens, options);
        last = logits.select(1, logits.size(1) - 1);
        if (tokens.padding == Padding::right) {
          const auto ends = at::tensor(tokens.lengths, logits.options().dtype(at::kLong)) - 1;
          last = logits.gather(1, ends.view({-1, 1, 1}).expand({-1, 1, logits.size(2)})).squeeze(1);
        }
      } else {
        last = decoding->extend({next, {}, Padding::none}, {}).select(1, 0);
      }
      next = chosen(last.to(at::kCPU, at::kFloat).contiguous(), rows, step);
      if (progress_) progress_(done_, static_cast<std::int64_t>(generated_.size()) * options_.most_tokens);
      if (std::all_of(rows.begin(), rows.end(), [&](std::size_t row) { return generated_[row].ended; }))
        break;
    }
    for (const auto row : rows)
      done_ += options_.most_tokens - static_cast<std::int64_t>(generated_[row].tokens.size());
  }

  // The next token of every row, appended to what was generated; (B, 1), for the model. A row that has ended
  // goes on in the batch, and nobody looks.
  at::Tensor chosen(const at::Tensor& logits, const std::vector<std::size_t>& rows, std::int64_t step) {
    const auto count = logits.size(0), words = logits.size(1);
    auto next = at::zeros({count, 1}, at::kLong);
    auto* out = next.data_ptr<std::int64_t>();
    const auto* values = logits.data_ptr<float>();
    std::vector<Choice> choices(rows.size());
    at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = begin; i < end; ++i) {
        const auto row = rows[static_cast<std::size_t>(i)];
        if (generated_[row].ended) continue;
        std::vector<Token> before;  // only a penalty asks for it
        if (options_.sampling.repetition_penalty != 1) {
          before = prompt(row);
          before.insert(before.end(), generated_[row].tokens.begin(), generated_[row].tokens.end());
        }
        try {
          choices[static_cast<std::size_t>(i)] =
              choose({values + i * words, static_cast<std::size_t>(words)}, options_.sampling, before,
                     uniform_of(options_.seed, row, static_cast<std::uint64_t>(step)));
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
      fed_[i].push_back(static_cast<Token>(out[i]));
    }
    return next;
  }

  Candidate& candidate_;
  std::set<std::string> capabilities_;
  const Prompts& prompts_;
  const GenerationOptions& options_;
  const std::function<void(std::int64_t, std::int64_t)>& progress_;
  std::vector<Generated> generated_;
  std::vector<std::vector<Token>> fed_;  // to each row of the batch, after its prompt
  std::int64_t done_ = 0;
};

}  // namespace

std::vector<Generated> generate(Candidate& candidate, const std::vector<std::vector<Token>>& prompts,
                                const GenerationOptions& options,
                                const std::function<void(std::int64_t done, std::int64_t most)>& progress) {
  require_possible(prompts, options);
  const at::NoGradGuard no_gradients;
  return Generation(candidate, prompts, options, progress).all();
}

}  // namespace plumbline
