// Metrics of repeated n-grams, within a sample and over all samples.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <span>

#include "harness/text/repetition_metrics.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kLengths[] = {1, 2, 3, 4, 8};  // of n-grams
constexpr std::size_t kLongest = 8;
constexpr std::size_t kLongestDistinct = 4;                     // distinct-n
constexpr std::size_t kFirstOfDiversity = 1, kOfDiversity = 3;  // of kLengths: 2, 3 and 4

constexpr const char* kSu =
    "Su et al. 2022, A Contrastive Framework for Neural Text Generation, section 4.1.2";

// The share of each sample's n-grams that occurred in it before.
std::vector<Share> repeated_ngrams(const NGrams& grams) {
  std::vector<std::uint32_t> last_sample(grams.distinct(), 0xffffffff);  // that has the n-gram of this number
  std::vector<Share> shares;
  for (std::uint32_t sample = 0; sample < grams.numbers().size(); ++sample) {
    const auto& numbers = grams.numbers()[sample];
    std::size_t distinct = 0;
    for (const auto number : numbers)
      if (last_sample[number] != sample) last_sample[number] = sample, ++distinct;
    shares.push_back({static_cast<double>(numbers.size() - distinct), static_cast<double>(numbers.size())});
  }
  return shares;
}

Metric seq_rep(std::size_t n, const std::vector<Share>& repeated, const std::string& reason) {
  auto metric =
      new_metric(fmt::format("seq-rep-{}", n), fmt::format("repeated {}-grams, mean over samples", n),
                 fmt::format("{}, seq-rep-n", kWelleck),
                 "1 - distinct n-grams / n-grams of each sample, then the mean", MetricKind::mean, 1);
  // One n-gram alone cannot repeat.
  for (const auto& share : repeated)
    metric.shares.push_back(share.denominator > 1 ? Share{share.numerator / share.denominator, 1} : Share{});
  set_value_from_shares(metric, reason);
  return metric;
}

Metric pooled_rep(std::size_t n, const std::vector<Share>& repeated, const std::string& reason) {
  auto metric = new_metric(
      fmt::format("rep-{}", n), fmt::format("repeated {}-grams, pooled", n), fmt::format("{}, rep-n", kSu),
      "1 - sum of each sample's distinct n-grams / sum of n-grams, as a share and not in percent; the last "
      "n-gram counts",
      MetricKind::ratio, 1);
  metric.shares = repeated;
  set_value_from_shares(metric, reason);
  return metric;
}

Metric distinct_ngrams(const NGrams& grams, const Samples& samples) {
  const auto n = grams.length();
  auto metric = new_metric(
      fmt::format("distinct-{}", n), fmt::format("distinct {}-grams a token, all samples together", n),
      "Li et al. 2016, A Diversity-Promoting Objective Function for Neural Conversation Models, section 5.2",
      "distinct n-grams of all samples / tokens of all samples; depends on how much text there is",
      MetricKind::corpus, -1);
  metric.measured = samples.all.size();
  std::size_t count = 0;
  for (const auto& numbers : grams.numbers()) count += numbers.size();
  if (count >= 2)
    metric.value = static_cast<double>(grams.distinct()) / static_cast<double>(samples.tokens());
  else
    metric.reason = fmt::format("there are no two {}-grams", n);
  return metric;
}

Metric diversity(std::span<const Metric> pooled, const Samples& samples) {
  auto metric =
      new_metric("diversity", "product of 1 - rep-n, n = 2, 3, 4", fmt::format("{}, diversity", kSu),
                 "of the pooled rep-n above", MetricKind::corpus, -1);
  metric.measured = samples.all.size();
  double product = 1;
  for (const auto& rep : pooled) {
    if (!rep.value) {
      metric.reason = "no sample has two 4-grams";
      return metric;
    }
    product *= 1 - *rep.value;
  }
  metric.value = product;
  return metric;
}

}  // namespace

std::vector<Metric> ngram_metrics(const RepetitionInput& input) {
  std::vector<Metric> metrics, pooled, distinct;
  NGrams grams(input.sequences);
  for (std::size_t n = 1; n <= kLongest; ++n) {
    if (n > 1) grams.lengthen();
    if (std::find(std::begin(kLengths), std::end(kLengths), n) == std::end(kLengths)) continue;
    const auto repeated = repeated_ngrams(grams);
    const auto reason = fmt::format("no sample has two {}-grams", n);
    metrics.push_back(seq_rep(n, repeated, reason));
    pooled.push_back(pooled_rep(n, repeated, reason));
    if (!metrics.back().value) pooled.back().value.reset(), pooled.back().reason = reason;
    if (n <= kLongestDistinct) distinct.push_back(distinct_ngrams(grams, input.samples));
  }
  auto product = diversity(std::span(pooled).subspan(kFirstOfDiversity, kOfDiversity), input.samples);
  std::move(pooled.begin(), pooled.end(), std::back_inserter(metrics));
  std::move(distinct.begin(), distinct.end(), std::back_inserter(metrics));
  metrics.push_back(std::move(product));
  return metrics;
}

}  // namespace plumbline
