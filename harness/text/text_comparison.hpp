// The metrics of a text, over its prompts: their values with intervals, and how far they are from a
// baseline's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/system/json.hpp"
#include "harness/text/repetition.hpp"

namespace plumbline {

std::string kind_name(MetricKind kind);  // "mean over samples"

// Prompts in the order of first occurrence, each with its samples. A sample with an unknown prompt has a
// separate one.
struct Prompts {
  explicit Prompts(const Samples& samples);
  bool have_one_sample_each() const;

  std::vector<std::string> names;
  std::vector<std::vector<std::size_t>> samples;  // indices
};

// The shares of a text and of its baseline: in pairs, of the prompts that both have, or of all prompts of
// each.
struct SharesOfBoth {
  std::vector<Share> baseline, text;
  bool paired = false;
  bool one_sample_each = false;  // a prompt has one sample, so that hits can be counted
};

class Pairing {
 public:
  Pairing(const Samples& baseline, const Samples& text);

  bool paired() const { return !partners_.empty(); }
  SharesOfBoth shares(const Metric& baseline, const Metric& text) const;

 private:
  Prompts baseline_, text_;
  std::vector<std::size_t> partners_;  // prompt i of the baseline is prompt partners_[i] of the text
};

// {"value", "reason", "samples", "interval"} of a metric.
Json measured_value(const Metric& metric, const Prompts& prompts, std::uint32_t seed);
// {"value", "interval", ...} of `text` minus `baseline`; null where the two cannot be subtracted.
Json difference_of(const Metric& baseline, const Metric& text, const Pairing& pairing, double confidence,
                   std::uint32_t seed);

}  // namespace plumbline
