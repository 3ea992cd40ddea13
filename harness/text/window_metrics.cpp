// How many tokens stand among so many before them: rep/l of all tokens, wrep/l of a model's wrong choices.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "harness/text/repetition_metrics.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kWindows[] = {16, 32, 128, 512};

// For each place, how far back the text last had the token `looked_for` there; 0: it never had.
std::vector<std::size_t> distances_back(Sequence text, Sequence looked_for) {
  std::unordered_map<Token, std::size_t> last_place;
  std::vector<std::size_t> distances(text.size(), 0);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (const auto found = last_place.find(looked_for[i]); found != last_place.end())
      distances[i] = i - found->second;
    last_place[text[i]] = i;
  }
  return distances;
}

bool has_choices(const Sample& sample) {
  return !sample.predicted.empty();
}

// Whether a model's choices are recorded in every sample that has tokens.
bool choices_are_recorded(const std::vector<Sample>& samples) {
  return std::any_of(samples.begin(), samples.end(), has_choices) &&
         std::all_of(samples.begin(), samples.end(),
                     [](const Sample& sample) { return sample.tokens.empty() || has_choices(sample); });
}

struct RepeatsInWindow {
  Share repeats, wrong_repeats;
};

RepeatsInWindow count_repeats(const Sample& sample, const std::vector<std::size_t>& distances,
                              std::size_t window, bool of_choices) {
  RepeatsInWindow counted;
  const std::size_t first = of_choices ? 0 : 1;
  for (std::size_t i = first; i < distances.size(); ++i) {
    const bool repeats = distances[i] > 0 && distances[i] <= window;
    counted.repeats.numerator += repeats ? 1 : 0;
    if (of_choices)
      counted.wrong_repeats.numerator += repeats && sample.predicted[i] != sample.tokens[i] ? 1 : 0;
  }
  counted.repeats.denominator = distances.size() > first ? static_cast<double>(distances.size() - first) : 0;
  counted.wrong_repeats.denominator = counted.repeats.denominator;
  return counted;
}

}  // namespace

std::vector<Metric> window_metrics(const RepetitionInput& input) {
  const auto& samples = input.samples.all;
  const bool of_choices = choices_are_recorded(samples);
  std::vector<std::vector<std::size_t>> distances;
  for (const auto& sample : samples)
    distances.push_back(distances_back(sample.tokens, of_choices ? sample.predicted : sample.tokens));
  std::vector<Metric> metrics;
  for (const auto window : kWindows) {
    auto rep = new_metric(fmt::format("rep/{}", window),
                          fmt::format("tokens that stand among the {} before them", window),
                          fmt::format("{}, rep/l", kWelleck),
                          of_choices ? "of the model's choices for the given text"
                                     : "of the text's own tokens from the second on",
                          MetricKind::ratio, 1);
    auto wrong_rep = new_metric(
        fmt::format("wrep/{}", window),
        fmt::format("wrong choices that stand among the {} tokens before them", window),
        fmt::format("{}, wrep/l", kWelleck), "of all choices; right ones do not count", MetricKind::ratio, 1);
    for (std::size_t s = 0; s < samples.size(); ++s) {
      const auto counted = count_repeats(samples[s], distances[s], window, of_choices);
      rep.shares.push_back(counted.repeats);
      if (of_choices) wrong_rep.shares.push_back(counted.wrong_repeats);
    }
    set_value_from_shares(rep, "no sample has two tokens");
    set_value_from_shares(wrong_rep,
                          "the model's own choices for a given text are not recorded ('predicted')");
    metrics.push_back(std::move(rep));
    metrics.push_back(std::move(wrong_rep));
  }
  return metrics;
}

}  // namespace plumbline
