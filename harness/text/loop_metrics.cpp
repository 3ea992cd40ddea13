// Blocks of tokens that a sample says again: at once, over and over, or anywhere.
#include <fmt/format.h>

#include <algorithm>

#include "harness/text/repetition_metrics.hpp"

namespace plumbline {

std::vector<Metric> loop_metrics(const RepetitionInput& input, std::vector<Loops>& loops_of_samples) {
  auto tail = new_metric(
      "tail-repetition", "samples that end in a phrase repeated over and over",
      fmt::format("{}, section 5 and its published code", kHoltzman),
      "phrases of 1 to 90 tokens; of 3 tokens or more repeated at once, of 1 or 2 more than 50 times",
      MetricKind::rate, 1);
  auto looping = new_metric(
      "looping", "samples that end in a loop", "Plumbline",
      fmt::format("a block of any length said at least {} times in a row, {} tokens in all, to the end",
                  kLeastTimes, kLeastLoopTokens),
      MetricKind::rate, 1);
  auto loop_share = new_metric("loop-share", "share of a sample in its longest loop", "Plumbline",
                               "wherever in the sample; mean over samples", MetricKind::mean, 1);
  const Share not_measurable;
  for (const auto& tokens : input.sequences) {
    const auto loops = find_loops(tokens);
    loops_of_samples.push_back(loops);
    tail.shares.push_back(tokens.size() >= 6 ? Share{tail_repetition(tokens).counts() ? 1.0 : 0.0, 1}
                                             : not_measurable);
    const bool is_long_enough = tokens.size() >= kLeastLoopTokens;
    looping.shares.push_back(is_long_enough ? Share{loops.last ? 1.0 : 0.0, 1} : not_measurable);
    const auto inside = loops.longest ? loops.longest->tokens() : 0;
    loop_share.shares.push_back(
        is_long_enough ? Share{static_cast<double>(inside) / static_cast<double>(tokens.size()), 1}
                       : not_measurable);
  }
  set_value_from_shares(tail, "no sample has 6 tokens, the shortest in which a phrase of 3 can repeat");
  const auto reason = fmt::format("no sample has {} tokens", kLeastLoopTokens);
  set_value_from_shares(looping, reason);
  set_value_from_shares(loop_share, reason);
  return {std::move(tail), std::move(looping), std::move(loop_share)};
}

std::vector<Metric> longest_repeat_metrics(const RepetitionInput& input) {
  constexpr const char* kGusfield = "Gusfield 1997, section 7.5";
  auto share = new_metric("longest-repeat-share", "longest repeated substring, as a share of its sample",
                          kGusfield, "the two places may overlap; mean over samples", MetricKind::mean, 1);
  auto longest_of_all =
      new_metric("longest-repeat", "tokens of the longest repeated substring of any sample", kGusfield,
                 "within a sample; the two places may overlap", MetricKind::corpus, 1);
  for (const auto& tokens : input.sequences) {
    if (tokens.size() < 2) {
      share.shares.push_back({});
      continue;
    }
    const auto longest = static_cast<double>(longest_repeated_substring(tokens));
    share.shares.push_back({longest / static_cast<double>(tokens.size()), 1});
    longest_of_all.value = std::max(longest_of_all.value.value_or(0), longest);
    ++longest_of_all.measured;
  }
  set_value_from_shares(share, "no sample has two tokens");
  longest_of_all.reason = share.reason;
  return {std::move(share), std::move(longest_of_all)};
}

}  // namespace plumbline
