#include <fmt/format.h>

#include <algorithm>

#include "harness/system/markup.hpp"
#include "harness/text/text_report.hpp"

namespace plumbline {
namespace {

constexpr double kWidth = 900, kRow = 30, kNames = 190, kNumbers = 250, kTop = 62;

// A text or its baseline in one metric.
struct Side {
  const char* name;
  const Json& measured;
  double lower;  // how far below the row's middle it is drawn
};

std::string shown_with_interval(const Json& side) {
  if (side["value"].is_null()) return "not measurable: " + side["reason"].get<std::string>();
  const auto& interval = side["interval"];
  return shown_number(side["value"].get<double>()) +
         (interval.is_null() ? ""
                             : fmt::format(" ({} to {})", shown_number(interval["low"].get<double>()),
                                           shown_number(interval["high"].get<double>())));
}

std::string draw_side(const Side& side, const std::string& metric, double y, double most) {
  if (side.measured["value"].is_null()) return "";
  const auto x = [&](double value) { return kNames + value / most * (kWidth - kNames - kNumbers); };
  const auto& interval = side.measured["interval"];
  std::string marks = fmt::format("<g class=\"{}\"><title>{}, {}: {}</title>", side.name, escaped(metric),
                                  side.name, escaped(shown_with_interval(side.measured)));
  if (!interval.is_null())
    marks += fmt::format("<path d=\"M{0:.1f} {2:.1f}H{1:.1f}M{0:.1f} {3:.1f}v8M{1:.1f} {3:.1f}v8\"/>",
                         x(interval["low"].get<double>()), x(interval["high"].get<double>()), y, y - 4);
  return marks + fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/></g>\n",
                             x(side.measured["value"].get<double>()), y);
}

}  // namespace

std::string text_picture(const Json& document) {
  const bool compared = !document["baseline"].is_null();
  const auto& metrics = document["metrics"];
  const double height = kTop + kRow * static_cast<double>(metrics.size()) + 12, right = kWidth - kNumbers;
  std::string rows;
  double y = kTop + kRow / 2;
  for (const auto& metric : metrics) {
    std::vector<Side> sides{{"text", metric, compared ? -5.0 : 0.0}};
    if (compared) sides.push_back({"baseline", metric["baseline"], 5});
    double most = 1;  // most are shares
    for (const auto& side : sides) {
      if (!side.measured["value"].is_null()) most = std::max(most, side.measured["value"].get<double>());
      if (!side.measured["interval"].is_null())
        most = std::max(most, side.measured["interval"]["high"].get<double>());
    }
    const auto id = metric["id"].get<std::string>();
    rows += fmt::format("<text x=\"{:.0f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kNames - 12, y + 4,
                        escaped(id));
    rows += fmt::format("<path class=\"axis\" d=\"M{0:.0f} {2:.1f}H{1:.0f}m0 -4v8M{0:.0f} {3:.1f}v8\"/>",
                        kNames, right, y, y - 4);
    rows += fmt::format("<text x=\"{:.0f}\" y=\"{:.1f}\" class=\"dim\">{}</text>", right + 6, y + 4,
                        shown_number(most));
    rows += fmt::format("<text x=\"{:.0f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", kWidth - 12, y + 4,
                        metric["value"].is_null() ? "not measurable" : escaped(shown_with_interval(metric)));
    for (const auto& side : sides) rows += draw_side(side, id, y + side.lower, most);
    y += kRow;
  }
  const std::string key = fmt::format(
      "<g class=\"text\"><circle cx=\"{0:.0f}\" cy=\"44\" r=\"4\"/></g><text x=\"{1:.0f}\" "
      "y=\"48\">text</text>{2}",
      kNames, kNames + 10,
      compared ? fmt::format(
                     "<g class=\"baseline\"><circle cx=\"{:.0f}\" cy=\"44\" r=\"4\"/></g><text x=\"{:.0f}\" "
                     "y=\"48\">baseline</text>",
                     kNames + 70, kNames + 80)
               : "");
  return fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="t d">
<title id="t">Repetition, with 95 % intervals: {file}</title>
<desc id="d">{description}</desc>
<style>
text {{ font: 13px sans-serif; fill: #222 }} .dim {{ fill: #666 }} .title {{ font-weight: bold }} path {{ fill: none }} .back {{ fill: #fff }}
.axis {{ stroke: #bbb }} .text path, .text circle {{ stroke: #1f5fa8; stroke-width: 2 }} .text circle {{ fill: #1f5fa8 }}
.baseline path, .baseline circle {{ stroke: #a85a1f; stroke-width: 2 }} .baseline circle {{ fill: #fff }}
@media (prefers-color-scheme: dark) {{ .back, .baseline circle {{ fill: #16181c }} text {{ fill: #ddd }} .dim {{ fill: #aaa }} .axis {{ stroke: #555 }}
.text path, .text circle {{ stroke: #7db4f0 }} .text circle {{ fill: #7db4f0 }} .baseline path, .baseline circle {{ stroke: #f0b07d }} }}
</style>
<rect class="back" width="{width:.0f}" height="{height:.0f}"/>
<text x="12" y="22" class="title">{verdict}</text>
{key}<text x="{right:.0f}" y="48" text-anchor="end">value (95 % interval)</text>
{rows}</svg>
)",
      fmt::arg("width", kWidth), fmt::arg("height", height),
      fmt::arg("file", escaped(document["text"]["file"].text())),
      fmt::arg("description", escaped(text_summary(document))),
      fmt::arg("verdict", escaped(document["verdict"]["sentence"].text())), fmt::arg("key", key),
      fmt::arg("right", kWidth - 12), fmt::arg("rows", rows));
}

}  // namespace plumbline
