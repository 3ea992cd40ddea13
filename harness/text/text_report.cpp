#include "harness/text/text_report.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"
#include "harness/text/text_comparison.hpp"
#include "harness/text/text_verdict.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostLoopsListed = 100;

Json describe(const MeasuredText& text) {
  const auto& samples = text.samples;
  return {{"file", printable(samples.file)},
          {"sha256", samples.sha256},
          {"samples", samples.all.size()},
          {"prompts", Prompts(samples).samples.size()},
          {"tokens", samples.tokens()},
          {"unit", samples.unit},
          {"strategy", samples.strategy.empty() ? "unknown" : samples.strategy},
          {"notes", samples.notes}};
}

Json describe(const Metric& metric) {
  return {{"id", metric.id},
          {"title", metric.title},
          {"source", metric.source},
          {"variant", metric.variant},
          {"kind", kind_name(metric.kind)},
          {"more_repetitive_when", metric.direction > 0   ? "higher"
                                   : metric.direction < 0 ? "lower"
                                                          : "neither"}};
}

// The longest loop of each sample that has a loop, the longest first.
Json longest_loops(const MeasuredText& text) {
  std::vector<std::size_t> looping;
  for (std::size_t i = 0; i < text.repetition.loops.size(); ++i)
    if (text.repetition.loops[i].longest) looping.push_back(i);
  std::stable_sort(looping.begin(), looping.end(), [&](std::size_t a, std::size_t b) {
    return text.repetition.loops[a].longest->tokens() > text.repetition.loops[b].longest->tokens();
  });
  Json listed = Json::array();
  for (const auto i : looping) {
    if (listed.size() == kMostLoopsListed) break;
    const auto& sample = text.samples.all[i];
    const auto& loop = *text.repetition.loops[i].longest;
    const std::vector<Token> block(
        sample.tokens.begin() + static_cast<std::ptrdiff_t>(loop.begin),
        sample.tokens.begin() +
            static_cast<std::ptrdiff_t>(loop.begin + std::min<std::size_t>(loop.period, 16)));
    listed.push_back({{"sample", i + 1},
                      {"line", sample.line},
                      {"period", loop.period},
                      {"begin", loop.begin},
                      {"end", loop.end},
                      {"of", sample.tokens.size()},
                      {"to_the_end", loop.end == sample.tokens.size()},
                      {"block", block}});
  }
  return {{"samples", looping.size()}, {"listed", listed}};
}

std::vector<std::string> notes_of_comparison(const Samples& text, const Samples& baseline,
                                             const Pairing& pairing) {
  std::vector<std::string> notes;
  if (!pairing.paired())
    notes.emplace_back(
        "its prompts are not those of the baseline: the two are compared as independent, not in pairs");
  if (!text.settings.empty() && text.settings != baseline.settings)
    notes.push_back(fmt::format("it was sampled with other settings than the baseline: {} against {}",
                                printable(text.settings, 300), printable(baseline.settings, 300)));
  return notes;
}

Json to_json(const std::optional<Loop>& loop) {
  return loop ? Json{{"period", loop->period}, {"begin", loop->begin}, {"end", loop->end}} : Json(nullptr);
}

}  // namespace

TextThresholds read_text_thresholds(const std::filesystem::path& file) {
  const auto where = file.string();
  const auto parsed = parse_json(read_text(file, 1 << 16), where);
  TextThresholds thresholds;
  try {
    thresholds.confidence = parsed.at("confidence").get<double>();
    for (const auto& entry : parsed.at("deciding"))
      thresholds.deciding.push_back(
          {entry.at("metric").get<std::string>(), entry.at("margin").get<double>()});
  } catch (const JsonError&) {
    throw InputError(
        fmt::format("{}: expected a confidence and deciding metrics, each with its margin", where));
  }
  if (!(thresholds.confidence > 0.5 && thresholds.confidence < 1) || thresholds.deciding.empty())
    throw InputError(
        fmt::format("{}: expected a confidence between 0.5 and 1, and a metric that decides", where));
  return thresholds;
}

Json text_document(const MeasuredText& text, const MeasuredText* baseline, const TextThresholds& thresholds,
                   std::uint32_t seed) {
  if (baseline != nullptr) require_comparable(baseline->samples, text.samples);
  Json document = {{"document", "plumbline text"},
                   {"version", 1},
                   {"seed", seed},
                   {"text", describe(text)},
                   {"baseline", baseline == nullptr ? Json(nullptr) : describe(*baseline)},
                   {"metrics", Json::array()},
                   {"loops", longest_loops(text)}};
  const Prompts prompts(text.samples);
  std::optional<Pairing> pairing;
  std::optional<Prompts> prompts_of_baseline;
  if (baseline != nullptr) {
    pairing.emplace(baseline->samples, text.samples);
    prompts_of_baseline.emplace(baseline->samples);
    for (const auto& note : notes_of_comparison(text.samples, baseline->samples, *pairing))
      document["text"]["notes"].push_back(note);
  }
  const double confidence = 1 - (1 - thresholds.confidence) /
                                    static_cast<double>(std::max<std::size_t>(thresholds.deciding.size(), 1));
  for (const auto& metric : text.repetition.metrics) {
    auto out = describe(metric);
    out.update(measured_value(metric, prompts, seed));
    if (baseline != nullptr) {
      const auto& baseline_metric = find_metric(baseline->repetition, metric.id);
      out["baseline"] = measured_value(baseline_metric, *prompts_of_baseline, seed);
      out["difference"] = difference_of(baseline_metric, metric, *pairing, confidence, seed);
    }
    document["metrics"].push_back(std::move(out));
  }
  document["verdict"] = text_verdict(document, thresholds);
  return document;
}

std::string text_of_each_sample(const MeasuredText& text) {
  std::string lines;
  for (std::size_t i = 0; i < text.samples.all.size(); ++i) {
    const auto& sample = text.samples.all[i];
    Json out = {{"sample", i + 1},
                {"line", sample.line},
                {"tokens", sample.tokens.size()},
                {"longest_loop", to_json(text.repetition.loops[i].longest)},
                {"last_loop", to_json(text.repetition.loops[i].last)},
                {"values", Json::object()}};
    for (const auto& metric : text.repetition.metrics) {
      if (metric.shares.empty()) continue;
      const auto& share = metric.shares[i];
      out["values"][metric.id] =
          share.denominator > 0 ? Json(share.numerator / share.denominator) : Json(nullptr);
    }
    lines += out.dump() + "\n";
  }
  return lines;
}

int text_status(const Json& document) {
  const auto& finding = document.at("verdict").at("finding");
  return finding == "more repetitive" ? kMoreRepetitive
         : finding == "not assessed"  ? kTextNotAssessed
                                      : kNotMoreRepetitive;
}

}  // namespace plumbline
