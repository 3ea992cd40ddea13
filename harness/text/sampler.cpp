#include "harness/text/sampler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "harness/system/error.hpp"

namespace plumbline {
namespace {

// Where candidates end: how near another set of them is, in logits, and the score of the last one.
struct Edge {
  double distance = std::numeric_limits<double>::infinity();
  double last = 0;
};

// The logits after penalty, temperature and top-k: what is left out is -infinity.
std::vector<double> scores_of(std::span<const float> logits, const Sampling& sampling, Sequence previous,
                              Edge& edge) {
  std::vector<double> scores(logits.begin(), logits.end());
  if (sampling.repetition_penalty != 1) {
    std::vector<Token> previous_tokens(previous.begin(), previous.end());
    std::sort(previous_tokens.begin(), previous_tokens.end());
    previous_tokens.erase(std::unique(previous_tokens.begin(), previous_tokens.end()), previous_tokens.end());
    for (const auto token : previous_tokens) {
      if (token >= scores.size()) continue;
      auto& score = scores[token];
      score = score > 0 ? score / sampling.repetition_penalty : score * sampling.repetition_penalty;
    }
  }
  if (sampling.greedy()) return scores;
  for (auto& score : scores) score /= sampling.temperature;
  const auto k = static_cast<std::size_t>(sampling.top_k);
  if (k > 0 && k < scores.size()) {
    auto sorted = scores;
    const auto last = sorted.begin() + static_cast<std::ptrdiff_t>(k - 1);
    std::nth_element(sorted.begin(), last, sorted.end(), std::greater<>());
    edge.last = *last;
    double next = -std::numeric_limits<double>::infinity();  // the largest that is left out
    for (auto& score : scores)
      if (score < *last) {
        next = std::max(next, score);
        score = -std::numeric_limits<double>::infinity();
      }
    if (std::isfinite(next)) edge.distance = (*last - next) * sampling.temperature / 2;
    // Ties are kept: the least of rounding would part them.
    if (std::count(scores.begin(), scores.end(), *last) > 1) edge.distance = 0;
  }
  return scores;
}

template <typename Scores>
Choice largest_of(const Scores& scores) {
  std::size_t best = 0;
  double second = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 1; i < scores.size(); ++i) {
    if (scores[i] > scores[best])
      second = static_cast<double>(scores[best]), best = i;
    else
      second = std::max(second, static_cast<double>(scores[i]));
  }
  return {static_cast<Token>(best), (static_cast<double>(scores[best]) - second) / 2};
}

// Leaves the fewest probabilities that together have `share` of all; the others become 0. Of equal ones that
// of the lowest id comes first. Halves are put in order as far as the edge lies in them: linear, without
// sorting.
Edge keep_nucleus(std::vector<double>& weights, double total, double share, double temperature) {
  std::vector<std::pair<double, std::size_t>> all;
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (weights[i] > 0) all.emplace_back(-weights[i], i);
  auto begin = all.begin(), end = all.end();  // the edge lies within; what is before is kept
  double wanted = share * total;
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end);
    double mass = 0;
    for (auto one = begin; one != middle; ++one) mass -= one->first;
    if (mass >= wanted) {
      end = middle;
    } else {
      wanted -= mass;
      begin = middle;
    }
  }
  Edge edge;
  if (begin == end) return edge;
  const double last = -begin->first;
  edge.last = last;
  // The last one would not be needed, or would not do.
  edge.distance = 2 * temperature * std::min(wanted, std::abs(last - wanted)) / total;
  double next = 0;
  for (auto left_out = end; left_out != all.end(); ++left_out) {
    next = std::max(next, -left_out->first);
    weights[left_out->second] = 0;
  }
  if (next > 0) edge.distance = std::min(edge.distance, temperature * std::log(last / next) / 2);
  if (end == all.end() && share >= 1) edge.distance = std::numeric_limits<double>::infinity();
  return edge;
}

}  // namespace

void require_possible(const Sampling& sampling) {
  const auto refuse = [](const std::string& what) { throw InputError(what); };
  if (!(sampling.temperature == 0 || (sampling.temperature >= 1e-4 && sampling.temperature <= 1000)))
    refuse(fmt::format("--temperature {}: expected 0 (greedy), or 0.0001 to 1000", sampling.temperature));
  if (!(sampling.top_p > 0 && sampling.top_p <= 1))
    refuse(fmt::format("--top-p {}: expected more than 0, and 1 at most", sampling.top_p));
  if (sampling.top_k < 0) refuse(fmt::format("--top-k {}: expected 0 (all) or more", sampling.top_k));
  if (!(sampling.repetition_penalty >= 0.001 && sampling.repetition_penalty <= 1000))
    refuse(fmt::format("--repetition-penalty {}: expected 0.001 to 1000", sampling.repetition_penalty));
}

namespace {

// The largest. Errors: as choose().
template <typename Scores>
double most_of(const Scores& scores) {
  double most = -std::numeric_limits<double>::infinity();
  for (const auto score : scores) {
    if (std::isnan(score)) throw std::domain_error("a logit is NaN");
    most = std::max(most, static_cast<double>(score));
  }
  if (!std::isfinite(most)) throw std::domain_error("no logit is finite");
  return most;
}

}  // namespace

Choice choose(std::span<const float> logits, const Sampling& sampling, Sequence previous, double uniform) {
  most_of(logits);
  if (sampling.greedy() && sampling.repetition_penalty == 1) return largest_of(logits);
  Edge of_k, of_p;
  const auto scores = scores_of(logits, sampling, previous, of_k);
  // A penalty that stretches logits stretches what they are off by.
  const double stretched = std::max(sampling.repetition_penalty, 1 / sampling.repetition_penalty);
  const double most = most_of(scores);
  if (sampling.greedy()) {
    const auto choice = largest_of(scores);
    return {choice.token, choice.margin / stretched};
  }
  auto weights = scores;
  double total = 0;
  for (auto& weight : weights) total += weight = std::exp(weight - most);
  if (sampling.top_p < 1) {
    of_p = keep_nucleus(weights, total, sampling.top_p, sampling.temperature);
    total = std::accumulate(weights.begin(), weights.end(), 0.0);
  }
  // The inverse of the distribution function, tokens in the order of their ids.
  const double drawn = uniform * total;
  double below = 0;
  std::size_t last = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    last = i;
    if (drawn < below + weights[i]) break;
    below += weights[i];
  }
  const double above = below + weights[last];
  const double apart = std::max(0.0, std::min(drawn - below, above - drawn) / total);
  double margin = 2 * sampling.temperature * apart;
  for (const auto& [distance, mass] :
       {std::pair{of_k.distance, std::exp(of_k.last - most)}, {of_p.distance, of_p.last}})
    margin = std::min(margin, std::max(distance, 2 * sampling.temperature * (apart - mass / total)));
  return {static_cast<Token>(last), std::max(margin, 0.0) / stretched};
}

}  // namespace plumbline
