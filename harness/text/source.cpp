#include "harness/text/source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "harness/model/philox.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
namespace {

std::vector<double> sums_before(const std::vector<double>& values) {
  std::vector<double> below(values.size());
  std::exclusive_scan(values.begin(), values.end(), below.begin(), 0.0);
  return below;
}

// The inverse of a distribution function.
std::size_t index_at(const std::vector<double>& below, double uniform) {
  return static_cast<std::size_t>(std::upper_bound(below.begin(), below.end(), uniform) - below.begin()) - 1;
}

double plogp(double p) {
  return p > 0 ? p * std::log(p) : 0;
}

void require(bool holds, const std::string& complaint) {
  if (!holds) throw InputError("source: " + complaint);
}

void require_possible(const SourceSettings& s) {
  require(s.vocabulary >= 2 && s.vocabulary <= 1u << 24,
          fmt::format("a vocabulary of {}, expected 2 to 2^24", s.vocabulary));
  const Token words = s.vocabulary - (s.copying > 0 ? 1 : 0);
  require(s.successors >= 1 && s.successors <= std::min<Token>(words, 4096),
          fmt::format("{} successors of {} tokens, expected 1 to {}", s.successors, words,
                      std::min<Token>(words, 4096)));
  require(s.loose >= 0.01 && s.loose <= 1, fmt::format("loose {}, expected 0.01 to 1", s.loose));
  require(s.zipf >= 0 && s.zipf <= 3, fmt::format("zipf {}, expected 0 to 3", s.zipf));
  require(s.copying >= 0 && s.copying <= 0.5, fmt::format("copying {}, expected 0 to 0.5", s.copying));
  require(
      s.copy_length >= 1 && s.copy_length <= 1u << 20 && s.copy_distance >= 1 && s.copy_distance <= 1u << 20,
      fmt::format("copies of {} tokens from {} before, expected 1 to 2^20 of both", s.copy_length,
                  s.copy_distance));
}

std::vector<double> normalised(std::vector<double> values) {
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  for (auto& one : values) one /= sum;
  return values;
}

// P of the ranks 1, 2, 3, ...
std::vector<double> zipf_distribution(Token ranks, double exponent) {
  std::vector<double> weights;
  for (Token rank = 1; rank <= ranks; ++rank) weights.push_back(std::pow(rank, -exponent));
  return normalised(std::move(weights));
}

// 1/1, 1/2, 1/3, ..., scaled to a sum of 1.
std::vector<double> weights_of_successors(std::uint32_t count) {
  std::vector<double> weights;
  for (std::uint32_t j = 1; j <= count; ++j) weights.push_back(1.0 / j);
  return normalised(std::move(weights));
}

// The likeliest successor of each token. They form one cycle through all tokens, in random order, so that
// greedy text repeats itself only after all tokens have occurred.
std::vector<Token> likeliest_successors(Token words, std::uint32_t seed) {
  const PhiloxStream order("cycle", seed);
  std::vector<std::pair<std::uint64_t, Token>> cycle;
  for (Token token = 0; token < words; ++token) {
    const auto block = order.block(token);
    cycle.emplace_back(std::uint64_t{block[0]} << 32 | block[1], token);
  }
  std::sort(cycle.begin(), cycle.end());
  std::vector<Token> likeliest(words);
  for (Token i = 0; i < words; ++i) likeliest[cycle[i].second] = cycle[(i + 1) % words].second;
  return likeliest;
}

// The successors of every token, the likeliest first. The others are drawn by Zipf's law; if many draws fail,
// the next free id is taken.
std::vector<Token> drawn_successors(const SourceSettings& settings, Token words,
                                    const std::vector<double>& zipf_below) {
  const PhiloxStream random("successors", settings.seed);
  const auto likeliest = likeliest_successors(words, settings.seed);
  std::vector<Token> successors;
  for (Token token = 0; token < words; ++token) {
    const auto begin = successors.size();
    successors.push_back(likeliest[token]);
    const auto is_successor = [&](Token candidate) {
      return std::find(successors.begin() + static_cast<std::ptrdiff_t>(begin), successors.end(),
                       candidate) != successors.end();
    };
    for (std::uint64_t tried = 0; successors.size() < begin + settings.successors; ++tried) {
      const auto block = random.block(std::uint64_t{token} << 24 | tried);
      auto candidate = static_cast<Token>(index_at(zipf_below, uniform(block[0], block[1])));
      if (tried < 32 && is_successor(candidate)) continue;
      while (is_successor(candidate)) candidate = (candidate + 1) % words;
      successors.push_back(candidate);
    }
  }
  return successors;
}

// The parameters of the chain's transitions.
struct Chain {
  const SourceSettings& settings;
  const std::vector<double>& zipf;
  const std::vector<Token>& successors;
  const std::vector<double>& weights;  // of the successors
};

// The distribution that a step of the chain does not change. Each step brings any other distribution closer
// to it, by the factor 1 - loose.
std::vector<double> stationary_distribution(const Chain& chain) {
  const auto& [settings, zipf, successors, weights] = chain;
  std::vector<double> stationary = zipf;
  for (double moved = 1; moved > 1e-15;) {
    std::vector<double> after(zipf.size());
    for (std::size_t token = 0; token < zipf.size(); ++token) {
      after[token] += settings.loose * zipf[token];
      for (std::uint32_t j = 0; j < settings.successors; ++j)
        after[successors[token * settings.successors + j]] +=
            (1 - settings.loose) * weights[j] * stationary[token];
    }
    const double total = std::accumulate(after.begin(), after.end(), 0.0);
    moved = 0;
    for (std::size_t token = 0; token < zipf.size(); ++token) {
      after[token] /= total;
      moved = std::max(moved, std::abs(after[token] - stationary[token]));
    }
    stationary = std::move(after);
  }
  return stationary;
}

// Nats a step of the chain.
double entropy_of_chain(const Chain& chain, const std::vector<double>& stationary) {
  const auto& [settings, zipf, successors, weights] = chain;
  double zipf_entropy = 0;  // the part of a row's entropy that all rows have
  for (const double one : zipf) zipf_entropy -= plogp(settings.loose * one);
  double entropy = 0;
  for (std::size_t token = 0; token < zipf.size(); ++token) {
    double row = zipf_entropy;
    for (std::uint32_t j = 0; j < settings.successors; ++j) {
      const double zipf_part = settings.loose * zipf[successors[token * settings.successors + j]];
      row += plogp(zipf_part) - plogp(zipf_part + (1 - settings.loose) * weights[j]);
    }
    entropy += stationary[token] * row;
  }
  return entropy;
}

}  // namespace

// The state of a stream: everything that its next token depends on.
class Source::Reader {
 public:
  explicit Reader(const Source& source) : source_(source) {}

  bool begun() const { return !text_.empty(); }
  Token previous() const { return text_.back(); }
  bool copies() const { return left_ > 0; }
  Token copied() const { return text_[text_.size() - source_.settings_.copy_distance]; }
  bool may_copy() const {
    return source_.settings_.copying > 0 && text_.size() >= source_.settings_.copy_distance;
  }
  void add(Token token) {
    if (token == source_.words_) {
      left_ = source_.settings_.copy_length;
      return;
    }
    if (left_ > 0) --left_;
    text_.push_back(token);
  }

 private:
  const Source& source_;
  std::vector<Token> text_;  // the stream without announcements
  std::uint32_t left_ = 0;   // of a copy
};

Source::Source(const SourceSettings& settings) : settings_(settings) {
  require_possible(settings);
  words_ = settings.vocabulary - (settings.copying > 0 ? 1 : 0);
  zipf_ = zipf_distribution(words_, settings.zipf);
  zipf_cumulative_ = sums_before(zipf_);
  weights_ = weights_of_successors(settings.successors);
  weights_cumulative_ = sums_before(weights_);
  successors_ = drawn_successors(settings, words_, zipf_cumulative_);
  const Chain chain{settings, zipf_, successors_, weights_};
  stationary_ = stationary_distribution(chain);
  stationary_cumulative_ = sums_before(stationary_);
  const double e = settings.copying;
  entropy_rate_ = ((-plogp(e) - plogp(1 - e)) / (1 - e) + entropy_of_chain(chain, stationary_)) /
                  (1 + (1 + static_cast<double>(settings.copy_length)) * e / (1 - e));
}

std::string Source::sentence() const {
  const auto& s = settings_;
  return fmt::format(
      "a Markov chain over {} tokens, {} likely successors each, one token in {:.0f} drawn by Zipf's law "
      "(exponent {:g}){}; its entropy is {:.4f} nats a token",
      words_, s.successors, 1 / s.loose, s.zipf,
      s.copying > 0
          ? fmt::format(", with copies of {} tokens from {} before, begun at one free step in {:.0f}",
                        s.copy_length, s.copy_distance, 1 / s.copying)
          : "",
      entropy_rate_);
}

double Source::probability(Token previous, Token token) const {
  double p = settings_.loose * zipf_[token];
  for (std::uint32_t j = 0; j < settings_.successors; ++j)
    if (successors_[std::size_t{previous} * settings_.successors + j] == token)
      p += (1 - settings_.loose) * weights_[j];
  return p;
}

double Source::probability_of_next(const Reader& reader, Token token) const {
  if (token >= settings_.vocabulary) return 0;
  if (reader.copies()) return token == reader.copied() ? 1 : 0;
  if (token == words_) return reader.may_copy() ? settings_.copying : 0;
  const double free = reader.begun() ? probability(reader.previous(), token) : stationary_[token];
  return reader.may_copy() ? (1 - settings_.copying) * free : free;
}

Stream Source::draw(std::uint64_t number, std::size_t length) const {
  require(length < 1u << 24 && number < std::uint64_t{1} << 40,
          fmt::format("stream {} of {} tokens, expected fewer than 2^40 of fewer than 2^24", number, length));
  const PhiloxStream random("source", settings_.seed);
  Stream stream;
  Reader reader(*this);
  for (std::size_t step = 0; step < length; ++step) {
    const auto words = random.block(number << 24 | step);
    const double first = uniform(words[0], words[1]), second = uniform(words[2], words[3]);
    // `first` decides whether a copy begins; rescaled, it also decides whether the step is a loose one.
    const double e = reader.may_copy() ? settings_.copying : 0;
    Token token = 0;
    if (reader.copies())
      token = reader.copied();
    else if (first < e)
      token = words_;
    else if (!reader.begun())
      token = static_cast<Token>(index_at(stationary_cumulative_, second));
    else if ((first - e) / (1 - e) < settings_.loose)
      token = static_cast<Token>(index_at(zipf_cumulative_, second));
    else
      token = successors_[std::size_t{reader.previous()} * settings_.successors +
                          index_at(weights_cumulative_, second)];
    stream.tokens.push_back(token);
    stream.log_probabilities.push_back(std::log(probability_of_next(reader, token)));
    reader.add(token);
  }
  return stream;
}

std::vector<double> Source::log_probabilities(Sequence stream) const {
  std::vector<double> all;
  Reader reader(*this);
  bool possible = true;
  for (const auto token : stream) {
    const double p = possible ? probability_of_next(reader, token) : 0;
    possible = p > 0;
    all.push_back(possible ? std::log(p) : -std::numeric_limits<double>::infinity());
    if (possible) reader.add(token);
  }
  return all;
}

std::vector<double> Source::next(Sequence stream) const {
  Reader reader(*this);
  for (const auto token : stream) {
    require(probability_of_next(reader, token) > 0, "this stream is none of it");
    reader.add(token);
  }
  std::vector<double> all(settings_.vocabulary);
  for (Token token = 0; token < settings_.vocabulary; ++token)
    all[token] = probability_of_next(reader, token);
  return all;
}

}  // namespace plumbline
