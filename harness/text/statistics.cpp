#include "harness/text/statistics.hpp"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/hypergeometric.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>

#include "harness/model/philox.hpp"

namespace plumbline {
namespace {

// A million draws in all, and a number of resamples within these bounds.
constexpr std::size_t kLeastResamples = 2000, kMostResamples = 10000;
std::size_t resamples_for(std::size_t prompts) {
  return std::clamp(1'000'000 / prompts, kLeastResamples, kMostResamples);
}

double quantile(double probability) {
  return boost::math::quantile(boost::math::normal(), probability);
}
double cumulative(double value) {
  return boost::math::cdf(boost::math::normal(), value);
}

struct Sums {
  double numerator = 0, denominator = 0;
  void add(const Share& share) { numerator += share.numerator, denominator += share.denominator; }
  double ratio() const { return numerator / denominator; }
};

Sums sums_of(const std::vector<Share>& shares) {
  Sums sums;
  for (const auto& share : shares) sums.add(share);
  return sums;
}

// Random numbers below `limit`, equally probable but for 2^-32 (multiplication and shift).
class Draws {
 public:
  explicit Draws(std::uint32_t seed) : stream_("bootstrap", seed) {}
  std::size_t below(std::size_t limit) {
    if (next_ == 4) words_ = stream_.block(block_++), next_ = 0;
    return static_cast<std::size_t>(std::uint64_t{words_[next_++]} * limit >> 32);
  }

 private:
  PhiloxStream stream_;
  PhiloxCounter words_{};
  std::size_t next_ = 4;
  std::uint64_t block_ = 0;
};

// The interval from an estimate, its resamples and its jackknife values.
std::optional<Interval> bca(double point_estimate, double confidence, std::vector<double> resamples,
                            const std::vector<double>& jackknife) {
  std::erase_if(resamples, [](double value) { return !std::isfinite(value); });
  if (resamples.size() < kLeastResamples / 2) return std::nullopt;
  std::sort(resamples.begin(), resamples.end());
  if (resamples.front() == resamples.back()) return std::nullopt;
  const auto n = static_cast<double>(resamples.size());
  // Formula 14.14, ties counted half; kept off 0 and 1, whose quantiles are infinite.
  const auto [first, last] = std::equal_range(resamples.begin(), resamples.end(), point_estimate);
  const double below =
      static_cast<double>(first - resamples.begin()) + 0.5 * static_cast<double>(last - first);
  const double bias = quantile(std::clamp(below / n, 0.5 / n, 1 - 0.5 / n));
  // Formula 14.15.
  double mean = 0, cubes = 0, squares = 0;
  for (const double value : jackknife) mean += value / static_cast<double>(jackknife.size());
  for (const double value : jackknife) {
    cubes += std::pow(mean - value, 3);
    squares += std::pow(mean - value, 2);
  }
  const double acceleration = squares > 0 ? cubes / (6 * std::pow(squares, 1.5)) : 0;
  // Formulas 14.9 and 14.10.
  const auto bound_at = [&](double tail) {
    const double shifted = bias + quantile(tail);
    const double share = cumulative(bias + shifted / (1 - acceleration * shifted));
    const auto at = static_cast<std::ptrdiff_t>(std::floor(share * (n + 1))) - 1;
    return resamples[static_cast<std::size_t>(
        std::clamp<std::ptrdiff_t>(at, 0, static_cast<std::ptrdiff_t>(n) - 1))];
  };
  return Interval{bound_at((1 - confidence) / 2), bound_at((1 + confidence) / 2)};
}

// The estimate without each prompt in turn.
std::vector<double> jackknife_of(const std::vector<Share>& shares) {
  const auto all = sums_of(shares);
  std::vector<double> values;
  for (const auto& share : shares)
    if (all.denominator > share.denominator)
      values.push_back((all.numerator - share.numerator) / (all.denominator - share.denominator));
  return values;
}

// How far the bounds have to lie from the estimate where fewer than kLeastPrompts prompts differ from the
// most common value. 0: the bounds of the bootstrap suffice.
double unseen_share(std::vector<double> values, double confidence) {
  std::sort(values.begin(), values.end());
  std::size_t most = 0;
  for (std::size_t i = 0, run = 0; i < values.size(); ++i) {
    run = i > 0 && values[i] == values[i - 1] ? run + 1 : 1;
    most = std::max(most, run);
  }
  const auto others = values.size() - most;
  if (others >= kLeastPrompts) return 0;
  const auto n = static_cast<std::int64_t>(values.size()), k = static_cast<std::int64_t>(others);
  return binomial_interval(k, n, confidence).high - static_cast<double>(k) / static_cast<double>(n);
}

double value_of(const Share& share) {
  return share.numerator / share.denominator;
}

std::vector<double> values_of(const std::vector<Share>& shares) {
  std::vector<double> values;
  values.reserve(shares.size());
  for (const auto& share : shares) values.push_back(value_of(share));
  return values;
}

// Widens the interval to at least `unseen` on each side of the value, between `least` and `most`.
Interval widened(const std::optional<Interval>& found, double value, double unseen, double least,
                 double most) {
  const Interval bounds{std::max(value - unseen, least), std::min(value + unseen, most)};
  return found ? Interval{std::min(found->low, bounds.low), std::max(found->high, bounds.high)} : bounds;
}

}  // namespace

double estimate(const std::vector<Share>& shares) {
  return sums_of(shares).ratio();
}

std::optional<Interval> bca_interval(const std::vector<Share>& shares, double confidence,
                                     std::uint32_t seed) {
  if (shares.size() < kLeastPrompts) return std::nullopt;
  Draws draws(seed);
  std::vector<double> resamples;
  for (auto left = resamples_for(shares.size()); left > 0; --left) {
    Sums sums;
    for (std::size_t k = 0; k < shares.size(); ++k) sums.add(shares[draws.below(shares.size())]);
    resamples.push_back(sums.ratio());
  }
  const double value = estimate(shares);
  return widened(bca(value, confidence, std::move(resamples), jackknife_of(shares)), value,
                 unseen_share(values_of(shares), confidence), 0, 1);
}

std::optional<Interval> bca_interval_of_difference(const std::vector<Share>& one,
                                                   const std::vector<Share>& other, bool paired,
                                                   double confidence, std::uint32_t seed) {
  if (std::min(one.size(), other.size()) < kLeastPrompts || (paired && one.size() != other.size()))
    return std::nullopt;
  Draws draws(seed);
  std::vector<double> resamples;
  for (auto left = resamples_for(one.size() + other.size()); left > 0; --left) {
    Sums first, second;
    for (std::size_t k = 0; k < one.size(); ++k) {
      const auto drawn = draws.below(one.size());
      first.add(one[drawn]);
      if (paired) second.add(other[drawn]);
    }
    if (!paired)
      for (std::size_t k = 0; k < other.size(); ++k) second.add(other[draws.below(other.size())]);
    resamples.push_back(second.ratio() - first.ratio());
  }
  const double estimate_one = estimate(one), estimate_other = estimate(other);
  const auto jackknife_one = jackknife_of(one), jackknife_other = jackknife_of(other);
  std::vector<double> jackknife;
  if (paired && jackknife_one.size() == jackknife_other.size()) {
    for (std::size_t i = 0; i < jackknife_one.size(); ++i)
      jackknife.push_back(jackknife_other[i] - jackknife_one[i]);
  } else {
    // One prompt of either side is left out at a time.
    for (const double value : jackknife_one) jackknife.push_back(estimate_other - value);
    for (const double value : jackknife_other) jackknife.push_back(value - estimate_one);
  }
  const double value = estimate_other - estimate_one;
  double unseen = 0;
  if (paired) {
    auto differences = values_of(other);
    for (std::size_t i = 0; i < one.size(); ++i) differences[i] -= value_of(one[i]);
    unseen = unseen_share(std::move(differences), confidence);
  } else {
    unseen = unseen_share(values_of(one), confidence) + unseen_share(values_of(other), confidence);
  }
  return widened(bca(value, confidence, std::move(resamples), jackknife), value, unseen, -1, 1);
}

Interval binomial_interval(std::int64_t hits, std::int64_t prompts, double confidence) {
  using boost::math::binomial_distribution;
  const auto n = static_cast<double>(prompts), k = static_cast<double>(hits);
  const double tail = (1 - confidence) / 2;
  return {hits == 0 ? 0 : binomial_distribution<>::find_lower_bound_on_p(n, k, tail),
          hits == prompts ? 1 : binomial_distribution<>::find_upper_bound_on_p(n, k, tail)};
}

double Rates::difference() const {
  return static_cast<double>(hits_other) / static_cast<double>(prompts_other) -
         static_cast<double>(hits_one) / static_cast<double>(prompts_one);
}

Interval exact_interval_of_difference(const Rates& rates, double confidence) {
  const double each = (1 + confidence) / 2;
  const auto more = rates.paired ? binomial_interval(rates.only_other, rates.prompts_one, each)
                                 : binomial_interval(rates.hits_other, rates.prompts_other, each);
  const auto less = rates.paired ? binomial_interval(rates.only_one, rates.prompts_one, each)
                                 : binomial_interval(rates.hits_one, rates.prompts_one, each);
  return {more.low - less.high, more.high - less.low};
}

double exact_test(const Rates& rates) {
  if (rates.paired) {
    const auto differ = rates.only_one + rates.only_other;
    if (differ == 0) return 1;
    const boost::math::binomial chance(static_cast<double>(differ), 0.5);
    const auto fewer = static_cast<double>(std::min(rates.only_one, rates.only_other));
    return std::min(1.0, 2 * boost::math::cdf(chance, fewer));
  }
  const auto hits = static_cast<unsigned>(rates.hits_one + rates.hits_other),
             drawn = static_cast<unsigned>(rates.prompts_one),
             all = static_cast<unsigned>(rates.prompts_one + rates.prompts_other);
  const boost::math::hypergeometric chance(hits, drawn, all);
  const double observed = boost::math::pdf(chance, static_cast<unsigned>(rates.hits_one));
  double total = 0;
  const auto least = hits + drawn > all ? hits + drawn - all : 0;
  for (auto k = least; k <= std::min(hits, drawn); ++k)
    if (const double p = boost::math::pdf(chance, k); p <= observed * (1 + 1e-7)) total += p;
  return std::min(total, 1.0);
}

double permutation_test(const std::vector<Share>& one, const std::vector<Share>& other, bool paired,
                        std::uint32_t seed) {
  constexpr int kPermutations = 10000;
  const auto first = values_of(one), second = values_of(other);
  double observed = 0;
  for (const double value : second) observed += value / static_cast<double>(second.size());
  for (const double value : first) observed -= value / static_cast<double>(first.size());
  // Sums in another order round differently, so a difference that ties with the observed one counts as large.
  const double threshold = std::abs(observed) - 1e-9;
  Draws draws(seed);
  int hits = 0;
  std::vector<double> pool = first;
  pool.insert(pool.end(), second.begin(), second.end());
  for (int turn = 0; turn < kPermutations; ++turn) {
    double difference = 0;
    if (paired) {
      for (std::size_t i = 0; i < first.size(); ++i)
        difference += (second[i] - first[i]) * (draws.below(2) == 0 ? 1 : -1);
      difference /= static_cast<double>(first.size());
    } else {
      double sum = 0, all = 0;
      for (std::size_t i = 0; i < pool.size(); ++i) {
        std::swap(pool[i], pool[i + draws.below(pool.size() - i)]);
        all += pool[i];
        if (i < first.size()) sum += pool[i];
      }
      difference = (all - sum) / static_cast<double>(second.size()) - sum / static_cast<double>(first.size());
    }
    hits += std::abs(difference) >= threshold ? 1 : 0;
  }
  return (hits + 1.0) / (kPermutations + 1.0);
}

std::optional<double> least_rate_difference(double rate, std::int64_t prompts_one, std::int64_t prompts_other,
                                            double confidence) {
  // h = 2 asin sqrt p2 - 2 asin sqrt p1, with the variance 1 / n1 + 1 / n2.
  const double variance = 1 / static_cast<double>(prompts_one) + 1 / static_cast<double>(prompts_other);
  const double h = (quantile((1 + confidence) / 2) + quantile(kPower)) * std::sqrt(variance);
  const double angle = std::asin(std::sqrt(rate)) + h / 2;
  if (!(angle < std::acos(0.0))) return std::nullopt;
  return std::pow(std::sin(angle), 2) - rate;
}

double least_difference(const Interval& of_difference, double confidence) {
  const double half = (of_difference.high - of_difference.low) / 2;
  return half * (1 + quantile(kPower) / quantile((1 + confidence) / 2));
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Spread spread_of(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  Spread spread;
  for (const double value : values) spread.mean += value / count;
  if (values.size() < 2) return spread;
  for (const double value : values) spread.variance += std::pow(value - spread.mean, 2) / (count - 1);
  return spread;
}

StudentsT students_t(double estimate, const std::vector<Variance>& variances, double confidence) {
  double sum = 0, squared = 0;
  for (const auto& one : variances)
    if (one.freedom > 0) sum += one.value, squared += one.value * one.value / one.freedom;
  if (!(sum > 0)) return {};
  const boost::math::students_t distribution(sum * sum / squared);
  const double error = std::sqrt(sum);
  return {boost::math::quantile(distribution, (1 + confidence) / 2) * error,
          2 * boost::math::cdf(boost::math::complement(distribution, std::abs(estimate) / error))};
}

std::vector<Share> measurable(std::vector<Share> shares) {
  std::erase_if(shares, [](const Share& share) { return !(share.denominator > 0); });
  return shares;
}

bool is_hit(const Share& share) {
  return share.numerator / share.denominator > 0.5;
}

std::optional<Interval> interval_of(const std::vector<Share>& shares, bool rate, double confidence,
                                    std::uint32_t seed) {
  const auto measured = measurable(shares);
  if (!rate) return bca_interval(measured, confidence, seed);
  return binomial_interval(std::count_if(measured.begin(), measured.end(), is_hit),
                           static_cast<std::int64_t>(measured.size()), confidence);
}

}  // namespace plumbline
