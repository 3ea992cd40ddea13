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

// The edge of the set of candidates: the change of logits that gives another set, and the score of the last
// candidate.
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
    // Ties are kept, but any rounding separates them.
    if (std::count(scores.begin(), scores.end(), *last) > 1) edge.distance = 0;
  }
  return scores;
}

template <typename Scores>
Choice argmax(const Scores& scores) {
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

// Keeps the fewest probabilities that together have `share` of the total, and sets the others to 0. Of equal
// ones the lowest id comes first. Only the half that holds the edge is ordered further: linear time, without
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
  // A change of the mass makes the last one unnecessary, or insufficient.
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
double max_logit(const Scores& scores) {
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
  max_logit(logits);
  if (sampling.greedy() && sampling.repetition_penalty == 1) return argmax(logits);
  Edge top_k_edge, top_p_edge;
  const auto scores = scores_of(logits, sampling, previous, top_k_edge);
  // A penalty that scales logits also scales their errors.
  const double stretched = std::max(sampling.repetition_penalty, 1 / sampling.repetition_penalty);
  const double max_score = max_logit(scores);
  if (sampling.greedy()) {
    const auto choice = argmax(scores);
    return {choice.token, choice.margin / stretched};
  }
  auto weights = scores;
  double total = 0;
  for (auto& weight : weights) total += weight = std::exp(weight - max_score);
  if (sampling.top_p < 1) {
    top_p_edge = keep_nucleus(weights, total, sampling.top_p, sampling.temperature);
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
  const double edge_distance = std::max(0.0, std::min(drawn - below, above - drawn) / total);
  double margin = 2 * sampling.temperature * edge_distance;
  for (const auto& [distance, mass] : {std::pair{top_k_edge.distance, std::exp(top_k_edge.last - max_score)},
                                       {top_p_edge.distance, top_p_edge.last}})
    margin = std::min(margin, std::max(distance, 2 * sampling.temperature * (edge_distance - mass / total)));
  return {static_cast<Token>(last), std::max(margin, 0.0) / stretched};
}

}  // namespace plumbline
