// Estimates with confidence intervals, and tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace plumbline {

constexpr double kPower = 0.8;  // of least_difference and least_rate_difference

struct Interval {
  double low = 0, high = 0;
};

// The upper median of at least one value.
double median(std::vector<double> values);

// The mean of at least one value, and the variance of what they are drawn from (0 of a single one).
struct Spread {
  double mean = 0, variance = 0;
};
Spread spread_of(const std::vector<double>& values);

// Student's t at the middle `confidence` of an estimate whose variance is the sum of independent ones, each
// with its degrees of freedom (Welch 1947; Satterthwaite 1946): how far the interval reaches to each side,
// and the chance of an estimate as far from 0 if the true value is 0. Where nothing varies, the error is not
// known: reach 0, chance 1.
struct Variance {
  double value = 0, freedom = 0;
};
struct StudentsT {
  double reach = 0, chance = 1;
};
StudentsT students_t(double estimate, const std::vector<Variance>& variances, double confidence);

// The contribution of one prompt: the estimate is the sum of numerators divided by the sum of denominators. A
// mean of one value a prompt has denominators of 1.
struct Share {
  double numerator = 0, denominator = 0;
};
double estimate(const std::vector<Share>& shares);

// Bias-corrected and accelerated bootstrap over prompts (Efron 1987; Efron and Tibshirani 1993, formulas 14.9
// to 14.15), 2000 to 10000 resamples drawn with a generator of our own from `seed`. For shares between 0 and
// 1. A bootstrap cannot show kinds of prompts that are not in the sample: where fewer than kLeastPrompts
// differ from the most common value, the bounds are at least as far away as those of binomial_interval for as
// many hits. Empty: fewer than kLeastPrompts.
constexpr std::size_t kLeastPrompts = 10;
std::optional<Interval> bca_interval(const std::vector<Share>& shares, double confidence, std::uint32_t seed);

// The same for estimate(other) - estimate(one). Paired: prompt i is the same in both, and the two are drawn
// together; otherwise each side is drawn independently.
std::optional<Interval> bca_interval_of_difference(const std::vector<Share>& one,
                                                   const std::vector<Share>& other, bool paired,
                                                   double confidence, std::uint32_t seed);

// Clopper and Pearson 1934: exact, whatever the number of prompts.
Interval binomial_interval(std::int64_t hits, std::int64_t prompts, double confidence);

// Shares with a denominator above 0.
std::vector<Share> measurable(std::vector<Share> shares);
bool is_hit(const Share& share);

// The interval of the estimate of these shares, one a prompt: of a rate, of prompts that are hits or not,
// binomial_interval, else bca_interval.
std::optional<Interval> interval_of(const std::vector<Share>& shares, bool rate, double confidence,
                                    std::uint32_t seed);

// Hits and misses of two samples of prompts. Of pairs: prompts that are hits in one of the two alone.
struct Rates {
  std::int64_t hits_one = 0, prompts_one = 0, hits_other = 0, prompts_other = 0;
  bool paired = false;
  std::int64_t only_one = 0, only_other = 0;
  double difference() const;  // of the other's rate from the one's
};

// Bounds on the difference of two rates that hold whatever they are: from binomial_interval of each side, of
// pairs of those that differ, at half the error each (Bonferroni). Wider than others, and never too narrow.
Interval exact_interval_of_difference(const Rates& rates, double confidence);

// The probability, if hits were equally likely on both sides, of counts at least as far apart. Two
// independent samples: Fisher's exact test, two-sided by likelihood. Pairs: the exact form of McNemar's test,
// on the pairs that differ.
double exact_test(const Rates& rates);

// The same of means: the share of 10000 random exchanges, of the two values of a pair, or of prompts between
// the sides, that leave a difference as large (Fisher 1935; Phipson and Smyth 2010 for adding one). Exact at
// any number of prompts.
double permutation_test(const std::vector<Share>& one, const std::vector<Share>& other, bool paired,
                        std::uint32_t seed);

// The least difference that so many prompts on each side would show, with kPower at that confidence. Of
// rates, from the rate of the one up: Cohen 1988, chapter 6, by the arcsine; empty where even a rate of 1
// would not do.
std::optional<double> least_rate_difference(double rate, std::int64_t prompts_one, std::int64_t prompts_other,
                                            double confidence);
// Of means, from the interval that was found, taken for a normal estimate's.
double least_difference(const Interval& of_difference, double confidence);

}  // namespace plumbline
