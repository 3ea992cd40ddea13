#include "harness/text/substrings.hpp"

#include <algorithm>
#include <bit>

namespace plumbline {
namespace {

std::uint64_t pair_of(std::uint32_t first, std::uint32_t second) {
  return std::uint64_t{first} << 32 | second;
}

// The finaliser of splitmix64 (Steele, Lea and Flood 2014).
std::uint64_t mix(std::uint64_t key) {
  key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9u;
  key = (key ^ (key >> 27)) * 0x94d049bb133111ebu;
  return key ^ (key >> 31);
}

struct Classes {
  std::vector<std::uint32_t> of;  // each place
  bool repeats = false;           // two places have the same
};

// The classes of substrings that are one of `a`, of length `shift`, followed by one of `b`.
Classes join_classes(const std::vector<std::uint32_t>& a, const std::vector<std::uint32_t>& b,
                     std::size_t shift) {
  Classes classes;
  if (b.size() <= shift) return classes;
  const auto places = std::min(a.size(), b.size() - shift);
  Numbering numbering(places);
  classes.of.resize(places);
  for (std::size_t i = 0; i < places; ++i) classes.of[i] = numbering(pair_of(a[i], b[i + shift]));
  classes.repeats = numbering.size() < places;
  return classes;
}

}  // namespace

Numbering::Numbering(std::size_t expected) {
  const auto capacity = std::bit_ceil(std::max<std::size_t>(expected * 2, 16));
  keys_.resize(capacity);
  numbers_.assign(capacity, kFree);
}

std::size_t Numbering::slot(std::uint64_t key) const {
  const auto mask = keys_.size() - 1;
  auto at = static_cast<std::size_t>(mix(key)) & mask;
  while (numbers_[at] != kFree && keys_[at] != key) at = (at + 1) & mask;
  return at;
}

void Numbering::place(std::uint64_t key, std::uint32_t number) {
  const auto at = slot(key);
  keys_[at] = key;
  numbers_[at] = number;
}

std::uint32_t Numbering::operator()(std::uint64_t key) {
  const auto at = slot(key);
  if (numbers_[at] != kFree) return numbers_[at];
  keys_[at] = key;
  numbers_[at] = size_++;
  if (std::size_t{size_} * 2 > keys_.size()) {
    Numbering larger(keys_.size());
    for (std::size_t i = 0; i < keys_.size(); ++i)
      if (numbers_[i] != kFree) larger.place(keys_[i], numbers_[i]);
    keys_ = std::move(larger.keys_);
    numbers_ = std::move(larger.numbers_);
  }
  return size_ - 1;
}

NGrams::NGrams(const std::vector<Sequence>& sequences) {
  Numbering numbering;
  for (const auto& sequence : sequences) {
    auto& numbers = tokens_.emplace_back();
    numbers.reserve(sequence.size());
    for (const auto token : sequence) numbers.push_back(numbering(token));
  }
  numbers_ = tokens_;
  distinct_ = numbering.size();
}

void NGrams::lengthen() {
  Numbering numbering(distinct_);
  for (std::size_t s = 0; s < numbers_.size(); ++s) {
    auto& numbers = numbers_[s];
    if (numbers.empty()) continue;
    numbers.pop_back();
    for (std::size_t i = 0; i < numbers.size(); ++i)
      numbers[i] = numbering(pair_of(numbers[i], tokens_[s][i + length_]));
  }
  ++length_;
  distinct_ = numbering.size();
}

std::size_t longest_repeated_substring(Sequence tokens) {
  std::vector<std::uint32_t> single(tokens.begin(), tokens.end());
  // Classes of length 1, 2, 4, ... for as long as any repeats.
  std::vector<std::vector<std::uint32_t>> doubled;
  const std::vector<std::uint32_t> empty_substrings(single.size(), 0);
  auto classes = join_classes(empty_substrings, single, 0);
  while (classes.repeats) {
    doubled.push_back(std::move(classes.of));
    classes = join_classes(doubled.back(), doubled.back(), std::size_t{1} << (doubled.size() - 1));
  }
  if (doubled.empty()) return 0;
  // Then adds smaller powers of two, from the largest down, while a substring repeats.
  auto longest = std::size_t{1} << (doubled.size() - 1);
  auto longest_classes = doubled.back();
  for (auto power = doubled.size() - 1; power-- > 0;) {
    auto longer = join_classes(longest_classes, doubled[power], longest);
    if (!longer.repeats) continue;
    longest_classes = std::move(longer.of);
    longest += std::size_t{1} << power;
  }
  return longest;
}

}  // namespace plumbline
