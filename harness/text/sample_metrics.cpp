// Whether a sample repeats its sentences, and whether it came to an end.
#include <fmt/format.h>

#include <algorithm>

#include "harness/text/repetition_metrics.hpp"

namespace plumbline {
namespace {

struct SentenceCount {
  std::size_t all = 0, distinct = 0;
};

SentenceCount count_sentences_of_ids(const std::vector<Token>& tokens, const std::set<Token>& sentence_ends) {
  std::set<std::vector<Token>> distinct;
  std::size_t all = 0;
  std::vector<Token> sentence;
  const auto end_sentence = [&] {
    if (!sentence.empty()) distinct.insert(sentence), ++all;
    sentence.clear();
  };
  for (const auto token : tokens) sentence_ends.contains(token) ? end_sentence() : sentence.push_back(token);
  end_sentence();
  return {all, distinct.size()};
}

SentenceCount count_sentences_of_text(std::string_view text) {
  const auto sentences = sentences_of(text);
  return {sentences.size(), std::set<std::string_view>(sentences.begin(), sentences.end()).size()};
}

}  // namespace

std::vector<Metric> sentence_metrics(const RepetitionInput& input) {
  const auto& samples = input.samples.all;
  const bool by_ids = !input.sentence_ends.empty();
  auto metric = new_metric(
      "sentence-repetition", "sentences that were said before in the same sample",
      "Xu et al. 2022, Learning to Break the Loop (DITTO), section 4.1",
      "1 - distinct sentences / sentences of each sample, then the mean; sentences end with . ! ? their "
      "full-width forms, an ellipsis or a new line",
      MetricKind::mean, 1);
  if (by_ids) metric.variant += "; of token ids, with the tokens that were named";
  for (const auto& sample : samples) {
    const auto count = by_ids ? count_sentences_of_ids(sample.tokens, input.sentence_ends)
                              : count_sentences_of_text(sample.text);
    metric.shares.push_back(
        count.all < 2 ? Share{}
                      : Share{1 - static_cast<double>(count.distinct) / static_cast<double>(count.all), 1});
  }
  const bool has_text =
      std::any_of(samples.begin(), samples.end(), [](const Sample& sample) { return !sample.text.empty(); });
  set_value_from_shares(metric, has_text || by_ids
                                    ? "no sample has two sentences"
                                    : "there is no text, and no token ids that end a sentence were named");
  return {std::move(metric)};
}

std::vector<Metric> ended_metrics(const RepetitionInput& input) {
  auto metric = new_metric("ended", "samples that ended of themselves", "Plumbline",
                           "by the end token, before the length limit", MetricKind::rate, -1);
  for (const auto& sample : input.samples.all)
    metric.shares.push_back(sample.ended ? Share{*sample.ended ? 1.0 : 0.0, 1} : Share{});
  set_value_from_shares(metric,
                        "the file does not say of any sample whether it ended ('ended' or 'finish_reason')");
  return {std::move(metric)};
}

}  // namespace plumbline
