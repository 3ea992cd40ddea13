// The document on texts, and its renderings.
#pragma once

#include <optional>
#include <string>
#include "harness/system/json.hpp"

#include "harness/text/repetition.hpp"

namespace plumbline {

// Thresholds of the deciding metrics: fixtures/text.json.
struct TextThresholds {
  double confidence = 0;  // of the whole verdict; each deciding metric gets its share of the error
  struct Deciding {
    std::string metric;
    double margin = 0;  // a difference that matters
  };
  std::vector<Deciding> deciding;
};
TextThresholds read_text_thresholds(const std::filesystem::path& file);

struct MeasuredText {
  Samples samples;
  Repetition repetition;
};

// Exit statuses, as for verify.
constexpr int kNotMoreRepetitive = 0, kMoreRepetitive = 1, kTextNotAssessed = 3;

// The document (text.schema.json): every metric with its interval, and beside a baseline the differences and
// the verdict. Errors: InputError where the two cannot be compared: token ids against words, greedy against
// sampled text.
Json text_document(const MeasuredText& text, const MeasuredText* baseline, const TextThresholds& thresholds,
                   std::uint32_t seed);

// A JSON line for each sample: its own value of every metric that has one (null: too short), and its loops.
std::string text_of_each_sample(const MeasuredText& text);

// "0.1931": four digits.
std::string shown_number(double value);

int text_status(const Json& document);

// The document as a terminal shows it.
std::string text_summary(const Json& document);

// Every metric with its interval, beside the baseline's: a picture (SVG) that stands alone.
std::string text_picture(const Json& document);

}  // namespace plumbline
