// Chapter 4: the KV cache.
#include <algorithm>
#include <cmath>

#include "harness/judging/probes.hpp"
#include "suites/requirement.hpp"

namespace plumbline {
namespace {

// The tolerance of two passes over the same tokens, each with its rounding error.
Tolerance noise_of_two_passes(Subject& subject, const at::Tensor& logits) {
  auto tolerance = subject.noise("logits", logits);
  tolerance.bound = 2 * tolerance.bound;
  tolerance.reason = "in each of two passes " + tolerance.reason;
  return tolerance;
}

// Expects the same logits through the cache and in one full pass.
void expect_same_as_full_pass(Subject& subject, const std::string& mode,
                              const std::vector<std::int64_t>& chunks) {
  const auto tokens = standard_probe(subject);
  const auto full = logits(subject, tokens);
  expect_close(subject, "logits, " + mode, cached_logits(subject, tokens, chunks), full,
               noise_of_two_passes(subject, full));
}

}  // namespace

REQUIREMENT("KVC-1", "the cache holds K heads of keys and as many of values, unrepeated") {
  const auto& s = subject.specification();
  const auto filled = fill_cache(subject);
  expect_equal(subject, "layers in the cache", static_cast<std::int64_t>(filled.view.layers.size()),
               s.num_hidden_layers);
  expect_equal(subject, "positions in the cache", filled.view.length, 24);
  for (std::size_t layer = 0; layer < filled.view.layers.size(); ++layer)
    for (const auto& [name, cached] :
         {std::pair{"keys", filled.view.layers[layer].keys}, {"values", filled.view.layers[layer].values}}) {
      expect_equal(subject, fmt::format("layers.{} cached {}, heads", layer, name), cached.size(2),
                   s.num_key_value_heads);
      expect_equal(subject, fmt::format("layers.{} cached {}, head size", layer, name), cached.size(3),
                   s.head_size());
      expect_equal(subject, fmt::format("layers.{} cached {}, positions", layer, name), cached.size(1), 24);
    }
}

REQUIREMENT("KVC-2",
            "cached keys hold 1/factor as many elements as the queries at the same positions, and so do "
            "cached values") {
  const auto& s = subject.specification();
  const auto filled = fill_cache(subject);
  for (std::size_t layer = 0; layer < filled.view.layers.size(); ++layer) {
    const auto queries = shown(filled.stages, {"q", layer}).numel();
    expect_equal(subject, fmt::format("layers.{}: elements of cached keys x factor", layer),
                 filled.view.layers[layer].keys.numel() * s.repeat_factor(), queries);
    expect_equal(subject, fmt::format("layers.{}: elements of cached values x factor", layer),
                 filled.view.layers[layer].values.numel() * s.repeat_factor(), queries);
  }
}

REQUIREMENT("KVC-3", "the memory held is what the key/value heads need for the capacity") {
  const auto& s = subject.specification();
  const auto filled = fill_cache(subject);
  const auto element =
      filled.view.layers.empty() ? 0 : static_cast<std::int64_t>(filled.view.layers[0].keys.element_size());
  const auto slots = 3 * filled.view.capacity * s.num_hidden_layers;
  const auto grouped = slots * 2 * s.key_value_size() * element,
             multi_head = slots * 2 * s.hidden_size * element;
  expect_equal(subject, "bytes held by the cache", filled.view.bytes, grouped);
  const double saved =
      100.0 * (1.0 - static_cast<double>(filled.view.bytes) / static_cast<double>(multi_head));
  const double promised = 100.0 * (1.0 - 1.0 / static_cast<double>(s.repeat_factor()));
  expect_close(subject, "% saved against multi-head attention", at::scalar_tensor(saved, at::kDouble),
               at::scalar_tensor(promised, at::kDouble), Tolerance::absolute(1e-9, "counted bytes"));
  subject.recorder().finding(fmt::format(
      "{} bytes for {} positions of 3 sequences; multi-head attention would hold {}: {:.2f} % saved",
      filled.view.bytes, filled.view.capacity, multi_head, saved));
  if (filled.view.held > filled.view.bytes)
    subject.recorder().finding(
        fmt::format("its keys and values are views of larger tensors, which keep {} bytes allocated; a copy "
                    "would hold {}",
                    filled.view.held, filled.view.bytes));
}

REQUIREMENT("KVC-4", "prefill followed by decoding one token at a time equals one full pass") {
  expect_same_as_full_pass(subject, "11 prefilled, then one at a time", prefill_then_single_tokens(11, 24));
}

REQUIREMENT("KVC-5", "prefill in chunks equals one full pass") {
  expect_same_as_full_pass(subject, "in chunks of 7, 5 and 12", {7, 5, 12});
  expect_same_as_full_pass(subject, "in chunks of 2, 1 and 21", {2, 1, 21});
}

REQUIREMENT("KVC-6", "decoding from a single token equals one full pass") {
  expect_same_as_full_pass(subject, "one at a time from the first", prefill_then_single_tokens(1, 24));
}

REQUIREMENT("KVC-7", "cache slots that were not written have no influence") {
  const auto tokens = standard_probe(subject);
  const auto full = logits(subject, tokens);
  // Large but finite: a correct static cache that masks by adding to scores would fail on NaN.
  for (const double value : {3e4, -3e4})
    expect_close(subject, fmt::format("logits with {} in every unwritten slot", number(value)),
                 logits_with_filled_slots(subject, tokens, value), full, noise_of_two_passes(subject, full));
}

REQUIREMENT("KVC-8", "a cache of fixed capacity refuses to overflow, and its contents stay usable") {
  const auto outcome = overrun_cache(subject);
  expect_equal(subject,
               fmt::format("writing {} tokens into a cache of {}", outcome.capacity + 1, outcome.capacity),
               outcome.answer, "refused");
  if (!outcome.logits.defined()) return;
  const auto expected = logits(subject, outcome.tokens).narrow(1, outcome.capacity - 2, 2);
  expect_close(subject, "logits of the last two tokens that fit", outcome.logits, expected,
               subject.noise("logits", expected));
}

REQUIREMENT("KVC-9", "the cache holds the rotated keys and the values of every position") {
  const auto filled = fill_cache(subject);
  const auto full = observe(subject, filled.tokens);
  for (std::size_t layer = 0; layer < filled.view.layers.size(); ++layer) {
    const auto keys = shown(full, {"k_rotated", layer});
    const auto values = shown(full, {"v", layer});
    expect_close(subject, fmt::format("layers.{} cached keys", layer),
                 filled.view.layers[layer].keys.to(at::kCPU), keys, subject.noise("k_rotated", keys));
    expect_close(subject, fmt::format("layers.{} cached values", layer),
                 filled.view.layers[layer].values.to(at::kCPU), values, subject.noise("v", values));
  }
}

REQUIREMENT("KVC-10", "two sequences decoded at the same time do not influence each other") {
  const at::NoGradGuard no_gradients;
  const auto both = probe(subject, "two", 2, 13);
  std::vector<std::unique_ptr<Decoding>> decodings;
  std::vector<std::vector<at::Tensor>> logits_of(2);
  for (int i = 0; i < 2; ++i) decodings.push_back(subject.running().decode(1, 13));
  std::int64_t begin = 0;
  for (const auto count : supported_chunks(subject, {6, 1, 6})) {
    for (std::size_t i = 0; i < 2; ++i)
      logits_of[i].push_back(
          decodings[i]
              ->extend({row_of_batch(both, static_cast<std::int64_t>(i)).ids.narrow(1, begin, count),
                        {},
                        Padding::none},
                       {})
              .to(at::kCPU));
    begin += count;
  }
  for (std::size_t i = 0; i < 2; ++i) {
    const auto alone = logits(subject, row_of_batch(both, static_cast<std::int64_t>(i)));
    expect_close(subject, fmt::format("logits of sequence {}, decoded in turn with another", i),
                 at::cat(logits_of[i], 1), alone, subject.noise("logits", alone));
  }
}

REQUIREMENT("KVC-11", "long decoding equals one full pass, past every power of two up to 512") {
  const auto length = fitting_length(subject, 134), prefilled = std::min<std::int64_t>(61, length / 2);
  const auto tokens = probe(subject, "long", 5, length);
  const auto full = logits(subject, tokens);
  const bool in_chunks = subject.can("cache.chunks") && length == 134;
  auto chunks = prefill_then_single_tokens(prefilled, in_chunks ? 70 : length);
  if (in_chunks) chunks.insert(chunks.end(), {56, 8});
  expect_close(subject,
               fmt::format("logits of 5 sequences of {} tokens, {} prefilled, then {}", length, prefilled,
                           in_chunks ? "9 one at a time, then 56 and 8" : "one at a time"),
               cached_logits(subject, tokens, chunks), full, noise_of_two_passes(subject, full));
  const auto longest = std::min<std::int64_t>(600, subject.specification().max_position_embeddings - 4);
  const auto one = probe(subject, "long prefill", 1, longest + 4);
  const auto full_logits = logits(subject, one);
  expect_close(subject, fmt::format("logits of {} tokens prefilled, then 4 one at a time", longest),
               cached_logits(subject, one, prefill_then_single_tokens(longest, longest + 4)), full_logits,
               noise_of_two_passes(subject, full_logits));
}

}  // namespace plumbline
