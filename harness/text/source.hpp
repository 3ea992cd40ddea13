// A random source of tokens with known probabilities, entropy rate and repetition.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/text/substrings.hpp"

namespace plumbline {

// A Markov chain over tokens, with copies of what stands further back. After each token a few others are
// likely (its successors, the j-th of them with weight 1/j; the first ones make one cycle through all
// tokens); with probability `loose` the next is drawn
// without regard to what precedes it, by Zipf's law. At each free step a copy may begin: the last id of the
// vocabulary announces it, and the `copy_length` tokens that follow are those that stand `copy_distance`
// before, announcements not counted.
struct SourceSettings {
  Token vocabulary = 6400;
  std::uint32_t successors = 8;
  double loose = 0.1;
  double zipf = 1;  // exponent
  double copying =
      1 / 64.;  // probability that a free step begins a copy; 0: none does, and no id announces any
  std::uint32_t copy_length = 16, copy_distance = 24;
  std::uint32_t seed = 1;  // of the chain, not of its streams
};

struct Stream {
  std::vector<Token> tokens;
  std::vector<double> log_probabilities;  // of each, given those before it in the stream; nats
};

class Source {
 public:
  // Errors: InputError naming an impossible setting.
  explicit Source(const SourceSettings& settings);

  const SourceSettings& settings() const { return settings_; }
  std::string sentence() const;  // what it is, for readers of a report

  // Nats a token of an endless stream, in closed form: after a copy the chain continues from a token with
  // the chain's own distribution, so that each free step has the entropy of the chain (Cover and Thomas
  // 2006, theorem 4.2.4), and the steps of a copy have none. With e the probability of a copy and L its
  // length: (H(e) / (1 - e) + H(chain)) / (1 + (1 + L) e / (1 - e)).
  double entropy_rate() const { return entropy_rate_; }
  // The chain's stationary distribution over tokens.
  const std::vector<double>& stationary() const { return stationary_; }

  // Deterministic in `number`, on every machine.
  Stream draw(std::uint64_t number, std::size_t length) const;
  // ln P of each token of a stream from its beginning; -inf where the source cannot produce it.
  std::vector<double> log_probabilities(Sequence stream) const;
  // P of every id of the vocabulary after this beginning of a stream.
  std::vector<double> next(Sequence stream) const;

 private:
  class Reader;
  double probability(Token previous, Token token) const;  // of the chain
  double probability_of_next(const Reader& reader, Token token) const;

  SourceSettings settings_;
  Token words_ = 0;                                   // ids of the chain
  std::vector<double> zipf_, zipf_cumulative_;        // (words) each, and the sum of those before it
  std::vector<Token> successors_;                     // (words, successors)
  std::vector<double> weights_, weights_cumulative_;  // (successors)
  std::vector<double> stationary_, stationary_cumulative_;
  double entropy_rate_ = 0;
};

}  // namespace plumbline
