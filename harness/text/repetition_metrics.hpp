// The measures of repetition, which repetition.cpp runs side by side: each function computes metrics that
// belong together.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "harness/text/repetition.hpp"

namespace plumbline {

constexpr const char* kWelleck =
    "Welleck et al. 2020, Neural Text Generation with Unlikelihood Training, section 6.1";
constexpr const char* kHoltzman = "Holtzman et al. 2020, The Curious Case of Neural Text Degeneration";

struct RepetitionInput {
  const Samples& samples;
  std::vector<Sequence> sequences;  // the tokens of each sample
  std::set<Token> sentence_ends;    // ids that end a sentence; empty: the text says where sentences end
};

// A metric without a value.
Metric new_metric(std::string id, std::string title, std::string source, std::string variant, MetricKind kind,
                  int direction);
// The metric's value is estimated from its shares. Where no sample has one, `reason` says why.
void set_value_from_shares(Metric& metric, const std::string& reason);

std::vector<Metric> ngram_metrics(const RepetitionInput& input);   // seq-rep-n, rep-n, distinct-n, diversity
std::vector<Metric> window_metrics(const RepetitionInput& input);  // rep/l and wrep/l
std::vector<Metric> loop_metrics(const RepetitionInput& input, std::vector<Loops>& loops_of_samples);
std::vector<Metric> longest_repeat_metrics(const RepetitionInput& input);
std::vector<Metric> sentence_metrics(const RepetitionInput& input);
std::vector<Metric> ended_metrics(const RepetitionInput& input);
std::vector<Metric> compression_metrics(const RepetitionInput& input);
std::vector<Metric> zipf_metrics(const RepetitionInput& input);
std::vector<Metric> self_bleu_metrics(const RepetitionInput& input);

}  // namespace plumbline
