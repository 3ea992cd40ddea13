// Chapter 7: causality, and one answer in every mode.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "harness/judging/generated_text.hpp"
#include "harness/judging/probes.hpp"
#include "harness/judging/ways.hpp"
#include "harness/result/words.hpp"
#include "suites/requirement.hpp"

namespace plumbline {
namespace {

// A mode in which the logits of one sequence are computed: (1, T, V).
struct Mode {
  std::string name;
  std::string needs;  // the capability that it takes
  std::function<at::Tensor(Subject&, const Tokens&)> run;
};

const std::vector<Mode>& modes() {
  static const std::vector<Mode> all = {
      {"evaluation", "evaluation",
       [](Subject& subject, const Tokens& tokens) { return logits(subject, tokens); }},
      {"training", "training",
       [](Subject& subject, const Tokens& tokens) { return logits(subject, tokens, training_options()); }},
      {"prefill", "cache",
       [](Subject& subject, const Tokens& tokens) {
         return cached_logits(subject, tokens, {tokens.ids.size(1)});
       }},
      {"chunks", "cache.chunks",
       [](Subject& subject, const Tokens& tokens) {
         return cached_logits(subject, tokens, {10, 9, tokens.ids.size(1) - 19});
       }},
      {"batch", "evaluation",
       [](Subject& subject, const Tokens& tokens) {
         const auto others = probe(subject, "others", 2, tokens.ids.size(1)).ids;
         return logits(subject, {at::cat({others, tokens.ids}, 0), {}, Padding::none}).narrow(0, 2, 1);
       }},
      {"padded right", "padding.right",
       [](Subject& subject, const Tokens& tokens) {
         return padded_logits(subject, tokens, tokens.ids.size(1) + 5, Padding::right);
       }},
      {"padded left", "padding.left",
       [](Subject& subject, const Tokens& tokens) {
         return padded_logits(subject, tokens, tokens.ids.size(1) + 5, Padding::left);
       }},
  };
  return all;
}

Tokens with_other_token(Subject& subject, const Tokens& tokens, std::int64_t place) {
  auto ids = tokens.ids.clone();
  const auto old = ids[0][place].item<std::int64_t>();
  ids[0][place] = (old + subject.specification().vocab_size / 2) % subject.specification().vocab_size;
  return {ids, {}, Padding::none};
}

constexpr std::int64_t kChanged[] = {1, 12, 23};

}  // namespace

REQUIREMENT("MODE-1", "changing a token changes no earlier logit, in any mode") {
  const auto tokens = standard_probe(subject);
  for (const auto& mode : modes()) {
    if (!subject.can(mode.needs)) continue;
    const auto before = mode.run(subject, tokens);
    for (const auto place : kChanged) {
      const auto expected = before.narrow(1, 0, place);
      expect_close(subject, fmt::format("logits before token {} ({})", place, mode.name),
                   mode.run(subject, with_other_token(subject, tokens, place)).narrow(1, 0, place), expected,
                   subject.noise("logits", expected));
    }
  }
}

REQUIREMENT("MODE-2", "changing a token changes the logits from its position on, in every mode") {
  const auto tokens = standard_probe(subject);
  for (const auto& mode : modes()) {
    if (!subject.can(mode.needs)) continue;
    const auto before = mode.run(subject, tokens);
    // Without influence nothing changes at all, so that the plain rounding error, without its factor, is
    // enough.
    const auto least = subject.noise("logits", before).bound.item<double>() / kNoiseFactor;
    for (const auto place : kChanged) {
      const auto after = mode.run(subject, with_other_token(subject, tokens, place));
      for (auto row = place; row < 24; ++row)
        expect_differs(
            subject, fmt::format("logits[0,{}] after token {} changed ({})", row, place, mode.name),
            after.select(1, row), before.select(1, row), least, "each position reads every earlier token");
    }
  }
}

REQUIREMENT("MODE-3", "training mode with dropout 0 gives the same logits as evaluation") {
  const auto tokens = probe(subject, "modes", 2, 24);
  const auto expected = logits(subject, tokens);
  expect_close(subject, "logits (training, dropout 0)", logits(subject, tokens, training_options()), expected,
               subject.noise("logits", expected));
}

REQUIREMENT("MODE-4", "a sequence gives the same logits alone and in a batch") {
  for (const auto& [size, length] : {std::pair<std::int64_t, std::int64_t>{3, 21}, {17, 5}}) {
    const auto batch = probe(subject, "batch", size, length);
    const auto together = logits(subject, batch);
    for (std::int64_t row = 0; row < size; ++row) {
      const auto alone = logits(subject, row_of_batch(batch, row));
      expect_close(subject, fmt::format("logits of row {} in a batch of {}", row, size),
                   together.narrow(0, row, 1), alone, subject.noise("logits", alone));
    }
  }
}

namespace {

void expect_unmoved_by_padding(Subject& subject, Padding side) {
  for (const std::int64_t length : {24, 9, 1}) {
    const auto sequence = probe(subject, "padded", 1, length);
    const auto alone = logits(subject, sequence);
    const auto what = fmt::format("logits of {} padded {} to 31", reports::counted(length, "token"),
                                  side == Padding::right ? "right" : "left");
    const auto tolerance = subject.noise("logits", alone);
    expect_close(subject, what, padded_logits(subject, sequence, 31, side), alone, tolerance);
    if (subject.can("training"))
      expect_close(subject, what + " (training)",
                   padded_logits(subject, sequence, 31, side, training_options()), alone, tolerance);
  }
  const auto batch = probe(subject, "padded", 2, 24);
  const auto plain = logits(subject, batch);
  const auto ones = with_mask_of_ones(batch, side);
  const auto tolerance = subject.noise("logits", plain);
  expect_close(subject, "logits with a padding mask of ones", logits(subject, ones), plain, tolerance);
  if (subject.can("training"))
    expect_close(subject, "logits with a padding mask of ones (training)",
                 logits(subject, ones, training_options()), plain, tolerance);
}

}  // namespace

REQUIREMENT("MODE-5", "padding on the right changes no logit, nor does a padding mask of ones") {
  expect_unmoved_by_padding(subject, Padding::right);
}

REQUIREMENT("MODE-6", "padding on the left changes no logit, nor does a padding mask of ones") {
  expect_unmoved_by_padding(subject, Padding::left);
}

REQUIREMENT("MODE-7", "the order of a batch changes no logit") {
  const auto batch = probe(subject, "batch", 3, 21);
  const auto order = at::tensor({2, 0, 1}, at::kLong);
  const auto expected = logits(subject, batch).index_select(0, order);
  expect_close(subject, "logits of the batch in another order",
               logits(subject, {batch.ids.index_select(0, order), {}, Padding::none}), expected,
               subject.noise("logits", expected));
}

REQUIREMENT("MODE-8",
            "decoding a padded batch through the cache gives each sequence the logits that it has alone") {
  for (const auto side : {Padding::right, Padding::left}) {
    const std::string name = side == Padding::right ? "right" : "left";
    if (!subject.can("cache.padding." + name)) continue;
    const auto sequences = unpadded_sequences(subject);
    const auto expect_each_as_alone = [&](const std::string& how, const std::vector<at::Tensor>& together) {
      for (std::size_t row = 0; row < sequences.size(); ++row) {
        const auto alone = logits(subject, sequences[row]);
        expect_close(subject, fmt::format("logits of row {}, padded {} and {}", row, name, how),
                     together[row], alone, subject.noise("logits", alone));
      }
    };
    expect_each_as_alone("decoded", decode_padded_batch(subject, side));
    if (subject.can("cache.chunks"))
      expect_each_as_alone("continued in chunks of 4 and 2", decode_padded_batch(subject, side, {4, 2}));
    const auto batch = probe(subject, "mask of ones", 2, 19);
    const auto plain = logits(subject, batch);
    expect_close(subject, fmt::format("logits with a padding mask of ones ({}), decoded", name),
                 decoded_with_mask_of_ones(subject, batch, side), plain, subject.noise("logits", plain));
  }
}

REQUIREMENT("MODE-9", "dropout is off in evaluation, whatever the configuration says") {
  const auto tokens = standard_probe(subject);
  const auto expected = logits(subject, tokens);
  PassOptions configured;
  configured.dropout = 0.1;
  for (int time = 1; time <= 2; ++time)
    expect_close(subject, fmt::format("logits (evaluation with dropout 0.1 configured, run {})", time),
                 logits(subject, tokens, configured), expected, subject.noise("logits", expected));
}

REQUIREMENT("MODE-10", "dropout in training silences its share of the embedding, anew in every pass") {
  const auto tokens = probe(subject, "dropout", 4, 24);
  const double rate = 0.25;
  auto training = training_options();
  training.dropout = rate;
  // RMSNorm keeps zeros, and nothing else but dropout makes them.
  const auto zeros = [&] {
    return (shown(observe(subject, tokens, training), {"attention_norm", 0}) == 0).to(at::kDouble);
  };
  const auto first = zeros(), second = zeros();
  const double deviation = std::sqrt(rate * (1 - rate) / static_cast<double>(first.numel()));
  expect_close(
      subject, "share of zeros in layers.0.attention_norm (training, dropout 0.25)", first.mean(),
      at::scalar_tensor(rate, at::kDouble),
      Tolerance::absolute(6 * deviation, fmt::format("six standard deviations of {} draws", first.numel())));
  expect_differs(subject, "zeros of two passes (training, dropout 0.25)", first, second, 1,
                 "each pass draws anew");
  const auto branch =
      (shown(observe(subject, tokens, training), {"after_attention", 0}) == 0).to(at::kDouble);
  // Zero where both the embedding and the branch are.
  expect_close(subject, "share of zeros in layers.0.after_attention (training, dropout 0.25)", branch.mean(),
               at::scalar_tensor(rate * rate, at::kDouble),
               Tolerance::absolute(
                   6 * std::sqrt(rate * rate * (1 - rate * rate) / static_cast<double>(branch.numel())),
                   fmt::format("six standard deviations of {} draws", branch.numel())));
}

REQUIREMENT("MODE-11", "no token is treated otherwise than by its row of the embedding") {
  const auto& s = subject.specification();
  const auto tokens = special_tokens(subject);
  const at::NoGradGuard no_gradients;
  const auto expected = subject.exact().forward(tokens).to(at::kCPU);
  const auto tolerance = subject.noise("logits", expected);
  for (const auto& mode : modes()) {
    if (!subject.can(mode.needs)) continue;
    expect_close(
        subject,
        fmt::format("logits of ids 0, 1, 2, 3 and {} among others ({})", s.vocab_size - 1, mode.name),
        mode.run(subject, tokens), expected, tolerance);
  }
}

namespace {

// What a candidate may have been asked before a pass.
struct Request {
  std::string name, needs;
  std::function<void(Subject&)> ask;
};

std::vector<Request> requests() {
  return {
      {"a pass in training mode", "training",
       [](Subject& subject) { logits(subject, probe(subject, "history", 2, 19), training_options()); }},
      {"a pass with dropout", "dropout",
       [](Subject& subject) {
         auto options = training_options();
         options.dropout = 0.25;
         logits(subject, probe(subject, "history", 2, 19), options);
       }},
      {"a batch padded on the left", "padding.left",
       [](Subject& subject) { padded_logits(subject, standard_probe(subject), 31, Padding::left); }},
      {"a batch padded on the right", "padding.right",
       [](Subject& subject) { padded_logits(subject, standard_probe(subject), 31, Padding::right); }},
      {"a decoding that stopped half-way", "cache",
       [](Subject& subject) { cached_logits(subject, probe(subject, "history", 2, 19), {19}); }},
      {"a long pass", "evaluation",
       [](Subject& subject) { logits(subject, probe(subject, "history", 1, fitting_length(subject, 130))); }},
      {"gradients", "gradients",
       [](Subject& subject) {
         const auto tokens = probe(subject, "history", 2, 19);
         subject.running().gradients(tokens, tokens.ids,
                                     subject.can("training") ? training_options() : PassOptions{});
       }},
      {"steps of the optimiser, which are undone by a load", "train",
       [](Subject& subject) {
         const auto run = short_training_run(subject, 1);
         subject.running().train(run, false);
       }},
      {"text of its own loop", "generate.greedy",
       [](Subject& subject) { generate_text(subject, generation_prompts(subject, 1), greedy(), 4); }}};
}

}  // namespace

REQUIREMENT("MODE-12",
            "a pass has the same logits whatever was asked before, and those of the weights loaded") {
  const at::NoGradGuard no_gradients;
  const auto tokens = standard_probe(subject);
  const auto first = logits(subject, tokens);
  const auto tolerance = subject.noise("logits", first);
  const auto expect_the_same = [&](const std::string& what) {
    expect_close(subject, "logits after " + what, logits(subject, tokens), first, tolerance);
  };
  for (const auto& request : requests()) {
    if (!subject.can(request.needs)) continue;
    request.ask(subject);
    expect_the_same(request.name);
  }
  for (const auto& left : subject.candidate().left_behind())
    expect_that(subject, false, "what a pass leaves changed", left, "nothing");
  if (!subject.can("load") || !subject.missing_parameters().empty()) return;
  const auto others = discriminating_weights(subject.specification().parameters(), subject.probes().seed + 1);
  const bool right = is_right_on_standard_probe(subject);
  subject.with_weights(others, [&](Candidate& candidate) {
    const auto after = candidate.forward(tokens, {}).to(at::kCPU);
    if (!right)
      return expect_differs(subject, "logits of the first weights and of others", first, after,
                            10 * tolerance.bound.item<double>(), "they follow the weights");
    const Model exact(subject.specification(),
                      convert(convert(others, candidate.type(), at::kCPU), at::kDouble, candidate.device()));
    const auto expected = exact.forward(tokens).to(at::kCPU);
    expect_close(subject, "logits after other weights were loaded", after, expected,
                 subject.noise("logits", expected));
  });
  expect_the_same("the first weights were loaded again");
}

REQUIREMENT("MODE-13", "logits are exact in every pairing of mode, mask, cache, batch, length and position") {
  const at::NoGradGuard no_gradients;
  struct Exact {
    at::Tensor logits;
    Tolerance tolerance;
  };
  std::map<std::vector<std::int64_t>, Exact>
      exact;  // by the position at which a sequence begins, and its ids
  const auto exact_of = [&](const Tokens& sequence, const PassOptions& options) -> const Exact& {
    const auto* ids = sequence.ids.const_data_ptr<std::int64_t>();
    std::vector<std::int64_t> key{options.first_position};
    key.insert(key.end(), ids, ids + sequence.ids.numel());
    const auto found = exact.find(key);
    if (found != exact.end()) return found->second;
    const auto logits = subject.exact().forward(sequence, options).to(at::kCPU);
    return exact[key] = {logits, noise_of_pass(subject, sequence, options, logits)};
  };
  std::map<CoveringRow, reports::Check> known;
  const auto judged = [&](const Way& way) -> const reports::Check& {
    const auto found = known.find(way.values);
    if (found != known.end()) return found->second;
    const auto sequence = sequence_of(subject, way);
    const auto& [expected, tolerance] = exact_of(sequence, way.options());
    return known[way.values] = compare(fmt::format("logits ({})", way.name()),
                                       run_way(subject, way, sequence), expected, tolerance);
  };
  std::set<CoveringRow> smallest;
  for (const auto& way : ways(subject)) {
    if (way.shows_loss()) continue;  // NUM-7 asks for these
    expect(subject, judged(way));
    if (!judged(way).within)
      smallest.insert(smallest_wrong(way, [&](const Way& other) { return !judged(other).within; }).values);
  }
  for (const auto& values : smallest) {
    subject.note_wrong_way(values);
    subject.recorder().finding(fmt::format("wrong as soon as these meet: {}", Way{values}.name()));
  }
}

}  // namespace plumbline
