#include "harness/text/loops.hpp"

#include <algorithm>
#include <vector>

namespace plumbline {
namespace {

constexpr std::size_t kLongestPhrase = 90;  // Holtzman et al.'s

// z[i]: how many tokens from i on equal those from the start (Gusfield 1997, section 1.4). z[0] is the
// length.
std::vector<std::size_t> z_array(const std::vector<Token>& x) {
  std::vector<std::size_t> z(x.size());
  if (!x.empty()) z[0] = x.size();
  for (std::size_t i = 1, left = 0, right = 0; i < x.size(); ++i) {
    if (i < right) z[i] = std::min(right - i, z[i - left]);
    while (i + z[i] < x.size() && x[z[i]] == x[i + z[i]]) ++z[i];
    if (i + z[i] > right) left = i, right = i + z[i];
  }
  return z;
}

class Search {
 public:
  explicit Search(Sequence tokens) : tokens_(tokens) {}

  Loops find(std::size_t begin, std::size_t end) {
    search(begin, end);
    return best_;
  }

 private:
  void consider(const Loop& loop) {
    if (loop.tokens() < std::max(kLeastTimes * loop.period, kLeastLoopTokens)) return;
    const auto better = [&](const std::optional<Loop>& than) {
      return !than || loop.tokens() > than->tokens() ||
             (loop.tokens() == than->tokens() && loop.period < than->period);
    };
    if (better(best_.longest)) best_.longest = loop;
    if (loop.end == tokens_.size() && better(best_.last)) best_.last = loop;
  }

  // Finds loops that cross the middle, then those within each half. A loop that crosses the middle is found
  // whole: if it crossed an edge of [begin, end), it was found before.
  void search(std::size_t begin, std::size_t end) {
    if (end - begin < kLeastLoopTokens) return;
    const auto middle = begin + (end - begin) / 2;
    const std::vector<Token> v(tokens_.begin() + static_cast<std::ptrdiff_t>(middle),
                               tokens_.begin() + static_cast<std::ptrdiff_t>(end));
    std::vector<Token> u(tokens_.begin() + static_cast<std::ptrdiff_t>(begin),
                         tokens_.begin() + static_cast<std::ptrdiff_t>(middle));
    auto v_u = v;
    v_u.insert(v_u.end(), u.begin(), u.end());
    std::reverse(u.begin(), u.end());
    auto u_v = u;  // both reversed
    u_v.insert(u_v.end(), v.rbegin(), v.rend());
    const auto z_v = z_array(v), z_u = z_array(u), z_vu = z_array(v_u), z_uv = z_array(u_v);
    const auto length_at = [](const std::vector<std::size_t>& z, std::size_t at) {
      return at < z.size() ? z[at] : 0;
    };
    for (std::size_t period = 1; period <= std::max(u.size(), v.size()); ++period) {
      // Compares tokens with those `period` later: forward from the middle, and backward.
      if (period <= v.size()) {
        const auto forward = length_at(z_v, period);
        auto backward = std::min(z_uv[u_v.size() - period], period);
        if (backward == period) backward += length_at(z_u, period);
        if (backward + forward >= period) consider({period, middle - backward, middle + period + forward});
      }
      // Compares tokens with those `period` earlier.
      if (period <= u.size()) {
        auto forward = std::min(z_vu[v_u.size() - period], period);
        if (forward == period) forward += length_at(z_v, period);
        const auto backward = length_at(z_u, period);
        if (backward + forward >= period) consider({period, middle - period - backward, middle + forward});
      }
    }
    search(begin, middle);
    search(middle, end);
  }

  Sequence tokens_;
  Loops best_;
};

}  // namespace

Loops find_loops(Sequence tokens) {
  return Search(tokens).find(0, tokens.size());
}

TailRepetition tail_repetition(Sequence tokens) {
  TailRepetition best;
  const auto n = tokens.size();
  for (std::size_t period = 1; period <= std::min(kLongestPhrase, n); ++period) {
    std::size_t same = 0;
    while (same + period < n && tokens[n - 1 - same] == tokens[n - 1 - same - period]) ++same;
    const auto times = 1 + same / period;
    if (times > best.times) best = {period, times};
  }
  return best;
}

}  // namespace plumbline
