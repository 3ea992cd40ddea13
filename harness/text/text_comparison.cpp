#include "harness/text/text_comparison.hpp"

#include <algorithm>
#include <map>

namespace plumbline {
namespace {

constexpr double kShownConfidence = 0.95;
constexpr const char* kBca = "BCa bootstrap over prompts, 2000 to 10000 resamples";
constexpr const char* kBinomial = "exact binomial (Clopper and Pearson)";

// What each prompt contributes; nothing below: its samples were not measurable.
std::vector<Share> shares_of_prompts(const Metric& metric, const Prompts& prompts) {
  std::vector<Share> shares;
  for (const auto& samples : prompts.samples) {
    Share sum;
    for (const auto i : samples)
      sum.numerator += metric.shares[i].numerator, sum.denominator += metric.shares[i].denominator;
    // A mean is over prompts, however many samples each has.
    if (metric.kind != MetricKind::ratio && sum.denominator > 0) sum = {sum.numerator / sum.denominator, 1};
    shares.push_back(sum);
  }
  return shares;
}

Json to_json(const std::optional<Interval>& interval, double confidence, const std::string& method) {
  if (!interval) return nullptr;
  return {{"low", interval->low}, {"high", interval->high}, {"confidence", confidence}, {"method", method}};
}

Rates rates_of(const SharesOfBoth& shares) {
  Rates rates{0,
              static_cast<std::int64_t>(shares.baseline.size()),
              0,
              static_cast<std::int64_t>(shares.text.size()),
              shares.paired,
              0,
              0};
  for (const auto& share : shares.baseline) rates.hits_one += is_hit(share) ? 1 : 0;
  for (const auto& share : shares.text) rates.hits_other += is_hit(share) ? 1 : 0;
  if (shares.paired)
    for (std::size_t i = 0; i < shares.baseline.size(); ++i) {
      rates.only_one += is_hit(shares.baseline[i]) && !is_hit(shares.text[i]) ? 1 : 0;
      rates.only_other += !is_hit(shares.baseline[i]) && is_hit(shares.text[i]) ? 1 : 0;
    }
  return rates;
}

// Adds the interval, the test and the least detectable difference of rates whose hits can be counted.
void add_exact_test(Json& difference, const SharesOfBoth& shares, double confidence) {
  const auto rates = rates_of(shares);
  difference["interval"] =
      to_json(exact_interval_of_difference(rates, confidence), confidence,
              shares.paired ? "exact binomial, of the pairs that differ" : "exact binomial of each side");
  difference["p"] = exact_test(rates);
  difference["test"] = shares.paired ? "McNemar, exact" : "Fisher, exact";
  const auto least =
      least_rate_difference(estimate(shares.baseline), rates.prompts_one, rates.prompts_other, confidence);
  difference["shows_from"] = least ? Json(*least) : Json(nullptr);
}

}  // namespace

std::string kind_name(MetricKind kind) {
  switch (kind) {
    case MetricKind::mean:
      return "mean over samples";
    case MetricKind::ratio:
      return "ratio of sums over samples";
    case MetricKind::rate:
      return "rate of samples";
    case MetricKind::corpus:
      return "of all samples together";
  }
  return "";
}

Prompts::Prompts(const Samples& text) {
  std::map<std::string, std::size_t> known;
  for (std::size_t i = 0; i < text.all.size(); ++i) {
    const auto& prompt = text.all[i].prompt;
    const auto [found, is_new] = known.try_emplace(prompt, samples.size());
    if (prompt.empty() || is_new) {
      names.push_back(prompt);
      samples.push_back({i});
    } else {
      samples[found->second].push_back(i);
    }
  }
}

bool Prompts::have_one_sample_each() const {
  return std::all_of(samples.begin(), samples.end(), [](const auto& indices) { return indices.size() == 1; });
}

Pairing::Pairing(const Samples& baseline, const Samples& text) : baseline_(baseline), text_(text) {
  if (baseline_.names.size() != text_.names.size()) return;
  std::map<std::string, std::size_t> index_of;
  for (std::size_t i = 0; i < text_.names.size(); ++i) index_of[text_.names[i]] = i;
  for (const auto& name : baseline_.names) {
    const auto found = index_of.find(name);
    if (name.empty() || found == index_of.end()) {
      partners_.clear();
      return;
    }
    partners_.push_back(found->second);
  }
}

SharesOfBoth Pairing::shares(const Metric& baseline, const Metric& text) const {
  const bool one_sample_each = baseline_.have_one_sample_each() && text_.have_one_sample_each();
  const auto baseline_shares = shares_of_prompts(baseline, baseline_),
             text_shares = shares_of_prompts(text, text_);
  if (!paired()) return {measurable(baseline_shares), measurable(text_shares), false, one_sample_each};
  SharesOfBoth pairs{{}, {}, true, one_sample_each};
  for (std::size_t i = 0; i < partners_.size(); ++i) {
    const auto &first = baseline_shares[i], &second = text_shares[partners_[i]];
    if (!(first.denominator > 0) || !(second.denominator > 0)) continue;
    pairs.baseline.push_back(first);
    pairs.text.push_back(second);
  }
  return pairs;
}

Json measured_value(const Metric& metric, const Prompts& prompts, std::uint32_t seed) {
  Json out = {{"value", metric.value ? Json(*metric.value) : Json(nullptr)},
              {"reason", metric.value ? "" : metric.reason},
              {"samples", metric.measured},
              {"interval", nullptr}};
  if (!metric.value || metric.kind == MetricKind::corpus) return out;
  const auto shares = measurable(shares_of_prompts(metric, prompts));
  out["value"] = estimate(shares);  // over prompts, as its interval
  const bool is_rate = metric.kind == MetricKind::rate && prompts.have_one_sample_each();
  out["interval"] = to_json(interval_of(shares, is_rate, kShownConfidence, seed), kShownConfidence,
                            is_rate ? kBinomial : kBca);
  return out;
}

Json difference_of(const Metric& baseline, const Metric& text, const Pairing& pairing, double confidence,
                   std::uint32_t seed) {
  // The two may be measured differently: over choices or over text, or with ids of different widths.
  if (!baseline.value || !text.value || baseline.variant != text.variant) return nullptr;
  if (baseline.kind == MetricKind::corpus)
    return {{"value", *text.value - *baseline.value}, {"interval", nullptr}, {"prompts", nullptr}};
  const auto shares = pairing.shares(baseline, text);
  if (shares.baseline.empty() || shares.text.empty()) return nullptr;
  Json out = {{"value", estimate(shares.text) - estimate(shares.baseline)},
              {"of", {estimate(shares.text), estimate(shares.baseline)}},
              {"prompts", {shares.baseline.size(), shares.text.size()}},
              {"paired", shares.paired}};
  if (baseline.kind == MetricKind::rate && shares.one_sample_each) {
    add_exact_test(out, shares, confidence);
    return out;
  }
  if (baseline.kind != MetricKind::ratio) {
    out["p"] = permutation_test(shares.baseline, shares.text, shares.paired, seed);
    out["test"] = shares.paired ? "permutation of pairs, 10000 drawn" : "permutation of prompts, 10000 drawn";
  }
  const auto interval =
      bca_interval_of_difference(shares.baseline, shares.text, shares.paired, confidence, seed);
  out["interval"] = to_json(interval, confidence, shares.paired ? "BCa bootstrap over pairs" : kBca);
  out["shows_from"] = interval ? Json(least_difference(*interval, confidence)) : Json(nullptr);
  return out;
}

}  // namespace plumbline
