// Equal substrings of token sequences, compared exactly and not by hashes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace plumbline {

using Token = std::uint32_t;
using Sequence = std::span<const Token>;

// Numbers keys 0, 1, 2, ... in the order in which they are first seen.
class Numbering {
 public:
  explicit Numbering(std::size_t expected = 0);
  std::uint32_t operator()(std::uint64_t key);
  std::uint32_t size() const { return size_; }

 private:
  void place(std::uint64_t key, std::uint32_t number);
  std::size_t slot(std::uint64_t key) const;

  static constexpr std::uint32_t kFree = 0xffffffff;
  std::vector<std::uint64_t> keys_;
  std::vector<std::uint32_t> numbers_;  // kFree: the slot is empty
  std::uint32_t size_ = 0;
};

// The n-grams of many sequences, numbered alike in all of them. Memory: 24 bytes for each distinct n-gram.
class NGrams {
 public:
  // Those of length 1.
  explicit NGrams(const std::vector<Sequence>& sequences);
  // Those one token longer. An n-gram is its first n - 1 tokens and its last one, so pairs of numbers
  // suffice.
  void lengthen();

  std::size_t length() const { return length_; }
  std::uint32_t distinct() const { return distinct_; }  // in all sequences together
  // The numbers of the n-grams of each sequence, in order; none where a sequence is shorter than n.
  const std::vector<std::vector<std::uint32_t>>& numbers() const { return numbers_; }

 private:
  std::vector<std::vector<std::uint32_t>> tokens_, numbers_;
  std::size_t length_ = 1;
  std::uint32_t distinct_ = 0;
};

// The length of the longest substring that occurs at two positions, which may overlap. Substrings are
// numbered by doubling (Karp, Miller and Rosenberg 1972): O(n log n).
std::size_t longest_repeated_substring(Sequence tokens);

}  // namespace plumbline
