#include "harness/text/statistics.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <cmath>

#include "harness/model/philox.hpp"

using namespace plumbline;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;

namespace {

// Two skewed samples of 40, by arithmetic that any language has.
std::vector<Share> skewed() {
  std::vector<Share> all;
  for (int i = 0; i < 40; ++i) all.push_back({std::pow((7 * i * i + 3 * i) % 53 / 53.0, 2), 1});
  return all;
}
std::vector<Share> other() {
  std::vector<Share> all;
  for (int i = 0; i < 40; ++i) all.push_back({(5 * i * i + 11 * i) % 47 / 47.0, 1});
  return all;
}

void check_interval(const std::optional<Interval>& seen, double low, double high) {
  REQUIRE(seen.has_value());
  CHECK_THAT(seen->low, WithinAbs(low, 0.008));  // what 10000 resamples leave open
  CHECK_THAT(seen->high, WithinAbs(high, 0.008));
}

// Numbers in [0, 1), one after the other.
class Uniform {
 public:
  explicit Uniform(std::uint32_t seed) : stream_("test", seed) {}
  double operator()() {
    if (next_ == 4) words_ = stream_.block(block_++), next_ = 0;
    return words_[next_++] * 0x1p-32;
  }

 private:
  PhiloxStream stream_;
  PhiloxCounter words_{};
  std::size_t next_ = 4;
  std::uint64_t block_ = 0;
};

}  // namespace

TEST_CASE("statistics: exact binomial intervals and tests are those of scipy 1.17", "[text][statistics]") {
  const auto is = [](std::int64_t hits, std::int64_t n, double low, double high) {
    const auto seen = binomial_interval(hits, n, 0.95);
    CHECK_THAT(seen.low, WithinAbs(low, 1e-12));
    CHECK_THAT(seen.high, WithinAbs(high, 1e-12));
  };
  is(0, 20, 0, 0.16843347098308548);
  is(3, 20, 0.03207093718554477, 0.37892682654529564);
  is(20, 20, 0.8315665290169145, 1);
  is(7, 100, 0.028605288907418584, 0.13891972845586648);
  is(1, 3, 0.008403758659612647, 0.9057006759492866);
  CHECK_THAT(exact_test({8, 100, 21, 100}), WithinRel(0.014860771462166177, 1e-9));
  CHECK_THAT(exact_test({1, 10, 11, 14}), WithinRel(0.0027594561852200836, 1e-9));
  CHECK_THAT(exact_test({0, 5, 0, 7}), WithinRel(1.0, 1e-9));
  const auto of_pairs = [](std::int64_t one, std::int64_t two) {
    return exact_test({0, 50, 0, 50, true, one, two});
  };
  CHECK_THAT(of_pairs(3, 14), WithinRel(0.012725830078125, 1e-12));
  CHECK_THAT(of_pairs(6, 0), WithinRel(0.03125, 1e-12));
  CHECK(of_pairs(5, 5) == 1);
  CHECK(of_pairs(0, 0) == 1);
}

TEST_CASE("statistics: bootstrap intervals are those of scipy with 200000 resamples", "[text][statistics]") {
  check_interval(bca_interval(skewed(), 0.95, 1), 0.27582888077015816, 0.45657707369170525);
  check_interval(bca_interval_of_difference(skewed(), other(), false, 0.95, 1), 0.07105330217991165,
                 0.3283666004281599);
  check_interval(bca_interval_of_difference(skewed(), other(), true, 0.95, 1), 0.06714582344254122,
                 0.32671627255917823);
  // Far from normal: a plain percentile interval would be 0.0349 to 0.1568.
  std::vector<Share> far;
  for (int i = 0; i < 30; ++i) far.push_back({std::pow(37 * i % 41 / 41.0, 8), 1});
  const auto skew = bca_interval(far, 0.95, 1);
  REQUIRE(skew.has_value());
  CHECK_THAT(skew->low, WithinAbs(0.0427, 0.003));
  CHECK_THAT(skew->high, WithinAbs(0.1739, 0.007));
  std::vector<Share> ratio;
  for (std::size_t i = 0; i < 40; ++i) ratio.push_back({skewed()[i].numerator, other()[i].numerator});
  const auto seen = bca_interval(ratio, 0.95, 1);
  REQUIRE(seen.has_value());
  CHECK_THAT(seen->low, WithinAbs(0.4715589586370839, 0.015));
  CHECK_THAT(seen->high, WithinAbs(0.8656441895604025, 0.015));
}

TEST_CASE("statistics: few prompts have no interval, and prompts that are all alike not one of no width",
          "[text][statistics]") {
  std::vector<Share> few(kLeastPrompts - 1, {0.5, 1});
  few.front().numerator = 0;
  CHECK(!bca_interval(few, 0.95, 1));
  CHECK(!bca_interval_of_difference(few, skewed(), false, 0.95, 1));
  const std::vector<Share> alike(20, {0, 1});
  const auto one = bca_interval(alike, 0.95, 1);
  REQUIRE(one.has_value());
  CHECK(one->low == 0);
  CHECK_THAT(one->high, WithinAbs(0.16843347098308548, 1e-12));
  const auto both = bca_interval_of_difference(alike, alike, true, 0.95, 1);
  REQUIRE(both.has_value());
  CHECK_THAT(both->low, WithinAbs(-0.16843347098308548, 1e-12));
  CHECK_THAT(both->high, WithinAbs(0.16843347098308548, 1e-12));
}

TEST_CASE("statistics: intervals hold what is true as often as they say", "[text][statistics]") {
  // 95 % of 500 are 475; fewer than 455 would come about once in 10 million. A bootstrap of 30 skewed values
  // falls a little short (Efron and Tibshirani 1993, table 14.2): fewer than 445 is too many misses.
  Uniform uniform(1);
  int mean = 0, pairs = 0, sides = 0;
  for (std::uint32_t turn = 0; turn < 500; ++turn) {
    std::vector<Share> shares;
    Rates paired{0, 60, 0, 60, true}, independent{0, 60, 0, 50};
    for (int i = 0; i < 30; ++i) shares.push_back({std::pow(uniform(), 2), 1});  // of mean 1 / 3
    for (int i = 0; i < 60; ++i) {
      const double draw = uniform();  // 0.25 of the one alone, 0.1 of the other alone: a difference of -0.15
      paired.only_one += draw < 0.25 ? 1 : 0;
      paired.only_other += draw >= 0.25 && draw < 0.35 ? 1 : 0;
      independent.hits_one += uniform() < 0.4 ? 1 : 0;
    }
    for (int i = 0; i < 50; ++i) independent.hits_other += uniform() < 0.6 ? 1 : 0;
    const auto within = [](const Interval& interval, double value) {
      return interval.low <= value && value <= interval.high;
    };
    const auto found = bca_interval(shares, 0.95, turn);
    REQUIRE(found.has_value());
    mean += within(*found, 1.0 / 3) ? 1 : 0;
    pairs += within(exact_interval_of_difference(paired, 0.95), -0.15) ? 1 : 0;
    sides += within(exact_interval_of_difference(independent, 0.95), 0.2) ? 1 : 0;
  }
  CHECK(mean >= 445);
  CHECK(mean < 496);  // nor are they wide beyond need
  CHECK(pairs >= 455);
  CHECK(sides >= 455);
}

TEST_CASE("statistics: from one source on both sides, few prompts give no more false alarms than they say",
          "[text][statistics]") {
  // Of 400, 2.5 % are 10; more than 24 would come about once in 10000. Skewed values, mostly 0, as repetition
  // is.
  Uniform uniform(3);
  const auto skewed_values = [&](std::size_t count) {
    std::vector<Share> shares;
    for (std::size_t i = 0; i < count; ++i) {
      const bool repeats = uniform() < 0.3;
      shares.push_back({repeats ? uniform() : 0.0, 1});
    }
    return shares;
  };
  int paired = 0, independent = 0, detected = 0;
  for (std::uint32_t turn = 0; turn < 400; ++turn) {
    const auto ten = skewed_values(10);
    paired += permutation_test(ten, skewed_values(10), true, turn) < 0.025 ? 1 : 0;
    independent += permutation_test(ten, skewed_values(40), false, turn) < 0.025 ? 1 : 0;
    auto more = skewed_values(40);
    for (auto& share : more) share.numerator = std::min(share.numerator + 0.3, 1.0);
    detected += permutation_test(skewed_values(40), more, false, turn) < 0.025 ? 1 : 0;
  }
  CHECK(paired <= 24);
  CHECK(independent <= 24);
  CHECK(detected > 380);  // and a difference is seen
  CHECK(permutation_test(skewed(), skewed(), true, 1) == 1);
}

TEST_CASE("statistics: bounds grow no narrower for a prompt that differs", "[text][statistics]") {
  std::vector<Share> prompts(20, {0, 1});
  const auto none = bca_interval(prompts, 0.95, 1);
  prompts[7].numerator = 0.05;
  const auto one = bca_interval(prompts, 0.95, 1);
  REQUIRE((none && one));
  CHECK(one->high > none->high);
}

TEST_CASE("statistics: a difference that so many prompts show is seen about as often as the power says",
          "[text][statistics]") {
  const auto least = least_rate_difference(0.1, 100, 100, 0.95);
  REQUIRE(least.has_value());
  CHECK_THAT(*least, WithinAbs(0.14676271655669268, 1e-9));
  CHECK(!least_rate_difference(0.9, 3, 3, 0.95));
  Uniform uniform(2);
  int seen = 0;
  for (int turn = 0; turn < 400; ++turn) {
    Rates rates{0, 100, 0, 100};
    for (int i = 0; i < 100; ++i) {
      rates.hits_one += uniform() < 0.1 ? 1 : 0;
      rates.hits_other += uniform() < 0.1 + *least ? 1 : 0;
    }
    seen += exact_test(rates) < 0.05 ? 1 : 0;
  }
  // Exact tests of counts see a little less than the normal approximation that the power is from.
  CHECK(seen > 270);
  CHECK(seen < 350);
}
