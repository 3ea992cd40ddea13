#include "harness/judging/probes.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "harness/judging/ways.hpp"

namespace plumbline {

Tolerance GradientProbe::allowed(const at::Tensor& gradient) const {
  const auto size = finite(gradient);
  auto tolerance = Tolerance::absolute(kNoiseFactor * noise * largest(size), reason);
  if (gradient.numel() > 1)
    tolerance.root_mean_square = kRootMeanSquareFactor * root_mean_square_noise * root_mean_square(size);
  return tolerance;
}

namespace {

// What the loss of a batch depends on: its real tokens and their labels, padded on the right.
struct LossContent {
  Tokens tokens;
  at::Tensor labels;

  explicit LossContent(const GradientProbe& probe) : tokens(probe.tokens), labels(probe.labels) {
    if (tokens.padding == Padding::none) return;
    const auto width = tokens.ids.size(1);
    tokens = {at::zeros_like(tokens.ids), tokens.lengths, Padding::right};
    labels = at::full_like(labels, kIgnoredLabel);
    for (std::int64_t row = 0; row < labels.size(0); ++row) {
      const auto length = tokens.lengths[static_cast<std::size_t>(row)];
      const auto begin = probe.tokens.padding == Padding::left ? width - length : 0;
      tokens.ids[row].narrow(0, 0, length).copy_(probe.tokens.ids[row].narrow(0, begin, length));
      labels[row].narrow(0, 0, length).copy_(probe.labels[row].narrow(0, begin, length));
    }
    const auto longest = *std::max_element(tokens.lengths.begin(), tokens.lengths.end());
    tokens.ids = tokens.ids.narrow(1, 0, longest);
    labels = labels.narrow(1, 0, longest);
  }

  bool operator==(const LossContent& other) const {
    return tokens.ids.equal(other.tokens.ids) && labels.equal(other.labels);
  }
};

// Adds what a right model has: its gradients, and how far rounding moves them.
void compute_exactly(Subject& subject, const LossContent& content, GradientProbe& probe) {
  const auto options = subject.can("training") ? training_options() : PassOptions{};
  probe.exact = gradients(subject.exact(), content.tokens, content.labels, options);
  const auto rounded = gradients(subject.rounded(), content.tokens, content.labels, options);
  for (const auto& [name, expected] : probe.exact.parameters) {
    const auto error =
        rounded.parameters.at(name).to(at::kCPU, at::kDouble) - expected.to(at::kCPU, at::kDouble);
    probe.noise = std::max(probe.noise, largest(error) / largest(expected));
    probe.root_mean_square_noise =
        std::max(probe.root_mean_square_noise, root_mean_square(error) / root_mean_square(expected));
  }
  probe.reason = fmt::format("{} x the {} rounding error measured on the reference, {} of the largest",
                             kNoiseFactor, type_name(subject.candidate().type()), number(probe.noise));
}

}  // namespace

void for_each_gradient_probe(Subject& subject, const std::function<bool(const std::string&)>& can,
                             const std::function<void(const GradientProbe&)>& body) {
  subject.running();
  std::vector<GradientProbe> all;
  for (const auto& way : ways(can, subject.specification().max_position_embeddings)) {
    if (!way.shows_loss()) continue;
    GradientProbe one;
    one.name = way.name();
    one.options = way.options();
    one.tokens = batch_of(subject, way, sequence_of(subject, way));
    one.labels = labels_of(one.tokens);
    all.push_back(std::move(one));
  }
  // Those of one content have the same gradients, which are computed once and freed then.
  while (!all.empty()) {
    const LossContent content(all.front());
    const auto others = std::stable_partition(
        all.begin(), all.end(), [&](const GradientProbe& one) { return LossContent(one) == content; });
    auto exact = all.front();
    compute_exactly(subject, content, exact);
    for (auto one = all.begin(); one != others; ++one) {
      auto judged = exact;
      std::tie(judged.name, judged.tokens, judged.labels, judged.options) =
          std::tie(one->name, one->tokens, one->labels, one->options);
      body(judged);
    }
    all.erase(all.begin(), others);
  }
}

TrainingRun short_training_run(Subject& subject, std::int64_t steps) {
  const auto ids = probe(subject, "steps", steps * 2, 9).ids.view({steps, 2, 9});
  // eps is of the gradients' magnitude: with a tiny one the first step is the gradient's sign, and rounding
  // decides about gradients near 0. The decay changes a parameter about as much as the gradient does.
  return {ids, ids, {.learning_rate = 1e-4, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-2, .weight_decay = 5}};
}

TrainingRun training_run_with_ignored_labels(Subject& subject, std::int64_t steps) {
  auto run = short_training_run(subject, steps);
  run.labels = run.labels.clone();
  run.labels.select(1, 0).narrow(1, 2, 4).fill_(kIgnoredLabel);
  return run;
}

const Golden& golden(Subject& subject) {
  if (!subject.golden())
    not_assessed(
        fmt::format("there are no golden tensors for '{}'; make them with `plumbline golden make` and give "
                    "them with --golden",
                    subject.specification().name));
  return *subject.golden();
}

void with_golden_weights(Subject& subject, const std::function<void(const Golden&)>& body) {
  const auto& lacking = subject.missing_parameters();
  if (!lacking.empty())
    not_assessed(fmt::format("the golden tensors were computed with {}, which the candidate does not have",
                             *lacking.begin()));
  const auto& tensors = golden(subject);
  if (tensors.seed() == subject.probes().seed) return body(tensors);
  subject.with_weights(discriminating_weights(subject.specification().parameters(), tensors.seed()),
                       [&](Candidate&) { body(tensors); });
}

void merge_untied_head(Weights& one, Weights& other) {
  for (auto [with, without] : {std::pair{&one, &other}, {&other, &one}}) {
    const auto head = with->find("lm_head.weight"), embedding = with->find("model.embed_tokens.weight");
    if (without->contains("lm_head.weight") || head == with->end() || embedding == with->end() ||
        head->second.sizes() != embedding->second.sizes())
      continue;
    embedding->second = embedding->second + head->second;
    with->erase(head);
  }
}

bool is_right_on_standard_probe(Subject& subject) {
  const at::NoGradGuard no_gradients;
  const auto tokens = standard_probe(subject);
  const auto expected = subject.exact().forward(tokens).to(at::kCPU);
  return compare("logits", logits(subject, tokens), expected, subject.noise("logits", expected)).within;
}

Tokens special_tokens(Subject& subject) {
  const auto& s = subject.specification();
  const std::vector<std::int64_t> special{0, 1, 2, 3, s.vocab_size - 1};
  std::vector<std::int64_t> ids;
  for (const auto first : special)
    for (const auto second : special) ids.insert(ids.end(), {first, second, 7 + first});
  // With the five tokens of padding that some modes add.
  const auto length = fitting_length(subject, static_cast<std::int64_t>(ids.size()) + 5) - 5;
  ids.resize(static_cast<std::size_t>(length));
  return {at::tensor(ids, at::kLong).remainder(s.vocab_size).unsqueeze(0), {}, Padding::none};
}

namespace {

const std::vector<std::int64_t> kPromptLengths{13, 5, 9};

Tokens prompts(Subject& subject) {
  return probe(subject, "prompts", 3, 13);
}
Tokens continuations(Subject& subject) {
  return probe(subject, "continuations", 3, 6);
}

std::vector<at::Tensor> decode_padded(Subject& subject, const at::Tensor& longest, const at::Tensor& more,
                                      Padding side, const std::vector<std::int64_t>& chunks) {
  const at::NoGradGuard no_gradients;
  auto prompt = at::zeros_like(longest);
  const auto begin = [&](std::int64_t length) { return side == Padding::right ? 0 : 13 - length; };
  for (std::int64_t row = 0; row < 3; ++row) {
    const auto length = kPromptLengths[static_cast<std::size_t>(row)];
    prompt[row].narrow(0, begin(length), length).copy_(longest[row].narrow(0, 0, length));
  }
  const auto decoding = subject.running().decode(3, 19);
  const auto first = decoding->extend({prompt, kPromptLengths, side}, {}).to(at::kCPU);
  std::vector<at::Tensor> rest;
  std::int64_t begin_of_chunk = 0;
  for (const auto chunk : chunks) {
    rest.push_back(
        decoding->extend({more.narrow(1, begin_of_chunk, chunk), {}, Padding::none}, {}).to(at::kCPU));
    begin_of_chunk += chunk;
  }
  const auto later = at::cat(rest, 1);
  std::vector<at::Tensor> all;
  for (std::int64_t row = 0; row < 3; ++row) {
    const auto length = kPromptLengths[static_cast<std::size_t>(row)];
    all.push_back(
        at::cat({first.narrow(0, row, 1).narrow(1, begin(length), length), later.narrow(0, row, 1)}, 1));
  }
  return all;
}

}  // namespace

std::vector<at::Tensor> decode_padded_batch(Subject& subject, Padding side,
                                            const std::vector<std::int64_t>& chunks) {
  return decode_padded(subject, prompts(subject).ids, continuations(subject).ids, side, chunks);
}

at::Tensor decode_in_padded_batch(Subject& subject, const Tokens& row, Padding side) {
  auto longest = prompts(subject).ids.clone(), more = continuations(subject).ids.clone();
  longest[1].narrow(0, 0, 5).copy_(row.ids[0].narrow(0, 0, 5));
  more[1].copy_(row.ids[0].narrow(0, 5, 6));
  return decode_padded(subject, longest, more, side, {1, 1, 1, 1, 1, 1})[1];
}

at::Tensor decoded_with_mask_of_ones(Subject& subject, const Tokens& tokens, Padding side) {
  const at::NoGradGuard no_gradients;
  const auto prefill = with_mask_of_ones({tokens.ids.narrow(1, 0, 13), {}, Padding::none}, side);
  const auto decoding = subject.running().decode(tokens.ids.size(0), 19);
  std::vector<at::Tensor> all{decoding->extend(prefill, {}).to(at::kCPU)};
  for (std::int64_t step = 13; step < 19; ++step)
    all.push_back(decoding->extend({tokens.ids.narrow(1, step, 1), {}, Padding::none}, {}).to(at::kCPU));
  return at::cat(all, 1);
}

std::vector<Tokens> unpadded_sequences(Subject& subject) {
  std::vector<Tokens> all;
  for (std::int64_t row = 0; row < 3; ++row)
    all.push_back({at::cat({prompts(subject).ids.narrow(0, row, 1).narrow(
                                1, 0, kPromptLengths[static_cast<std::size_t>(row)]),
                            continuations(subject).ids.narrow(0, row, 1)},
                           1),
                   {},
                   Padding::none});
  return all;
}

std::vector<std::int64_t> supported_chunks(Subject& subject, const std::vector<std::int64_t>& chunks) {
  if (subject.can("cache.chunks")) return chunks;
  return prefill_then_single_tokens(chunks.front(),
                                    std::accumulate(chunks.begin(), chunks.end(), std::int64_t{0}));
}

at::Tensor logits_with_filled_slots(Subject& subject, const Tokens& tokens, double value) {
  const at::NoGradGuard no_gradients;
  const auto decoding = subject.running().decode(1, 40);
  std::vector<at::Tensor> all;
  std::int64_t begin = 0;
  for (const auto count : supported_chunks(subject, {9, 1, 14})) {
    decoding->fill_unwritten(value);
    all.push_back(decoding->extend({tokens.ids.narrow(1, begin, count), {}, Padding::none}, {}).to(at::kCPU));
    begin += count;
  }
  return at::cat(all, 1);
}

Overrun overrun_cache(Subject& subject) {
  const at::NoGradGuard no_gradients;
  constexpr std::int64_t kRequested = 12, kMostCapacity = 4096;
  const auto decoding = subject.running().decode(1, kRequested);
  Overrun outcome;
  outcome.capacity = std::max(kRequested, subject.can("cache.show") ? decoding->show().capacity : 0);
  if (outcome.capacity > std::min(kMostCapacity, subject.specification().max_position_embeddings - 1))
    not_assessed(fmt::format("it has room for {} tokens where {} were asked for, too many to fill",
                             outcome.capacity, kRequested));
  outcome.tokens =
      outcome.capacity < 24 ? standard_probe(subject) : probe(subject, "overrun", 1, outcome.capacity + 1);
  const auto extend = [&](std::int64_t begin, std::int64_t count) {
    return decoding->extend({outcome.tokens.ids.narrow(1, begin, count), {}, Padding::none}, {}).to(at::kCPU);
  };
  const auto refuses = [&](std::int64_t begin, std::int64_t count) {
    try {
      extend(begin, count);
    } catch (const CacheOverrun&) {
      return true;
    }
    return false;
  };
  const auto first = outcome.capacity - 2;
  const bool chunks = subject.can("cache.chunks");
  if (chunks && refuses(0, first)) {
    outcome.answer = fmt::format("{} tokens that fit were refused", first);
    return outcome;
  }
  outcome.answer = fmt::format("{} tokens were accepted", outcome.capacity + 1);
  if (!(chunks ? refuses(first, 3) : refuses(0, outcome.capacity + 1))) return outcome;
  try {
    if (!chunks) extend(0, first);
    const auto last_two = chunks ? extend(first, 2) : at::cat({extend(first, 1), extend(first + 1, 1)}, 1);
    if (!chunks && !refuses(outcome.capacity, 1)) return outcome;
    outcome.answer = "refused";
    outcome.logits = last_two;
  } catch (const CacheOverrun&) {
    outcome.answer = "refused, and then 2 tokens that fit";
  }
  return outcome;
}

FilledCache fill_cache(Subject& subject) {
  const at::NoGradGuard no_gradients;
  FilledCache filled;
  filled.tokens = probe(subject, "cache", 3, 24);
  filled.decoding = subject.running().decode(3, 29);
  PassOptions options;
  options.observer = [&](const Stage& stage, const at::Tensor& value) {
    filled.stages[stage] = value.to(at::kCPU).clone();
  };
  filled.decoding->extend(filled.tokens, options);
  filled.view = filled.decoding->show();
  return filled;
}

at::Tensor repeat_kv_input(Subject& subject) {
  const auto& s = subject.specification();
  const auto elements = 3 * 7 * s.num_key_value_heads * s.head_size();
  return at::arange(elements, at::kDouble).sin().view({3, 7, s.num_key_value_heads, s.head_size()});
}

at::Tensor repeat_kv_upstream(Subject& subject, std::int64_t factor) {
  const auto x = repeat_kv_input(subject);
  return at::arange(x.numel() * factor, at::kDouble)
      .cos()
      .view({x.size(0), x.size(1), x.size(2) * factor, x.size(3)});
}

}  // namespace plumbline
