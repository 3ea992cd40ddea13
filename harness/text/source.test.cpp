#include "harness/text/source.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>

#include "harness/system/error.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using Catch::Matchers::WithinAbs;

namespace {

// Three words and an announcement; copies of two tokens from two or three before.
SourceSettings small(std::uint32_t distance = 2) {
  return {.vocabulary = 4,
          .successors = 2,
          .loose = 0.25,
          .zipf = 1,
          .copying = 0.125,
          .copy_length = 2,
          .copy_distance = distance,
          .seed = 3};
}

// Calls `body` with every stream of that length that the source can make, and its probability.
void for_each_stream(const Source& source, std::size_t length,
                     const std::function<void(const std::vector<Token>&, double)>& body) {
  std::vector<Token> stream;
  const std::function<void(double)> lengthen = [&](double probability) {
    if (stream.size() == length) return body(stream, probability);
    const auto next = source.next(stream);
    for (Token token = 0; token < next.size(); ++token) {
      if (next[token] == 0) continue;
      stream.push_back(token);
      lengthen(probability * next[token]);
      stream.pop_back();
    }
  };
  lengthen(1);
}

double entropy_of(const std::vector<double>& p) {
  double sum = 0;
  for (const double one : p) sum -= one > 0 ? one * std::log(one) : 0;
  return sum;
}

}  // namespace

TEST_CASE("source: what may come next sums to 1 after every beginning", "[text][source]") {
  const Source source(small());
  for_each_stream(source, 6, [&](const std::vector<Token>& stream, double) {
    const auto next = source.next(stream);
    if (std::abs(std::accumulate(next.begin(), next.end(), 0.0) - 1) > 1e-14) FAIL("it does not");
  });
  const auto first = source.next({});
  CHECK(first[3] == 0);  // nothing to copy yet
  for (Token token = 0; token < 3; ++token)
    CHECK_THAT(first[token], WithinAbs(source.stationary()[token], 1e-15));
}

TEST_CASE("source: the entropy rate in closed form is what all streams together have", "[text][source]") {
  for (const std::uint32_t distance : {2u, 3u}) {
    const Source source(small(distance));
    // The uncertainty of the token after streams of length n swings, as copies begin together, about the
    // rate, and settles on it: its mean over more than a cycle comes near.
    std::vector<double> of_next;
    for (std::size_t length = 0; length < 13; ++length) {
      double entropy = 0;
      for_each_stream(source, length, [&](const std::vector<Token>& stream, double probability) {
        entropy += probability * entropy_of(source.next(stream));
      });
      of_next.push_back(entropy);
    }
    CAPTURE(distance, source.entropy_rate(), of_next);
    CHECK(of_next[0] > source.entropy_rate());
    CHECK_THAT(of_next[12], WithinAbs(source.entropy_rate(), 1e-3));
  }
  auto plain = small();
  plain.copying = 0;
  const Source chain(plain);
  double entropy = 0;
  for_each_stream(chain, 1, [&](const std::vector<Token>& stream, double probability) {
    entropy += probability * entropy_of(chain.next(stream));
  });
  CHECK_THAT(entropy, WithinAbs(chain.entropy_rate(), 1e-14));
}

TEST_CASE("source: each place has the stationary distribution, copied ones too", "[text][source]") {
  const Source source(small(3));
  std::vector<double> words(3);
  double all = 0;
  for_each_stream(source, 9, [&](const std::vector<Token>& stream, double probability) {
    if (stream.back() == 3) return;
    words[stream.back()] += probability;
    all += probability;
  });
  for (Token token = 0; token < 3; ++token)
    CHECK_THAT(words[token] / all, WithinAbs(source.stationary()[token], 1e-12));
}

TEST_CASE("source: what it draws has the probabilities that it says", "[text][source]") {
  const Source source(SourceSettings{});
  const auto stream = source.draw(7, 200'000);
  const auto log_probabilities = source.log_probabilities(stream.tokens);
  REQUIRE(log_probabilities == stream.log_probabilities);
  // Five standard errors, from the means of blocks far longer than what one token depends on.
  std::vector<double> blocks;
  for (std::size_t begin = 0; begin < log_probabilities.size(); begin += 1000)
    blocks.push_back(-std::accumulate(log_probabilities.begin() + static_cast<std::ptrdiff_t>(begin),
                                      log_probabilities.begin() + static_cast<std::ptrdiff_t>(begin + 1000),
                                      0.0) /
                     1000);
  const double mean = std::accumulate(blocks.begin(), blocks.end(), 0.0) / static_cast<double>(blocks.size());
  double square = 0;
  for (const double block : blocks) square += (block - mean) * (block - mean);
  const double error = std::sqrt(square) / static_cast<double>(blocks.size());
  CAPTURE(source.sentence(), error);
  CHECK(error < 0.02);
  CHECK_THAT(mean, WithinAbs(source.entropy_rate(), 5 * error));
  // A token's share among 200,000 strays from its probability by far less than a tenth of the commonest.
  std::vector<double> share(6399);
  for (const auto token : stream.tokens)
    if (token < 6399) share[token] += 1;
  const double text = std::accumulate(share.begin(), share.end(), 0.0);
  const auto most = *std::max_element(source.stationary().begin(), source.stationary().end());
  for (Token token = 0; token < 6399; ++token)
    if (std::abs(share[token] / text - source.stationary()[token]) > 0.1 * most) FAIL("token " << token);
}

TEST_CASE("source: copies are what stood before", "[text][source]") {
  const Source source(small(3));
  CHECK(std::isfinite(source.log_probabilities(std::vector<Token>{0, 1, 2, 3, 0, 1}).back()) ==
        std::isfinite(source.log_probabilities(std::vector<Token>{0, 1, 2}).back()));
  const auto next = source.next(std::vector<Token>{0, 1, 2, 3});
  CHECK(next == std::vector<double>{1, 0, 0, 0});
  CHECK(source.next(std::vector<Token>{0, 1, 2, 3, 0}) == std::vector<double>{0, 1, 0, 0});
  CHECK(source.log_probabilities(std::vector<Token>{0, 1, 2, 3, 1, 1})[4] == -INFINITY);
  CHECK(source.log_probabilities(std::vector<Token>{0, 1, 2, 3, 1, 1})[5] == -INFINITY);
  CHECK(source.log_probabilities(std::vector<Token>{9})[0] == -INFINITY);
}

TEST_CASE("source: always the likeliest token does not repeat before all words have stood",
          "[text][source]") {
  auto settings = SourceSettings{};
  settings.vocabulary = 65;
  const Source source(settings);
  std::vector<Token> stream{5};
  for (int i = 0; i < 64; ++i) {
    const auto next = source.next(stream);
    stream.push_back(static_cast<Token>(std::max_element(next.begin(), next.end()) - next.begin()));
  }
  CHECK(stream.back() == stream.front());
  CHECK(std::set<Token>(stream.begin(), stream.end()).size() == 64);
}

TEST_CASE("source: the same stream for the same number, another for another", "[text][source]") {
  const Source source(SourceSettings{}), again(SourceSettings{});
  CHECK(source.draw(3, 500).tokens == again.draw(3, 500).tokens);
  CHECK(source.draw(3, 500).tokens != source.draw(4, 500).tokens);
  auto other = SourceSettings{};
  other.seed = 2;
  CHECK(Source(other).draw(3, 500).tokens != source.draw(3, 500).tokens);
  const auto longer = source.draw(3, 600).tokens;
  CHECK(std::equal(longer.begin(), longer.begin() + 500, source.draw(3, 500).tokens.begin()));
}

TEST_CASE("source: settings that leave none are named", "[text][source]") {
  const auto refuses = [](auto change, const char* what) {
    auto settings = small();
    change(settings);
    CHECK_THROWS_MATCHES(Source(settings), InputError, MessageMatches(ContainsSubstring(what)));
  };
  refuses([](auto& s) { s.vocabulary = 1; }, "vocabulary of 1");
  refuses([](auto& s) { s.successors = 0; }, "0 successors");
  refuses([](auto& s) { s.successors = 4; }, "4 successors of 3");
  refuses([](auto& s) { s.loose = 0; }, "loose 0");
  refuses([](auto& s) { s.zipf = -1; }, "zipf -1");
  refuses([](auto& s) { s.copying = 0.75; }, "copying 0.75");
  refuses([](auto& s) { s.copy_length = 0; }, "copies of 0 tokens");
  refuses([](auto& s) { s.loose = std::nan(""); }, "loose nan");
}
