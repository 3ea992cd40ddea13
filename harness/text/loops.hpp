// Loops: blocks of tokens that are repeated immediately, at least three times.
#pragma once

#include <cstddef>
#include <optional>

#include "harness/text/substrings.hpp"

namespace plumbline {

// A maximal run of tokens in which each equals the one `period` before it.
struct Loop {
  std::size_t period = 0;
  std::size_t begin = 0, end = 0;  // its onset, and one past its last token
  std::size_t tokens() const { return end - begin; }
  bool operator==(const Loop&) const = default;
};

// The least repetitions and tokens of a loop, which exclude ellipses and "very very very".
constexpr std::size_t kLeastTimes = 3;
constexpr std::size_t kLeastLoopTokens = 12;

struct Loops {
  std::optional<Loop> longest;  // of several as long, the one of the shortest period
  std::optional<Loop> last;     // the longest of those that go on to the end of the tokens
};

// All maximal repetitions by divide and conquer (Main and Lorentz 1984): O(n log n), for any period.
Loops find_loops(Sequence tokens);

// The repetition at the end of a text, as Holtzman et al. 2020 count it (The Curious Case of Neural Text
// Degeneration, section 5; their published metrics/repetition.py): of all phrases of 1 to 90 tokens that end
// the text, the one that is repeated most often.
struct TailRepetition {
  std::size_t period = 1;
  std::size_t times = 1;
  // Their criterion: repeated at all, and three tokens long or more than 50 times.
  bool counts() const { return times > 1 && (period >= 3 || times > 50); }
};
TailRepetition tail_repetition(Sequence tokens);

}  // namespace plumbline
