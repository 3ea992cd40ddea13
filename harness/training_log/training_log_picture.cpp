#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "harness/system/markup.hpp"
#include "harness/text/picture.hpp"
#include "harness/training_log/training_log.hpp"

namespace plumbline {
std::string log_picture(const TrainingLog& log, const Json& document) {
  constexpr double kWidth = 860, kHeight = 420, kLeft = 60, kRight = 20, kTop = 30, kBottom = 45;
  constexpr std::size_t kColumns = 800;
  const double nothing = document["nothing_known"].get<double>();
  double least = 0, most = nothing * 1.05;
  double first = log.curves.front().points.front().step, last = first + 1;
  for (const auto& curve : log.curves)
    for (const auto& point : curve.points) {
      first = std::min(first, point.step);
      last = std::max(last, point.step);
      if (!std::isfinite(point.loss)) continue;
      most = std::max(most, point.loss);
      least = std::min(least, point.loss);
    }
  const auto x = [&](double step) {
    return kLeft + (step - first) / (last - first) * (kWidth - kLeft - kRight);
  };
  const auto y = [&](double loss) {
    return kTop + (most - loss) / (most - least) * (kHeight - kTop - kBottom);
  };
  std::string path;
  for (const auto& curve : log.curves) {
    // Of each column the least and the largest: no spike is lost.
    std::map<std::size_t, std::pair<double, double>> columns;
    for (const auto& point : curve.points) {
      if (!std::isfinite(point.loss)) continue;
      const auto column = static_cast<std::size_t>((point.step - first) / (last - first) * (kColumns - 1));
      auto& [low, high] = columns.try_emplace(column, point.loss, point.loss).first->second;
      low = std::min(low, point.loss);
      high = std::max(high, point.loss);
    }
    const char* command = "M";
    for (const auto& [column, range] : columns) {
      const double at = kLeft + static_cast<double>(column) / (kColumns - 1) * (kWidth - kLeft - kRight);
      for (const double loss : {range.second, range.first}) {
        path += fmt::format("{}{:.1f} {:.1f}", command, at, y(loss));
        command = "L";
      }
    }
  }
  std::string marks, ticks;
  for (const auto& finding : document["findings"]) {
    if (finding["verdict"] != "fail") continue;
    for (const auto& point : finding["evidence"]) {
      const bool number = point["loss"].is_number();
      if (!number)
        marks += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>",
                             x(point["step"].get<double>()) - 9, kTop + 4, point["loss"].get<std::string>());
      marks += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"><title>{}: {} at step {:.0f}</title></circle>",
          x(point["step"].get<double>()), number ? y(point["loss"].get<double>()) : kTop,
          escaped(finding["id"].text()),
          number ? shown_loss(point["loss"].get<double>()) : point["loss"].get<std::string>(),
          point["step"].get<double>());
    }
  }
  for (const double loss : round_numbers(least, most))
    ticks += fmt::format("<text x=\"{:.0f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kLeft - 8,
                         y(loss) + 4, shown_loss(loss));
  for (const double step : round_numbers(first, last))
    ticks += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" text-anchor=\"middle\">{:.0f}</text>", x(step),
                         kHeight - 24, step);
  return fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="t d">
<title id="t">Loss over steps: {file}</title>
<desc id="d">{said}</desc>
<style>
text {{ font: 13px sans-serif; fill: #222 }} path, line {{ fill: none }} .back {{ fill: #fff }} circle {{ fill: none; stroke: #c22; stroke-width: 2 }}
.curve {{ stroke: #1f5fa8; stroke-width: 1.5 }} .axis {{ stroke: #888 }} .start {{ stroke: #888; stroke-dasharray: 5 4 }}
@media (prefers-color-scheme: dark) {{ .back {{ fill: #16181c }} text {{ fill: #ddd }} .curve {{ stroke: #7db4f0 }} circle {{ stroke: #ff7a6b }} }}
</style>
<rect class="back" width="{width:.0f}" height="{height:.0f}"/>
<path class="axis" d="M{left:.0f} {top:.0f}V{bottom:.0f}H{right:.0f}"/>
<path class="start" d="M{left:.0f} {start:.1f}H{right:.0f}"/><text x="{middle:.0f}" y="{label:.1f}" text-anchor="middle">nothing known: {nothing}</text>
<path class="curve" d="{curve}"/>
{marks}
{ticks}
<text x="{middle:.0f}" y="{foot:.0f}" text-anchor="middle">step</text><text x="{left:.0f}" y="18">loss, nats a token</text>
</svg>
)",
      fmt::arg("width", kWidth), fmt::arg("height", kHeight),
      fmt::arg("file", escaped(document["file"].text())), fmt::arg("said", escaped(log_summary(document))),
      fmt::arg("left", kLeft), fmt::arg("top", kTop), fmt::arg("right", kWidth - kRight),
      fmt::arg("bottom", kHeight - kBottom), fmt::arg("start", y(nothing)), fmt::arg("label", y(nothing) - 6),
      fmt::arg("middle", kWidth / 2), fmt::arg("foot", kHeight - 6), fmt::arg("nothing", shown_loss(nothing)),
      fmt::arg("curve", path), fmt::arg("marks", marks), fmt::arg("ticks", ticks));
}

}  // namespace plumbline
