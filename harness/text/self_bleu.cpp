// Self-BLEU: how similar each sample is to the others.
#include <algorithm>
#include <cmath>

#include "harness/text/repetition_metrics.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kOrder = 4;  // the longest n-grams

// The two largest counts of an n-gram in single sequences.
struct MostFrequent {
  std::uint32_t first = 0, second = 0, sequence_of_first = 0;
};

// Calls `use(number, times)` once for each distinct n-gram. `times` is scratch space: zeros, one an n-gram.
template <typename Use>
void for_each_count(const std::vector<std::uint32_t>& numbers, std::vector<std::uint32_t>& times,
                    const Use& use) {
  for (const auto number : numbers) ++times[number];
  for (const auto number : numbers) {
    if (times[number] == 0) continue;
    use(number, times[number]);
    times[number] = 0;
  }
}

// For each sequence, how many of its n-grams occur in others; each counts at most as often as it occurs in
// any single other sequence.
std::vector<double> matches_in_others(const NGrams& grams) {
  const auto& sequences = grams.numbers();
  std::vector<MostFrequent> most(grams.distinct());
  std::vector<std::uint32_t> scratch(grams.distinct(), 0);
  for (std::uint32_t s = 0; s < sequences.size(); ++s)
    for_each_count(sequences[s], scratch, [&](std::uint32_t number, std::uint32_t times) {
      auto& best = most[number];
      if (times > best.first)
        best = {times, best.first, s};
      else
        best.second = std::max(best.second, times);
    });
  std::vector<double> matches(sequences.size(), 0);
  for (std::uint32_t s = 0; s < sequences.size(); ++s)
    for_each_count(sequences[s], scratch, [&](std::uint32_t number, std::uint32_t times) {
      const auto& best = most[number];
      matches[s] += std::min(times, best.sequence_of_first == s ? best.second : best.first);
    });
  return matches;
}

// The nearest of the other lengths; of two that are as near, the shorter one. `lengths` is sorted.
std::size_t nearest_other_length(const std::vector<std::size_t>& lengths, std::size_t length) {
  const auto [first, last] = std::equal_range(lengths.begin(), lengths.end(), length);
  if (last - first != 1) return length;
  const bool shorter = first != lengths.begin(), longer = last != lengths.end();
  if (shorter && (!longer || length - first[-1] <= *last - length)) return first[-1];
  return longer ? *last : length;
}

double brevity_penalty(std::size_t candidate_length, std::size_t reference_length) {
  return candidate_length > reference_length
             ? 1
             : std::exp(1 - static_cast<double>(reference_length) / static_cast<double>(candidate_length));
}

}  // namespace

std::vector<std::optional<double>> self_bleu(const std::vector<Sequence>& sequences) {
  std::vector<double> log_precision(sequences.size(), 0);
  std::vector<char> has_no_match(sequences.size(), 0);
  NGrams grams(sequences);
  for (std::size_t n = 1; n <= kOrder; ++n) {
    if (n > 1) grams.lengthen();
    const auto matches = matches_in_others(grams);
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const auto count = static_cast<double>(std::max<std::size_t>(grams.numbers()[s].size(), 1));
      if (n == 1 && matches[s] == 0) has_no_match[s] = 1;
      log_precision[s] += std::log((matches[s] > 0 ? matches[s] : 0.1) / count) / kOrder;
    }
  }
  std::vector<std::size_t> lengths;
  for (const auto& sequence : sequences) lengths.push_back(sequence.size());
  std::sort(lengths.begin(), lengths.end());
  std::vector<std::optional<double>> scores(sequences.size());
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const auto length = sequences[s].size();
    if (length < kOrder) continue;
    const double penalty = brevity_penalty(length, nearest_other_length(lengths, length));
    scores[s] = has_no_match[s] != 0 ? 0 : penalty * std::exp(log_precision[s]);
  }
  return scores;
}

std::vector<Metric> self_bleu_metrics(const RepetitionInput& input) {
  auto metric = new_metric(
      "self-bleu", "BLEU-4 of each sample against all others, mean",
      "Zhu et al. 2018, Texygen: A Benchmarking Platform for Text Generation Models, section 2.1",
      "smoothing method 1 of Chen and Cherry 2014, nearest reference length; samples of 4 tokens or more",
      MetricKind::corpus, 1);
  const auto not_empty = std::count_if(input.sequences.begin(), input.sequences.end(),
                                       [](const Sequence& sequence) { return !sequence.empty(); });
  double sum = 0;
  if (not_empty > 1)
    for (const auto& score : self_bleu(input.sequences))
      if (score) sum += *score, ++metric.measured;
  if (metric.measured > 0)
    metric.value = sum / static_cast<double>(metric.measured);
  else
    metric.reason = not_empty < 2 ? "there is one sample alone" : "no sample has 4 tokens";
  return {std::move(metric)};
}

}  // namespace plumbline
