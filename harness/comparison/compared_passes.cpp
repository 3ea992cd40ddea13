#include "harness/comparison/pair.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "harness/candidate/void_parameters.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

void Pair::same_logits(const std::string& what, const at::Tensor& first, const at::Tensor& second,
                       const Tolerance& tolerance, bool far) {
  auto check = compare_two(fmt::format("logits ({})", what), second, first, tolerance);
  place.situations.push_back({what, check});
  if (!*check.identical && !far && tolerance.bound.numel() == 1 && largest(finite(first)) > 0)
    unseen = std::max(unseen, tolerance.bound.item<double>() / largest(finite(first)));
  record(std::move(check));
}

void Pair::logits_of(const std::string& what, const std::string& needs,
                     const std::function<at::Tensor(Subject&)>& question) {
  if (!can(needs)) return;
  both(question, [&](const at::Tensor& first, const at::Tensor& second) {
    same_logits(what, first, second, one.noise("logits", first));
  });
}

void Pair::logits_or_full_pass(const std::string& what, const std::string& needs,
                               const std::function<at::Tensor(Subject&)>& question,
                               const std::function<at::Tensor(Subject&)>& full) {
  const auto* who = alone(needs);
  const auto name_of_way =
      who == nullptr ? what : fmt::format("{} of {}, a full pass of the other", what, name(*who));
  both_or_stand_in(needs, question, full, [&](const at::Tensor& first, const at::Tensor& second) {
    same_logits(name_of_way, first, second, one.noise("logits", first));
  });
}

Tolerance Pair::far_tolerance(const Tokens& tokens, const PassOptions& options, const at::Tensor& given) {
  const at::NoGradGuard no_gradients;
  const auto exact = one.exact().forward(tokens, options).to(at::kCPU, at::kDouble);
  const auto error =
      largest(one.rounded().forward(tokens, options).to(at::kCPU, at::kDouble) - exact) / largest(exact);
  return Tolerance::absolute(
      kNoiseFactor * error * largest(finite(given)),
      fmt::format("{} x the rounding error measured on the reference there, {} of the largest", kNoiseFactor,
                  number(error)));
}

void Pair::far_logits() {
  const auto tokens = standard_probe(one);
  for (const auto first_position : {std::int64_t{300}, one.specification().max_position_embeddings - 24}) {
    if (first_position < 0) continue;
    PassOptions options;
    options.first_position = first_position;
    if (const auto* who = alone("first_position")) {
      held_to_the_start(*who, tokens, options);
      continue;
    }
    if (!can("first_position")) continue;
    both([&](Subject& subject) { return logits(subject, tokens, options); },
         [&](const at::Tensor& first, const at::Tensor& second) {
           same_logits(fmt::format("24 tokens from position {}", first_position), first, second,
                       far_tolerance(tokens, options, first), /*far=*/true);
         });
  }
}

void Pair::held_to_the_start(const Subject& who, const Tokens& tokens, const PassOptions& options) {
  const auto elsewhere = [&](Subject& subject) { return logits(subject, tokens, options); };
  const auto at_the_start = [&](Subject& subject) { return logits(subject, tokens); };
  const auto first = &who == &one ? ask(one, elsewhere) : ask(one, at_the_start);
  const auto second = &who == &one ? ask(*other, at_the_start) : ask(*other, elsewhere);
  const auto tolerance = far_tolerance(tokens, options, first);
  const auto what = fmt::format("24 tokens from position {} of {}, from the start of the other",
                                options.first_position, name(who));
  if (compare_two(what, second, first, tolerance).within)
    same_logits(what, first, second, tolerance, /*far=*/true);
  else
    one.recorder().not_assessed(fmt::format(
        "{} alone can begin elsewhere than at position 0, and nothing tells whether it does that rightly",
        name(who)));
}

void Pair::logits_where(const std::function<bool(const std::string& needs)>& belongs) {
  for (const auto& run : logits_runs(one))
    if (belongs(run.needs))
      logits_or_full_pass(
          run.name, run.needs, [&](Subject& subject) { return run.logits(subject, run.tokens); },
          [&](Subject& subject) { return logits(subject, run.tokens); });
}

void Pair::evaluation() {
  logits_where([](const std::string& needs) { return needs == "evaluation"; });
  logits_of("a batch of 17", "evaluation",
            [](Subject& subject) { return logits(subject, probe(subject, "batch", 17, 5)); });
  logits_of("ids 0, 1, 2, 3 and the last", "evaluation",
            [](Subject& subject) { return logits(subject, special_tokens(subject)); });
  logits_of("dropout 0.1 configured", "dropout", [](Subject& subject) {
    PassOptions configured;
    configured.dropout = 0.1;
    return logits(subject, standard_probe(subject), configured);
  });
  far_logits();
}

void Pair::training() {
  logits_where([](const std::string& needs) { return needs == "training"; });
  logits_or_full_pass(
      "training mode, a batch", "training",
      [](Subject& subject) { return logits(subject, probe(subject, "modes", 2, 24), in_training()); },
      [](Subject& subject) { return logits(subject, probe(subject, "modes", 2, 24)); });
  logits_or_full_pass(
      "training mode, 100 tokens", "training",
      [](Subject& subject) { return logits(subject, probe(subject, "length", 1, 100), in_training()); },
      [](Subject& subject) { return logits(subject, probe(subject, "length", 1, 100)); });
}

void Pair::padding() {
  for (const auto side : {Padding::right, Padding::left}) {
    const std::string name = side == Padding::right ? "right" : "left";
    const auto needs = "padding." + name;
    for (const std::int64_t length : {24, 9, 1}) {
      const auto what = fmt::format("{} padded {} to 31", reports::counted(length, "token"), name);
      const auto full = [length](Subject& subject) {
        return logits(subject, probe(subject, "padded", 1, length));
      };
      logits_or_full_pass(
          what, needs,
          [&](Subject& subject) {
            return padded_logits(subject, probe(subject, "padded", 1, length), 31, side);
          },
          full);
      logits_or_full_pass(
          what + ", alone in its batch", needs,
          [&](Subject& subject) { return padded_alone(subject, length, side); }, full);
      if (can(needs))
        logits_of(what + ", training", "training", [&](Subject& subject) {
          return padded_logits(subject, probe(subject, "padded", 1, length), 31, side, in_training());
        });
    }
  }
  if (compared == 0 && other != nullptr) not_assessed("no side of padding could be looked at");
}

at::Tensor Pair::padded_alone(Subject& subject, std::int64_t length, Padding side) {
  const auto ids = probe(subject, "padded", 1, length).ids, fill = at::zeros({1, 31 - length}, at::kLong);
  const bool right = side == Padding::right;
  return logits(subject, {at::cat({right ? ids : fill, right ? fill : ids}, 1), {length}, side})
      .narrow(1, right ? 0 : 31 - length, length);
}

void Pair::decoding() {
  logits_where([](const std::string& needs) { return needs.starts_with("cache"); });
  logits_or_full_pass(
      "decoding of 5 sequences", "cache",
      [](Subject& subject) {
        return cached_logits(subject, probe(subject, "five", 5, 21), one_by_one(13, 21));
      },
      [](Subject& subject) { return logits(subject, probe(subject, "five", 5, 21)); });
  for (const double value : {3e4, -3e4})
    logits_or_full_pass(
        fmt::format("{} in every unwritten slot", number(value)), "cache.fill",
        [value](Subject& subject) { return logits_beside(subject, standard_probe(subject), value); },
        [](Subject& subject) { return logits(subject, standard_probe(subject)); });
  for (const auto side : {Padding::right, Padding::left}) {
    const std::string name = side == Padding::right ? "right" : "left";
    const std::function<std::vector<at::Tensor>(Subject&)> decoded = [side](Subject& subject) {
      return padded_and_decoded(subject, side);
    };
    const std::function<std::vector<at::Tensor>(Subject&)> rows_alone = [](Subject& subject) {
      std::vector<at::Tensor> all;
      for (const auto& row : padded_and_decoded_alone(subject)) all.push_back(logits(subject, row));
      return all;
    };
    both_or_stand_in("cache.padding." + name, decoded, rows_alone,
                     [&](const std::vector<at::Tensor>& first, const std::vector<at::Tensor>& second) {
                       for (std::size_t row = 0; row < first.size(); ++row)
                         same_logits(fmt::format("row {} of prompts padded {} and decoded", row, name),
                                     first[row], second[row], one.noise("logits", first[row]));
                     });
  }
}

}  // namespace plumbline
