#include "harness/text/loops.hpp"

#include <catch2/catch_test_macros.hpp>

#include "harness/model/philox.hpp"

using namespace plumbline;

namespace {

// Every run of every period, token by token.
Loops by_brute_force(Sequence tokens) {
  Loops best;
  const auto consider = [&](const Loop& loop) {
    if (loop.tokens() < std::max(kLeastTimes * loop.period, kLeastLoopTokens)) return;
    const auto better = [&](const std::optional<Loop>& than) {
      return !than || loop.tokens() > than->tokens();
    };
    if (better(best.longest)) best.longest = loop;
    if (loop.end == tokens.size() && better(best.last)) best.last = loop;
  };
  for (std::size_t period = 1; period <= tokens.size(); ++period)
    for (std::size_t i = period, begin = 0; i <= tokens.size(); ++i)
      if (i == tokens.size() || tokens[i] != tokens[i - period]) {
        consider({period, begin, i});
        begin = i - period + 1;
      }
  return best;
}

}  // namespace

TEST_CASE("loops: found as by brute force, in sequences of every kind", "[text][loops]") {
  int with_loop = 0;
  for (std::uint32_t seed = 0; seed < 3000; ++seed) {
    const PhiloxStream stream("loops", seed);
    const auto shape = stream.block(0);
    const auto length = shape[0] % 150, words = shape[1] % 3 + 1, period = shape[2] % 40 + 1;
    std::vector<Token> tokens;
    for (std::uint32_t i = 0; i < length; ++i) {
      const auto word = stream.block(i + 1);
      const bool again = i >= period && word[1] % 100 < 97;
      tokens.push_back(again ? tokens[i - period] : word[0] % words);
    }
    INFO("seed " << seed);
    const auto seen = find_loops(tokens), right = by_brute_force(tokens);
    REQUIRE(seen.longest.has_value() == right.longest.has_value());
    REQUIRE(seen.last == right.last);
    if (!right.longest) continue;
    ++with_loop;
    // Of several as long and of the same period, any.
    CHECK(seen.longest->tokens() == right.longest->tokens());
    CHECK(seen.longest->period == right.longest->period);
  }
  CHECK(with_loop > 1000);
}

TEST_CASE("loops: three times and twelve tokens are one, less is none", "[text][loops]") {
  CHECK(find_loops(std::vector<Token>(12, 5)).last == Loop{1, 0, 12});
  CHECK(!find_loops(std::vector<Token>(11, 5)).longest);
  std::vector<Token> twice{1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8};
  CHECK(!find_loops(twice).longest);
  auto thrice = twice;
  thrice.insert(thrice.end(), twice.begin(), twice.begin() + 8);
  CHECK(find_loops(thrice).longest == Loop{8, 0, 24});
  thrice.pop_back();
  CHECK(!find_loops(thrice).longest);
}

TEST_CASE("loops: of two tails repeated as often, Holtzman's procedure takes the shorter", "[text][loops]") {
  const auto tail = tail_repetition(std::vector<Token>{5, 7, 7, 5, 7, 7});  // "7" twice, "5 7 7" twice
  CHECK(tail.period == 1);
  CHECK(tail.times == 2);
  CHECK(!tail.counts());
  CHECK(tail_repetition(std::vector<Token>{1, 2, 3, 1, 2, 3}).counts());
  CHECK(!tail_repetition(std::vector<Token>(50, 4)).counts());
  CHECK(tail_repetition(std::vector<Token>(51, 4)).counts());
}

TEST_CASE("substrings: the longest that repeats is found where places overlap, too", "[text][substrings]") {
  CHECK(longest_repeated_substring({}) == 0);
  CHECK(longest_repeated_substring(std::vector<Token>{4}) == 0);
  CHECK(longest_repeated_substring(std::vector<Token>{1, 2, 3}) == 0);
  CHECK(longest_repeated_substring(std::vector<Token>{1, 2, 1}) == 1);
  CHECK(longest_repeated_substring(std::vector<Token>(100, 7)) == 99);
  CHECK(longest_repeated_substring(std::vector<Token>{1, 2, 3, 9, 1, 2, 3, 8, 2, 3}) == 3);
}
