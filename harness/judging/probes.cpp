#include "harness/judging/probes.hpp"

#include <algorithm>
#include <numeric>

namespace plumbline {

Tolerance GradientProbe::allowed(const at::Tensor& gradient) const {
  const auto size = finite(gradient);
  auto tolerance = Tolerance::absolute(kNoiseFactor * noise * largest(size), reason);
  if (gradient.numel() > 1) tolerance.whole = kWholeFactor * whole * root_mean_square(size);
  return tolerance;
}

void for_each_gradient_probe(Subject& subject, const std::function<bool(const std::string&)>& can,
                             const std::function<void(const GradientProbe&)>& body) {
  subject.running();
  std::vector<GradientProbe> all;
  const auto add = [&](const std::string& name, const at::Tensor& ids, bool training, Padding padding) {
    GradientProbe one;
    one.name = name;
    one.options = training ? in_training() : PassOptions{};
    one.tokens = {ids, {}, padding};
    one.labels = ids.clone();
    one.labels.narrow(1, 4, 2).fill_(kIgnored);
    one.labels[0].narrow(0, 6, 3).copy_(at::arange(3));  // what tokenizers pad, begin and end with
    if (padding == Padding::right) {
      one.tokens.lengths = {13, 9, 11};
      one.labels.masked_fill_(~real_tokens(one.tokens), kIgnored);
    }
    all.push_back(std::move(one));
  };
  const auto ids = probe(subject, "gradients", 3, 13).ids;
  for (const bool training : {false, true}) {
    if (training && !can("training")) continue;
    const std::string mode = training ? "training" : "evaluation";
    add(mode, ids, training, Padding::none);
    if (can("padding.right")) add(mode + ", padded right", ids, training, Padding::right);
  }
  add(can("training") ? "training, 100 tokens" : "evaluation, 100 tokens",
      probe(subject, "gradients", 1, 100).ids, can("training"), Padding::none);
  for (auto& one : all) {
    one.exact = gradients(subject.exact(), one.tokens, one.labels, one.options);
    const auto rounded = gradients(subject.rounded(), one.tokens, one.labels, one.options);
    for (const auto& [name, right] : one.exact.parameters) {
      const auto error =
          rounded.parameters.at(name).to(at::kCPU, at::kDouble) - right.to(at::kCPU, at::kDouble);
      one.noise = std::max(one.noise, largest(error) / largest(right));
      one.whole = std::max(one.whole, root_mean_square(error) / root_mean_square(right));
    }
    one.reason = fmt::format("{} x the {} rounding error measured on the reference, {} of the largest",
                             kNoiseFactor, type_name(subject.candidate().type()), number(one.noise));
    body(one);
    one.exact = {};
  }
}

TrainingRun some_steps(Subject& subject, std::int64_t steps) {
  const auto ids = probe(subject, "steps", steps * 2, 9).ids.view({steps, 2, 9});
  // An eps of the gradients' own size: where it is tiny, the first step is the gradient's sign, and rounding
  // decides on what is near 0. A decay that takes about as much as the gradient moves, so that both show.
  return {ids, ids, {.learning_rate = 1e-4, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-2, .weight_decay = 5}};
}

TrainingRun some_steps_with_ignored_labels(Subject& subject, std::int64_t steps) {
  auto run = some_steps(subject, steps);
  run.labels = run.labels.clone();
  run.labels.select(1, 0).narrow(1, 2, 4).fill_(kIgnored);
  return run;
}

const Golden& golden(Subject& subject) {
  if (!subject.golden())
    not_assessed(fmt::format(
        "there are no golden tensors for '{}'; `plumbline golden make` makes some, --golden takes them",
        subject.specification().name));
  return *subject.golden();
}

// The golden tensors, of weights that the candidate has loaded.
const Golden& golden_of_its_weights(Subject& subject) {
  const auto& lacking = subject.lacking();
  if (!lacking.empty())
    not_assessed(fmt::format("the golden tensors were computed with {}, which the candidate does not have",
                             *lacking.begin()));
  return golden(subject);
}

void as_one_matrix(Weights& one, Weights& other) {
  for (auto [with, without] : {std::pair{&one, &other}, {&other, &one}}) {
    const auto head = with->find("lm_head.weight"), embedding = with->find("model.embed_tokens.weight");
    if (without->contains("lm_head.weight") || head == with->end() || embedding == with->end() ||
        head->second.sizes() != embedding->second.sizes())
      continue;
    embedding->second = embedding->second + head->second;
    with->erase(head);
  }
}

Tokens special_tokens(Subject& subject) {
  const auto& s = subject.specification();
  const std::vector<std::int64_t> special{0, 1, 2, 3, s.vocab_size - 1};
  std::vector<std::int64_t> ids;
  for (const auto first : special)
    for (const auto second : special) ids.insert(ids.end(), {first, second, 7 + first});
  return {at::tensor(ids, at::kLong).remainder(s.vocab_size).unsqueeze(0), {}, Padding::none};
}

namespace {

const std::vector<std::int64_t> kPrompts{13, 5, 9};  // lengths

Tokens prompts(Subject& subject) {
  return probe(subject, "prompts", 3, 13);
}
Tokens continuations(Subject& subject) {
  return probe(subject, "continuations", 3, 6);
}

}  // namespace

std::vector<at::Tensor> padded_and_decoded(Subject& subject, Padding side) {
  const at::NoGradGuard no_gradients;
  const auto longest = prompts(subject).ids, more = continuations(subject).ids;
  auto prompt = at::zeros_like(longest);
  const auto begin = [&](std::int64_t length) { return side == Padding::right ? 0 : 13 - length; };
  for (std::int64_t row = 0; row < 3; ++row) {
    const auto length = kPrompts[static_cast<std::size_t>(row)];
    prompt[row].narrow(0, begin(length), length).copy_(longest[row].narrow(0, 0, length));
  }
  const auto decoding = subject.running().decode(3, 19);
  const auto first = decoding->extend({prompt, kPrompts, side}, {}).to(at::kCPU);
  std::vector<at::Tensor> rest;
  for (std::int64_t step = 0; step < 6; ++step)
    rest.push_back(decoding->extend({more.narrow(1, step, 1), {}, Padding::none}, {}).to(at::kCPU));
  const auto later = at::cat(rest, 1);
  std::vector<at::Tensor> all;
  for (std::int64_t row = 0; row < 3; ++row) {
    const auto length = kPrompts[static_cast<std::size_t>(row)];
    all.push_back(
        at::cat({first.narrow(0, row, 1).narrow(1, begin(length), length), later.narrow(0, row, 1)}, 1));
  }
  return all;
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

std::vector<Tokens> padded_and_decoded_alone(Subject& subject) {
  std::vector<Tokens> all;
  for (std::int64_t row = 0; row < 3; ++row)
    all.push_back({at::cat({prompts(subject).ids.narrow(0, row, 1).narrow(
                                1, 0, kPrompts[static_cast<std::size_t>(row)]),
                            continuations(subject).ids.narrow(0, row, 1)},
                           1),
                   {},
                   Padding::none});
  return all;
}

std::vector<std::int64_t> chunks_it_takes(Subject& subject, const std::vector<std::int64_t>& chunks) {
  if (subject.can("cache.chunks")) return chunks;
  return one_by_one(chunks.front(), std::accumulate(chunks.begin(), chunks.end(), std::int64_t{0}));
}

at::Tensor logits_beside(Subject& subject, const Tokens& tokens, double value) {
  const at::NoGradGuard no_gradients;
  const auto decoding = subject.running().decode(1, 40);
  std::vector<at::Tensor> all;
  std::int64_t begin = 0;
  for (const auto count : chunks_it_takes(subject, {9, 1, 14})) {
    decoding->fill_unwritten(value);
    all.push_back(decoding->extend({tokens.ids.narrow(1, begin, count), {}, Padding::none}, {}).to(at::kCPU));
    begin += count;
  }
  return at::cat(all, 1);
}

Overrun overrun(Subject& subject) {
  const at::NoGradGuard no_gradients;
  constexpr std::int64_t asked = 12, most = 4096;
  const auto decoding = subject.running().decode(1, asked);
  Overrun found;
  found.capacity = std::max(asked, subject.can("cache.show") ? decoding->show().capacity : 0);
  if (found.capacity > std::min(most, subject.specification().max_position_embeddings - 1))
    not_assessed(fmt::format("it has room for {} tokens where {} were asked for, too many to fill",
                             found.capacity, asked));
  found.tokens =
      found.capacity < 24 ? standard_probe(subject) : probe(subject, "overrun", 1, found.capacity + 1);
  const auto take = [&](std::int64_t begin, std::int64_t count) {
    return decoding->extend({found.tokens.ids.narrow(1, begin, count), {}, Padding::none}, {}).to(at::kCPU);
  };
  const auto refuses = [&](std::int64_t begin, std::int64_t count) {
    try {
      take(begin, count);
    } catch (const CacheOverrun&) {
      return true;
    }
    return false;
  };
  const auto first = found.capacity - 2;
  // Where a prompt alone may have several tokens, it is the prompt that does not fit, and then one more.
  const bool chunks = subject.can("cache.chunks");
  if (chunks && refuses(0, first)) {
    found.answer = fmt::format("{} tokens that fit were refused", first);
    return found;
  }
  found.answer = fmt::format("{} tokens were accepted", found.capacity + 1);
  if (!(chunks ? refuses(first, 3) : refuses(0, found.capacity + 1))) return found;
  try {
    if (!chunks) take(0, first);
    const auto last = chunks ? take(first, 2) : at::cat({take(first, 1), take(first + 1, 1)}, 1);
    if (!chunks && !refuses(found.capacity, 1)) return found;
    found.answer = "refused";
    found.logits = last;
  } catch (const CacheOverrun&) {
    found.answer = "refused, and then 2 tokens that fit";
  }
  return found;
}

Filled fill_cache(Subject& subject) {
  const at::NoGradGuard no_gradients;
  Filled filled;
  filled.tokens = probe(subject, "cache", 3, 24);
  filled.decoding = subject.running().decode(3, 29);
  PassOptions options;
  options.observe = [&](const std::string& stage, const at::Tensor& value) {
    filled.stages[stage] = value.to(at::kCPU).clone();
  };
  filled.decoding->extend(filled.tokens, options);
  filled.view = filled.decoding->show();
  return filled;
}

at::Tensor some_heads(Subject& subject) {
  const auto& s = subject.specification();
  const auto elements = 3 * 7 * s.num_key_value_heads * s.head_size();
  return at::arange(elements, at::kDouble).sin().view({3, 7, s.num_key_value_heads, s.head_size()});
}

at::Tensor some_upstream(Subject& subject, std::int64_t factor) {
  const auto x = some_heads(subject);
  return at::arange(x.numel() * factor, at::kDouble)
      .cos()
      .view({x.size(0), x.size(1), x.size(2) * factor, x.size(3)});
}

}  // namespace plumbline
