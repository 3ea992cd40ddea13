#include "harness/text/text_verdict.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/text/text_comparison.hpp"

namespace plumbline {
namespace {

const Json& deciding_metric(const Json& document, const std::string& id) {
  for (const auto& metric : document["metrics"])
    if (metric["id"] == id && metric["kind"] != kind_name(MetricKind::ratio) &&
        metric["kind"] != kind_name(MetricKind::corpus))
      return metric;
  throw InputError(
      fmt::format("text.json: there is no mean or rate '{}' over samples to decide by", printable(id)));
}

std::string shown_prompts(const Json& counts) {
  return counts[0] == counts[1] ? counts[0].dump()
                                : fmt::format("{} and {}", counts[0].dump(), counts[1].dump());
}

// Why there is no difference to judge.
std::string reason_for_no_difference(const Json& metric) {
  const auto& side = metric["value"].is_null() ? metric : metric["baseline"];
  return side["value"].is_null()
             ? fmt::format("not measurable: {}", side["reason"].get<std::string>())
             : "no prompt is measurable in both, or the two are measured in different ways";
}

// What one deciding metric says: more, less, no more, or not assessed and why.
Json judge_metric(const Json& metric, double margin, double alpha) {
  const auto& difference = metric["difference"];
  const auto finding = [&](const char* word, const std::string& sentence) {
    return Json{{"metric", metric["id"]}, {"margin", margin}, {"finding", word}, {"sentence", sentence}};
  };
  const std::string title = metric["title"].text();
  if (difference.is_null())
    return finding("not assessed", fmt::format("{}: {}", title, reason_for_no_difference(metric)));
  const auto prompts = shown_prompts(difference["prompts"]);
  const auto& interval = difference["interval"];
  if (interval.is_null())
    return finding("not assessed", fmt::format("{}: too few prompts ({}), at least {} are needed", title,
                                               prompts, kLeastPrompts));
  const double low = interval["low"].get<double>(), high = interval["high"].get<double>(),
               value = difference["value"].get<double>();
  const auto both = fmt::format("{}: {} against {}", title, shown_number(difference["of"][0].get<double>()),
                                shown_number(difference["of"][1].get<double>()));
  const auto figures =
      fmt::format("{}, a difference of {} ({} to {}; p {})", both, shown_number(value), shown_number(low),
                  shown_number(high), shown_number(difference["p"].get<double>()));
  const bool significant = difference["p"].get<double>() < alpha;
  // A difference below the margin does not count, however significant it is.
  if (high < margin) return finding(significant && value < 0 ? "less" : "no more", figures);
  if (significant && value > 0) return finding("more", figures);
  const auto from = difference["shows_from"];
  return finding("not assessed",
                 fmt::format("{}; {} prompts cannot rule out a difference of up to {}, and {} would matter{}",
                             both, prompts, shown_number(high), shown_number(margin),
                             from.is_null() ? ""
                                            : fmt::format("; they can show a difference from {} on",
                                                          shown_number(from.get<double>()))));
}

}  // namespace

void require_comparable(const Samples& baseline, const Samples& text) {
  for (const auto* samples : {&baseline, &text})
    if (samples->strategy == "mixed")
      throw InputError(fmt::format(
          "{}: holds greedy and sampled text: the two differ by an order of magnitude in how they "
          "repeat; give each on its own",
          printable(samples->file)));
  if (baseline.unit != text.unit)
    throw InputError(
        fmt::format("{} has {}, {} has {}: expected the same unit in both; choose one with --unit",
                    printable(baseline.file), baseline.unit, printable(text.file), text.unit));
  if (baseline.strategy != text.strategy && !baseline.strategy.empty() && !text.strategy.empty())
    throw InputError(fmt::format(
        "{} is {} text, {} is {}: the two differ by an order of magnitude in how they repeat; compare "
        "like with like",
        printable(baseline.file), baseline.strategy, printable(text.file), text.strategy));
}

Json text_verdict(const Json& document, const TextThresholds& thresholds) {
  const auto& metrics = document["metrics"];
  if (std::all_of(metrics.begin(), metrics.end(),
                  [](const Json& metric) { return metric["value"].is_null() || metric["id"] == "ended"; }))
    return {{"finding", "not assessed"},
            {"sentence", "not assessed: nothing in the file could be measured"},
            {"deciding", Json::array()}};
  if (document["baseline"].is_null())
    return {{"finding", "measured"},
            {"sentence", "measured, and not judged: there is no baseline to compare it with"},
            {"deciding", Json::array()}};
  const double alpha = (1 - thresholds.confidence) / static_cast<double>(thresholds.deciding.size());
  Json deciding = Json::array();
  int more = 0, not_assessed = 0, less = 0;
  for (const auto& [metric, margin] : thresholds.deciding) {
    deciding.push_back(judge_metric(deciding_metric(document, metric), margin, alpha));
    const auto& finding = deciding.back()["finding"];
    more += finding == "more" ? 1 : 0;
    not_assessed += finding == "not assessed" ? 1 : 0;
    less += finding == "less" ? 1 : 0;
  }
  const auto verdict = [&](const char* finding, const std::string& sentence) {
    return Json{{"finding", finding}, {"sentence", sentence}, {"deciding", deciding}};
  };
  const auto confidence = fmt::format("at {:.0f} % confidence", 100 * thresholds.confidence);
  if (more > 0)
    return verdict("more repetitive", fmt::format("more repetitive than the baseline, {}", confidence));
  if (not_assessed > 0)
    return verdict("not assessed", "not assessed: there are too few prompts, or no measure decides");
  if (less > 0)
    return verdict("less repetitive", fmt::format("less repetitive than the baseline, {}", confidence));
  return verdict(
      "not more repetitive",
      fmt::format("not more repetitive than the baseline by an amount that matters, {}", confidence));
}

}  // namespace plumbline
