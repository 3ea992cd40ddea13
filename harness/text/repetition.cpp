#include "harness/text/repetition.hpp"

#include <fmt/format.h>

#include <functional>
#include <future>
#include <stdexcept>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/text/repetition_metrics.hpp"

namespace plumbline {

Metric new_metric(std::string id, std::string title, std::string source, std::string variant, MetricKind kind,
                  int direction) {
  Metric metric;
  metric.id = std::move(id);
  metric.title = std::move(title);
  metric.source = std::move(source);
  metric.variant = std::move(variant);
  metric.kind = kind;
  metric.direction = direction;
  return metric;
}

void set_value_from_shares(Metric& metric, const std::string& reason) {
  const auto shares = measurable(metric.shares);
  metric.measured = shares.size();
  if (shares.empty())
    metric.reason = reason;
  else
    metric.value = estimate(shares);
}

Repetition measure_repetition(const Samples& samples, const std::vector<Token>& sentence_ends) {
  if (!sentence_ends.empty() && samples.unit != "token ids")
    throw InputError(fmt::format("--sentence-ends: are token ids, and {} is measured by {}; leave it out",
                                 printable(samples.file), samples.unit));
  RepetitionInput input{samples, {}, {sentence_ends.begin(), sentence_ends.end()}};
  for (const auto& sample : samples.all) input.sequences.emplace_back(sample.tokens);

  Repetition result;
  using Measure = std::function<std::vector<Metric>(const RepetitionInput&)>;
  const Measure measures[] = {
      ngram_metrics,
      window_metrics,
      [&](const RepetitionInput& same_input) { return loop_metrics(same_input, result.loops); },
      longest_repeat_metrics,
      sentence_metrics,
      ended_metrics,
      compression_metrics,
      zipf_metrics,
      self_bleu_metrics};
  // They do not depend on each other and take about the same time.
  std::vector<std::future<std::vector<Metric>>> running;
  for (const auto& measure : measures)
    running.push_back(std::async(std::launch::async, std::cref(measure), std::cref(input)));
  for (auto& one : running)
    for (auto& metric : one.get()) result.metrics.push_back(std::move(metric));
  return result;
}

const Metric& find_metric(const Repetition& repetition, const std::string& id) {
  for (const auto& metric : repetition.metrics)
    if (metric.id == id) return metric;
  throw std::logic_error(fmt::format("there is no metric {}", id));
}

}  // namespace plumbline
