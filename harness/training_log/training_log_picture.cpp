#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "harness/system/markup.hpp"
#include "harness/text/picture.hpp"
#include "harness/training_log/training_log.hpp"

namespace plumbline {
namespace {

constexpr double kWidth = 860, kHeight = 420, kLeft = 60, kRight = 20, kTop = 30, kBottom = 45;
constexpr std::size_t kColumns = 800;

// What is drawn: the steps from left to right, the losses from top to bottom.
struct Axes {
  double first_step, last_step, most, least;

  double part(double step) const { return (step - first_step) / (last_step - first_step); }
  double x(double step) const { return kLeft + part(step) * (kWidth - kLeft - kRight); }
  double y(double loss) const { return kTop + (most - loss) / (most - least) * (kHeight - kTop - kBottom); }
};

Axes axes_of(const TrainingLog& log, double uninformed_loss) {
  const double first = log.curves.front().points.front().step;
  Axes axes{first, first + 1, uninformed_loss * 1.05, 0};
  for (const auto& curve : log.curves)
    for (const auto& point : curve.points) {
      axes.first_step = std::min(axes.first_step, point.step);
      axes.last_step = std::max(axes.last_step, point.step);
      if (!std::isfinite(point.loss)) continue;
      axes.most = std::max(axes.most, point.loss);
      axes.least = std::min(axes.least, point.loss);
    }
  return axes;
}

std::string path_of(const LogCurve& curve, const Axes& axes) {
  // Draws the least and the largest loss of each column of the picture, so that no spike is lost.
  std::map<std::size_t, std::pair<double, double>> columns;
  for (const auto& point : curve.points) {
    if (!std::isfinite(point.loss)) continue;
    const auto column = static_cast<std::size_t>(axes.part(point.step) * (kColumns - 1));
    auto& [low, high] = columns.try_emplace(column, point.loss, point.loss).first->second;
    low = std::min(low, point.loss);
    high = std::max(high, point.loss);
  }
  std::string path;
  const char* command = "M";
  for (const auto& [column, range] : columns) {
    const double at = kLeft + static_cast<double>(column) / (kColumns - 1) * (kWidth - kLeft - kRight);
    for (const double loss : {range.second, range.first}) {
      path += fmt::format("{}{:.1f} {:.1f}", command, at, axes.y(loss));
      command = "L";
    }
  }
  return path;
}

// A circle around a point that a finding fails for.
std::string mark_of(const Json& point, const std::string& finding, const Axes& axes) {
  const bool is_number = point["loss"].is_number();
  const double step = point["step"].get<double>();
  const auto shown = is_number ? shown_loss(point["loss"].get<double>()) : point["loss"].get<std::string>();
  std::string mark;
  if (!is_number)
    mark = fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", axes.x(step) - 9,
                       kTop + 4, shown);
  return mark +
         fmt::format(
             "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"><title>{}: {} at step {:.0f}</title></circle>",
             axes.x(step), is_number ? axes.y(point["loss"].get<double>()) : kTop, escaped(finding), shown,
             step);
}

std::string marks_of(const Json& document, const Axes& axes) {
  std::string marks;
  for (const auto& finding : document["findings"]) {
    if (finding["verdict"] != "fail") continue;
    for (const auto& point : finding["evidence"]) marks += mark_of(point, finding["id"].text(), axes);
  }
  return marks;
}

std::string ticks_of(const Axes& axes) {
  std::string ticks;
  for (const double loss : round_numbers(axes.least, axes.most))
    ticks += fmt::format("<text x=\"{:.0f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kLeft - 8,
                         axes.y(loss) + 4, shown_loss(loss));
  for (const double step : round_numbers(axes.first_step, axes.last_step))
    ticks += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" text-anchor=\"middle\">{:.0f}</text>", axes.x(step),
                         kHeight - 24, step);
  return ticks;
}

}  // namespace

std::string log_picture(const TrainingLog& log, const Json& document) {
  const double nothing = document["nothing_known"].get<double>();
  const auto axes = axes_of(log, nothing);
  std::string path;
  for (const auto& curve : log.curves) path += path_of(curve, axes);
  return fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="t d">
<title id="t">Loss over steps: {file}</title>
<desc id="d">{description}</desc>
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
      fmt::arg("file", escaped(document["file"].text())),
      fmt::arg("description", escaped(log_summary(document))), fmt::arg("left", kLeft), fmt::arg("top", kTop),
      fmt::arg("right", kWidth - kRight), fmt::arg("bottom", kHeight - kBottom),
      fmt::arg("start", axes.y(nothing)), fmt::arg("label", axes.y(nothing) - 6),
      fmt::arg("middle", kWidth / 2), fmt::arg("foot", kHeight - 6), fmt::arg("nothing", shown_loss(nothing)),
      fmt::arg("curve", path), fmt::arg("marks", marks_of(document, axes)),
      fmt::arg("ticks", ticks_of(axes)));
}

}  // namespace plumbline
