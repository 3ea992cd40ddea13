// Metrics of repetition by published formulas; each names its source and the exact variant.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/text/loops.hpp"
#include "harness/text/samples.hpp"
#include "harness/text/statistics.hpp"

namespace plumbline {

// How a metric is computed from samples, which decides its interval.
enum class MetricKind {
  mean,   // of one value a sample
  ratio,  // of sums over samples
  rate,   // of samples with a property
  corpus  // of all samples together: no interval
};

struct Metric {
  std::string id;       // "seq-rep-4"
  std::string title;    // a line for the reader
  std::string source;   // paper and formula
  std::string variant;  // what exactly is computed, where the literature has several
  MetricKind kind = MetricKind::corpus;
  int direction = 0;            // 1: more is more repetitive, -1: less is, 0: neither
  std::optional<double> value;  // empty: not measurable
  std::string reason;           // then why
  // One for each sample, in order; a denominator of 0: the sample is not measurable. Empty for
  // MetricKind::corpus.
  std::vector<Share> shares;
  std::size_t measured = 0;  // samples
};

struct Repetition {
  std::vector<Metric> metrics;
  std::vector<Loops> loops;  // of each sample
};

// Computes all metrics; one that cannot be measured has a reason and no value.
// Time is n log n in the tokens, memory about 60 bytes a token. Ids of tokens that end a sentence may be
// given where there is no text.
Repetition measure_repetition(const Samples& samples, const std::vector<Token>& sentence_ends = {});

const Metric& find_metric(const Repetition& repetition, const std::string& id);

// Bytes over bytes as gzip has them, at its default level, 6. Errors: std::bad_alloc.
double compression_ratio(std::string_view bytes);

// Sentence BLEU of each sequence against all the others as references: n-grams of 1 to 4 alike in weight,
// precision 0 taken for 0.1 matches (Chen and Cherry 2014, method 1), the brevity penalty from the nearest
// reference length. Empty for sequences shorter than 4, which are references all the same. Linear in the
// tokens: of all references only the largest and the second largest count of an n-gram matter.
std::vector<std::optional<double>> self_bleu(const std::vector<Sequence>& sequences);

}  // namespace plumbline
