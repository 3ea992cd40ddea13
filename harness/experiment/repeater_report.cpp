// What a reader sees of the experiment: the terminal's lines, a report in Markdown, two pictures.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/experiment/repeater.hpp"
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

std::string shown(double value) {
  return fmt::format("{:+.2f}", std::abs(value) < 0.005 ? 0.0 : value);
}

const Json* effect_of(const Json& document, const std::string& response, const std::string& among,
                      const std::string& factor) {
  for (const auto& effect : document["effects"])
    if (effect["response"] == response && effect["among"] == among &&
        effect["factors"] == Json::array({factor}))
      return &effect;
  return nullptr;
}

std::string value_with_interval(const Json& metric) {
  if (metric["value"].is_null()) return "not measurable";
  if (!metric.contains("low")) return fmt::format("{:.2f}", metric["value"].get<double>());
  return fmt::format("{:.2f} ({:.2f} to {:.2f})", metric["value"].get<double>(), metric["low"].get<double>(),
                     metric["high"].get<double>());
}

std::string table_of_effects(const Json& document, const std::string& among) {
  std::string table = "| as before instead of as after |";
  for (const auto& response : document["responses"])
    table += fmt::format(" {} |", response["title"].get<std::string>());
  table += "\n| --- |";
  for (std::size_t i = 0; i < document["responses"].size(); ++i) table += " --- |";
  table += "\n";
  for (const auto& factor : document["factors"]) {
    std::string row;
    for (const auto& response : document["responses"])
      if (const auto* effect = effect_of(document, response["id"].text(), among, factor["id"].text()))
        row += fmt::format(" {} ({} to {}) |", shown((*effect)["value"].get<double>()),
                           shown((*effect)["low"].get<double>()), shown((*effect)["high"].get<double>()));
    if (!row.empty()) table += fmt::format("| {} |{}\n", factor["name"].get<std::string>(), row);
  }
  return table;
}

}  // namespace

std::string repeater_summary(const Json& document) {
  std::string text = "\n";
  for (const auto& answer : document["answers"]) text += fmt::format("{}\n", answer.get<std::string>());
  text += "\n";
  for (const auto& claim : document["claims"])
    text += fmt::format(
        "{} {}: {}\n   {}\n", claim["id"].get<std::string>(), claim["claim"].get<std::string>(),
        claim["verdict"] == "open" ? "neither confirmed nor refuted" : claim["verdict"].get<std::string>(),
        claim["figure"].get<std::string>());
  return text + fmt::format("\nAll of it {}; small-scale evidence is no proof for larger models.\n",
                            document["scale"].get<std::string>());
}

std::string repeater_report(const Json& document) {
  std::string text = "# Which difference makes the model repeat itself?\n\n";
  for (const auto& answer : document["answers"]) text += fmt::format("- {}\n", answer.get<std::string>());
  text += fmt::format(
      "\nAll of this was {}. It is evidence at that scale and no proof for larger models. The text: {}.\n\n"
      "![loss curves](loss.svg)\n\n![effects](effects.svg)\n\n## Claims\n\n| claim | verdict | figure |\n| "
      "--- | --- | --- |\n",
      document["scale"].get<std::string>(), document["text"]["sentence"].get<std::string>());
  for (const auto& claim : document["claims"])
    text += fmt::format("| {}: {} | {} | {} |\n", claim["id"].get<std::string>(),
                        claim["claim"].get<std::string>(), claim["verdict"].get<std::string>(),
                        claim["figure"].get<std::string>());
  text += "\n## What was varied\n\n| | as before | as after |\n| --- | --- | --- |\n";
  for (const auto& factor : document["factors"])
    text += fmt::format("| {} | {} | {} |\n", factor["name"].get<std::string>(),
                        factor["before"].get<std::string>(), factor["after"].get<std::string>());
  text +=
      "\nHalf of the 32 combinations, those with an odd number of factors as before, each with every seed: a "
      "2^(5-1) design of resolution V. The inverted mask is one of training alone; text is written with the "
      "right one, through the cache. Every run has as many tokens, of its own, from the same "
      "source, and the same schedule. Intervals of effects come from runs that differ in their seed alone, "
      "those of "
      "a single run from its prompts.\n\n"
      "## Effects, with 95 % intervals\n\nIn all runs:\n\n" +
      table_of_effects(document, "all") + "\nIn runs with the right mask:\n\n" +
      table_of_effects(document, "right mask") + "\nIn runs with the inverted mask:\n\n" +
      table_of_effects(document, "inverted mask");
  text +=
      "\n## What the text does of itself\n\n| | looping | seq-rep-4 | distinct-1 |\n| --- | --- | --- | --- "
      "|\n";
  for (const auto& [strategy, metrics] : document["own_text"].items())
    text += fmt::format("| {} | {} | {} | {} |\n",
                        strategy == "greedy" ? "always its likeliest token" : "its next tokens",
                        value_with_interval(metrics["looping"]), value_with_interval(metrics["seq-rep-4"]),
                        value_with_interval(metrics["distinct-1"]));
  text +=
      "\n## Every run\n\nA run's name says of layers, key/value heads, mask, initialisation and dropout, in "
      "this "
      "order, whether each is as before (B) or after (A), and the seed.\n\n"
      "| run | parameters | training loss | held-out loss | looping, greedy | seq-rep-4, greedy | seq-rep-4, "
      "sampled | gradient norm |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const auto& run : document["runs"])
    text += fmt::format("| {} | {} | {:.2f} | {:.2f} | {} | {} | {} | {:.2f} |\n",
                        run["name"].get<std::string>(), run["parameters"].get<std::int64_t>(),
                        run["training_loss"].get<double>(), run["held_out_loss"].get<double>(),
                        value_with_interval(run["writes"]["greedy"]["looping"]),
                        value_with_interval(run["writes"]["greedy"]["seq-rep-4"]),
                        value_with_interval(run["writes"]["sampled"]["seq-rep-4"]),
                        run["gradient_norm"]["median"].get<double>());
  return text;
}

std::string repeater_curves(const Json& document) {
  constexpr double kWidth = 900, kHeight = 460, kLeft = 56, kRight = 150, kTop = 34, kBottom = 48;
  const double even = std::log(document["text"]["vocabulary"].get<double>());
  const double steps = document["settings"]["steps"].get<double>(), most = even * 1.3;
  const auto x = [&](double step) { return kLeft + step / steps * (kWidth - kLeft - kRight); };
  const auto y = [&](double loss) {
    return kTop + (most - std::clamp(loss, 0.0, most)) / most * (kHeight - kTop - kBottom);
  };
  std::string curves, ticks;
  for (const auto& run : document["runs"]) {
    const auto& curve = run["curve"];
    std::string path;
    for (std::size_t i = 0; i < curve.size(); ++i)
      path += fmt::format("{}{:.1f} {:.1f}", i == 0 ? "M" : "L",
                          x((static_cast<double>(i) + 0.5) / static_cast<double>(curve.size()) * steps),
                          y(curve[i].get<double>()));
    curves += fmt::format("<path class=\"curve {}{}\" d=\"{}\"><title>{}: {:.2f} at the end</title></path>\n",
                          run["levels"]["mask"] == "before" ? "inverted" : "right",
                          run["levels"]["initialisation"] == "before" ? " normal" : "", path,
                          escaped(run["name"].text()), run["training_loss"].get<double>());
  }
  for (const double loss : round_numbers(0, most))
    ticks += fmt::format("<text x=\"{:.0f}\" y=\"{:.1f}\" text-anchor=\"end\">{:g}</text>", kLeft - 8,
                         y(loss) + 4, loss);
  for (const double step : round_numbers(0, steps))
    ticks += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" text-anchor=\"middle\">{:.0f}</text>", x(step),
                         kHeight - 26, step);
  const double right = kWidth - kRight;
  std::string known = fmt::format(
      "<path class=\"known\" d=\"M{:.0f} {:.1f}H{:.0f}\"/><text x=\"{:.0f}\" y=\"{:.1f}\">ln V = "
      "{:.2f}</text>",
      kLeft, y(even), right, right + 8, y(even) + 4, even);
  // Rows begin without anything to copy, so that a little more than the entropy rate is to be had of them.
  double floor = 0;
  for (const auto& run : document["runs"])
    floor += run.value("training_floor", 0.0) / static_cast<double>(document["runs"].size());
  if (floor > 0)
    known += fmt::format(
        "<path class=\"known\" d=\"M{:.0f} {:.1f}H{:.0f}\"/><text x=\"{:.0f}\" y=\"{:.1f}\">of the text "
        "itself: {:.2f}</text>",
        kLeft, y(floor), right, right + 8, y(floor) + 4, floor);
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
      escaped(fmt::format(
          "One curve for each of {} runs. What lies below the text's own uncertainty has seen what it "
          "was to predict. {}",
          document["runs"].size(), document["scale"].get<std::string>())),
      kStyle, kLeft, kTop, kHeight - kBottom, right, known, curves, ticks, (kLeft + right) / 2, kHeight - 8,
      right + 8, right + 32, right + 38);
}

std::string repeater_effects(const Json& document) {
  constexpr double kPanel = 270, kLeft = 240, kRow = 46, kTop = 66;
  const std::vector<std::string> which = {"sampled-seq-rep-4", "greedy-seq-rep-4", "held-out-loss"};
  const std::vector<std::pair<std::string, std::string>> among = {
      {"all", "all"}, {"right mask", "right"}, {"inverted mask", "inverted"}};
  const double width = kLeft + kPanel * static_cast<double>(which.size()) + 20;
  const double height = kTop + kRow * static_cast<double>(document["factors"].size()) + 54;
  std::string body, said;
  for (std::size_t panel = 0; panel < which.size(); ++panel) {
    double most = 0;
    std::string title;
    for (const auto& response : document["responses"])
      if (response["id"] == which[panel]) title = response["title"].text();
    for (const auto& effect : document["effects"])
      if (effect["response"] == which[panel] && effect["factors"].size() == 1)
        most =
            std::max({most, std::abs(effect["low"].get<double>()), std::abs(effect["high"].get<double>())});
    most = std::max(most, 0.01);
    const double left = kLeft + kPanel * static_cast<double>(panel), middle = left + kPanel / 2;
    const auto x = [&](double value) { return middle + value / most * (kPanel / 2 - 26); };
    body += fmt::format(
        "<text class=\"title\" x=\"{:.0f}\" y=\"44\" text-anchor=\"middle\">{}</text><path class=\"known\" "
        "d=\"M{:.0f} {:.0f}V{:.0f}\"/>\n",
        middle, escaped(title), middle, kTop - 12, height - 46);
    for (const double tick : round_numbers(-most, most))
      body += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" text-anchor=\"middle\">{:g}</text>", x(tick),
                          height - 26, std::abs(tick) < 1e-12 ? 0.0 : tick);
    double row = kTop;
    for (const auto& factor : document["factors"]) {
      if (panel == 0)
        body += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"end\">{}</text>", kLeft - 14,
                            row + 14, escaped(factor["name"].text()));
      for (std::size_t i = 0; i < among.size(); ++i) {
        const auto* effect = effect_of(document, which[panel], among[i].first, factor["id"].text());
        if (effect == nullptr) continue;
        const double line = row + 11 * static_cast<double>(i);
        body += fmt::format(
            "<line class=\"bar {3}\" x1=\"{0:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/><circle "
            "class=\"{3}\" "
            "cx=\"{4:.1f}\" cy=\"{2:.1f}\" r=\"4\"><title>{5}</title></circle>\n",
            x((*effect)["low"].get<double>()), x((*effect)["high"].get<double>()), line, among[i].second,
            x((*effect)["value"].get<double>()),
            escaped(fmt::format("{}, {}: {} ({} to {})", factor["name"].get<std::string>(), among[i].first,
                                shown((*effect)["value"].get<double>()),
                                shown((*effect)["low"].get<double>()),
                                shown((*effect)["high"].get<double>()))));
      }
      row += kRow;
    }
  }
  for (const auto& answer : document["answers"]) said += answer.get<std::string>() + " ";
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
      width, height, escaped(said), kStyle, body);
}

}  // namespace plumbline
