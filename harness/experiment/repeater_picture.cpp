// The pictures of the experiment: the loss of every run, and what each difference changes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/experiment/repeater_effects.hpp"
#include "harness/system/markup.hpp"
#include "harness/text/picture.hpp"

namespace plumbline {
namespace {

constexpr const char* kStyle = R"(<style>
text { font: 13px sans-serif; fill: #222 } path, line { fill: none } .back { fill: #fff } .axis { stroke: #888 } .known { stroke: #888; stroke-dasharray: 5 4 }
.right { stroke: #1f5fa8 } .inverted { stroke: #c2410c } .all { stroke: #222 } .curve { stroke-width: 1.2; opacity: .75 } .normal { stroke-dasharray: 3 3 }
.bar { stroke-width: 2 } circle { stroke: none } circle.right { fill: #1f5fa8 } circle.inverted { fill: #c2410c } circle.all { fill: #222 } .title { font-weight: 600 }
@media (prefers-color-scheme: dark) { .back { fill: #16181c } text { fill: #ddd } .right { stroke: #7db4f0 } .inverted { stroke: #ff9d66 } .all { stroke: #eee }
circle.right { fill: #7db4f0 } circle.inverted { fill: #ff9d66 } circle.all { fill: #eee } }
</style>)";

// The axes of the curves.
constexpr double kWidth = 900, kHeight = 460, kLeft = 56, kRight = 150, kTop = 34, kBottom = 48;

struct CurveAxes {
  double steps, most;  // the last step, and the highest loss that is shown

  double x(double step) const { return kLeft + step / steps * (kWidth - kLeft - kRight); }
  double y(double loss) const {
    return kTop + (most - std::clamp(loss, 0.0, most)) / most * (kHeight - kTop - kBottom);
  }
};

std::string curve_of(const Json& run, const CurveAxes& axes) {
  const auto& curve = run["curve"];
  std::string path;
  for (std::size_t i = 0; i < curve.size(); ++i)
    path +=
        fmt::format("{}{:.1f} {:.1f}", i == 0 ? "M" : "L",
                    axes.x((static_cast<double>(i) + 0.5) / static_cast<double>(curve.size()) * axes.steps),
                    axes.y(curve[i].get<double>()));
  return fmt::format("<path class=\"curve {}{}\" d=\"{}\"><title>{}: {:.2f} at the end</title></path>\n",
                     run["levels"]["mask"] == "before" ? "inverted" : "right",
                     run["levels"]["initialisation"] == "before" ? " normal" : "", path,
                     escaped(run["name"].text()), run["training_loss"].get<double>());
}

std::string ticks_of(const CurveAxes& axes) {
  std::string ticks;
  for (const double loss : round_numbers(0, axes.most))
    ticks += fmt::format("<text x=\"{:.0f}\" y=\"{:.1f}\" text-anchor=\"end\">{:g}</text>", kLeft - 8,
                         axes.y(loss) + 4, loss);
  for (const double step : round_numbers(0, axes.steps))
    ticks += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" text-anchor=\"middle\">{:.0f}</text>", axes.x(step),
                         kHeight - 26, step);
  return ticks;
}

// A line across the picture at a loss that is known.
std::string known_loss(const char* name, double loss, const CurveAxes& axes) {
  constexpr double right = kWidth - kRight;
  return fmt::format(
      "<path class=\"known\" d=\"M{:.0f} {:.1f}H{:.0f}\"/><text x=\"{:.0f}\" y=\"{:.1f}\">{} {:.2f}</text>",
      kLeft, axes.y(loss), right, right + 8, axes.y(loss) + 4, name, loss);
}

// What is shown of one response: the effect of each factor among some of the runs.
constexpr double kPanel = 270, kPanelsLeft = 240, kRow = 46, kPanelsTop = 66;
constexpr const char* kPanels[] = {"sampled-seq-rep-4", "greedy-seq-rep-4", "held-out-loss"};
struct Group {
  const char *among, *style;
};
constexpr Group kGroups[] = {{"all", "all"}, {"right mask", "right"}, {"inverted mask", "inverted"}};

std::string title_of(const Json& document, const char* response) {
  for (const auto& one : document["responses"])
    if (one["id"] == response) return one["title"].text();
  return "";
}

// How far the intervals of single factors reach from 0.
double largest_effect(const Json& document, const char* response) {
  double most = 0;
  for (const auto& effect : document["effects"])
    if (effect["response"] == response && effect["factors"].size() == 1)
      most = std::max({most, std::abs(effect["low"].get<double>()), std::abs(effect["high"].get<double>())});
  return std::max(most, 0.01);
}

struct Panel {
  const char* response;
  double middle, most;

  double x(double value) const { return middle + value / most * (kPanel / 2 - 26); }
};

std::string effect_mark(const Json& effect, const Json& factor, const Group& group, const Panel& panel,
                        double line) {
  const double low = effect["low"].get<double>(), high = effect["high"].get<double>(),
               value = effect["value"].get<double>();
  return fmt::format(
      "<line class=\"bar {3}\" x1=\"{0:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/><circle "
      "class=\"{3}\" cx=\"{4:.1f}\" cy=\"{2:.1f}\" r=\"4\"><title>{5}</title></circle>\n",
      panel.x(low), panel.x(high), line, group.style, panel.x(value),
      escaped(fmt::format("{}, {}: {} ({} to {})", factor["name"].get<std::string>(), group.among,
                          shown_effect(value), shown_effect(low), shown_effect(high))));
}

std::string panel_of(const Json& document, const Panel& panel, bool with_names, double height) {
  auto body = fmt::format(
      "<text class=\"title\" x=\"{:.0f}\" y=\"44\" text-anchor=\"middle\">{}</text><path class=\"known\" "
      "d=\"M{:.0f} {:.0f}V{:.0f}\"/>\n",
      panel.middle, escaped(title_of(document, panel.response)), panel.middle, kPanelsTop - 12, height - 46);
  for (const double tick : round_numbers(-panel.most, panel.most))
    body += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" text-anchor=\"middle\">{:g}</text>", panel.x(tick),
                        height - 26, std::abs(tick) < 1e-12 ? 0.0 : tick);
  double row = kPanelsTop;
  for (const auto& factor : document["factors"]) {
    if (with_names)
      body += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"end\">{}</text>", kPanelsLeft - 14,
                          row + 14, escaped(factor["name"].text()));
    double line = row;
    for (const auto& group : kGroups) {
      if (const auto* effect = effect_of(document, panel.response, group.among, factor["id"].text());
          effect != nullptr)
        body += effect_mark(*effect, factor, group, panel, line);
      line += 11;
    }
    row += kRow;
  }
  return body;
}

}  // namespace

std::string repeater_curves(const Json& document) {
  const double even = std::log(document["text"]["vocabulary"].get<double>());
  const CurveAxes axes{document["settings"]["steps"].get<double>(), even * 1.3};
  std::string curves;
  for (const auto& run : document["runs"]) curves += curve_of(run, axes);
  std::string known = known_loss("ln V =", even, axes);
  // Rows begin without anything to copy, so that a little more than the entropy rate is to be had of them.
  double floor = 0;
  for (const auto& run : document["runs"])
    floor += run.value("training_floor", 0.0) / static_cast<double>(document["runs"].size());
  if (floor > 0) known += known_loss("of the text itself:", floor, axes);
  constexpr double right = kWidth - kRight;
  return fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0:.0f} {1:.0f}" role="img" aria-labelledby="t d">
<title id="t">Training loss of every run</title>
<desc id="d">{2}</desc>
{3}
<rect class="back" width="{0:.0f}" height="{1:.0f}"/>
<path class="axis" d="M{4:.0f} {5:.0f}V{6:.0f}H{7:.0f}"/>
{8}
{9}{10}
<text x="{4:.0f}" y="20" class="title">training loss, nats a token</text><text x="{11:.0f}" y="{12:.0f}" text-anchor="middle">step</text>
<line class="right curve" x1="{13:.0f}" x2="{14:.0f}" y1="60" y2="60"/><text x="{15:.0f}" y="64">right mask</text>
<line class="inverted curve" x1="{13:.0f}" x2="{14:.0f}" y1="82" y2="82"/><text x="{15:.0f}" y="86">inverted mask</text>
<line class="all curve normal" x1="{13:.0f}" x2="{14:.0f}" y1="104" y2="104"/><text x="{15:.0f}" y="108">standard normal</text>
</svg>
)",
      kWidth, kHeight,
      escaped(fmt::format("One curve for each of {} runs. A curve below the entropy of the text belongs to a "
                          "model that saw the tokens it had to predict. {}",
                          document["runs"].size(), document["scale"].get<std::string>())),
      kStyle, kLeft, kTop, kHeight - kBottom, right, known, curves, ticks_of(axes), (kLeft + right) / 2,
      kHeight - 8, right + 8, right + 32, right + 38);
}

std::string repeater_effects(const Json& document) {
  const double width = kPanelsLeft + kPanel * static_cast<double>(std::size(kPanels)) + 20;
  const double height = kPanelsTop + kRow * static_cast<double>(document["factors"].size()) + 54;
  std::string body, description;
  double left = kPanelsLeft;
  for (const auto* response : kPanels) {
    const Panel panel{response, left + kPanel / 2, largest_effect(document, response)};
    body += panel_of(document, panel, left == kPanelsLeft, height);
    left += kPanel;
  }
  for (const auto& answer : document["answers"]) description += answer.get<std::string>() + " ";
  return fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0:.0f} {1:.0f}" role="img" aria-labelledby="t d">
<title id="t">What each difference changes</title>
<desc id="d">{2}</desc>
{3}
<rect class="back" width="{0:.0f}" height="{1:.0f}"/>
{4}
<text x="14" y="22">as before instead of as after, 95 % intervals:</text>
<circle class="all" cx="330" cy="18" r="4"/><text x="340" y="22">all runs</text>
<circle class="right" cx="414" cy="18" r="4"/><text x="424" y="22">right mask</text>
<circle class="inverted" cx="514" cy="18" r="4"/><text x="524" y="22">inverted mask</text>
</svg>
)",
      width, height, escaped(description), kStyle, body);
}

}  // namespace plumbline
