// Pictures, each with the same numbers as a table, drawn only where the document has the numbers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "reports/page_figures.hpp"
#include "reports/page_parts.hpp"

namespace plumbline::reports {
namespace {

using html::amount;
using html::bdi;
using html::text;

std::string cell(const Page& page, const std::optional<Check>& check) {
  if (!check) return page(Word::not_shown);
  std::string shown = badge(page, check->within ? Verdict::pass : Verdict::fail);
  if (check->worst_difference && check->tolerance)
    shown += fmt::format(" {} / {}", amount(*check->worst_difference), amount(*check->tolerance));
  return shown;
}

void add_point(svg::Chart& chart, std::size_t series, std::size_t at, const Stage& stage,
               const std::optional<Check>& check, const Page& page) {
  if (!check) return;
  // Without a number, a check that failed counts as infinitely wrong, and one that held as exact.
  const double share = share_of(*check).value_or(check->within ? 0.0 : std::nan(""));
  chart.series[series].x.push_back(static_cast<double>(at));
  chart.series[series].y.push_back(share);
  chart.names[series].push_back(
      fmt::format("{} ({}): {}", stage, chart.series[series].name, share_in_words(page, share)));
}

std::string stages(const Page& page) {
  if (!page.result.localisation || page.result.localisation->stages.empty()) return "";
  const Localisation& found = *page.result.localisation;
  svg::Chart chart;
  chart.id = page.prefix + "stages";
  chart.title = page(Word::stages_title);
  chart.x_name = page(Word::stage);
  chart.y_name = fmt::format("{} ({})", page(Word::tolerance_is), page(Word::log_axis));
  chart.log_y = true;
  chart.joined = false;
  chart.series = {{page(Word::local), {}, {}, {}, {}}, {page(Word::inherited), {}, {}, {}, {}}};
  chart.names.resize(2);
  chart.bounds = {{page(Word::tolerance), 1}};
  const auto *wrong = first_locally_wrong(found), *divergent = first_divergent(found);
  std::optional<std::int64_t> layer;
  std::vector<Row> rows;
  for (std::size_t i = 0; i < found.stages.size(); ++i) {
    const StageErrors& one = found.stages[i];
    add_point(chart, 1, i, one.stage, one.inherited, page);
    add_point(chart, 0, i, one.stage, one.local, page);
    if (one.stage.layer && one.stage.layer != layer) {
      layer = one.stage.layer;
      chart.ticks.emplace_back(static_cast<double>(i), page(Word::layer, *layer));
    }
    if (&one == wrong)
      chart.pointers.emplace_back(static_cast<double>(i),
                                  fmt::format("{}: {}", page(Word::first_wrong), one.stage));
    rows.push_back({bdi(to_string(one.stage), 100), cell(page, one.inherited), cell(page, one.local)});
  }
  if (chart.ticks.empty()) chart.ticks.emplace_back(0, to_string(found.stages.front().stage));
  if (chart.ticks.size() > 12) {
    const std::size_t every = (chart.ticks.size() + 11) / 12;
    std::vector<std::pair<double, std::string>> fewer;
    for (std::size_t i = 0; i < chart.ticks.size(); i += every) fewer.push_back(chart.ticks[i]);
    chart.ticks = std::move(fewer);
  }
  const auto name = [&](const StageErrors* stage) {
    return stage == nullptr ? std::string("–") : to_string(stage->stage);
  };
  chart.description =
      page(Word::stages_description, found.stages.size(), found.mode, name(divergent), name(wrong));
  const std::string note =
      page(Word::stages_note) + (svg::has_edges(chart) ? std::string(" ") + page(Word::edges) : "");
  return figure(
      page, text(chart.title), note, svg::draw(chart), legend(chart.series, chart.joined),
      table(page, text(chart.title), {page(Word::stage), page(Word::inherited), page(Word::local)}, rows));
}

std::string situations_part(const Page& page) {
  if (!page.result.localisation || page.result.localisation->situations.empty()) return "";
  const bool two = page.result.header.baseline.has_value();
  std::string list;
  for (const Situation& one : page.result.localisation->situations) {
    const Verdict as = one.check.within ? Verdict::pass : Verdict::fail;
    const Word word = two                ? (one.check.within ? Word::is_same : Word::is_different)
                      : one.check.within ? Word::right
                                         : Word::wrong;
    const auto share = share_of(one.check);
    list += fmt::format(
        "<li class=\"{}\"><span class=\"mark\" aria-hidden=\"true\">{}</span> {}: {}{}</li>\n", style_of(as),
        mark_of(as), page.translated_situation(one.name, 100), page(word),
        share ? fmt::format(" <span class=\"dim\">({})</span>", share_in_words(page, *share)) : "");
  }
  return fmt::format(
      "<figure><figcaption><strong>{}</strong></figcaption><ul class=\"situations\">\n{}</ul></figure>\n",
      page(two ? Word::situations_different : Word::situations_title), list);
}

std::string margins(const Page& page) {
  svg::Strip strip;
  strip.id = page.prefix + "margins";
  strip.title = page(Word::margins_title);
  strip.axis = fmt::format("{} ({})", page(Word::tolerance_is), page(Word::log_axis));
  strip.bound = page(Word::tolerance);
  std::vector<Row> rows;
  std::vector<std::string> nearest;
  int exact = 0;
  for (const Section& section : sections(page.result)) {
    std::vector<svg::Bar> bars;
    const svg::Bar* most = nullptr;
    for (const Requirement* one : section.requirements) {
      const auto share = share_of(*one);
      if (!share) {
        exact += one->checks.empty() ? 0 : 1;
        continue;
      }
      bars.push_back({one->id, *share});
      rows.push_back({bdi(one->id, 40), page.title(section.chapter), text(share_in_words(page, *share))});
    }
    if (bars.empty()) continue;
    for (const svg::Bar& bar : bars)
      if (most == nullptr || svg::worse(bar.share, most->share)) most = &bar;
    nearest.push_back(fmt::format("{} {}", visible(most->name, 40), amount(most->share)));
    const std::string* known =
        page.translation == nullptr ? nullptr : page.translation->find(section.chapter.title);
    strip.groups.emplace_back(
        fmt::format("{} {}", section.chapter.number, known == nullptr ? section.chapter.title : *known),
        bars);
  }
  if (rows.empty()) return "";
  strip.description = page(Word::margins_description, rows.size(), page.joined(nearest));
  const std::string note =
      page(Word::margins_note) + (exact > 0 ? " " + page(Word::margins_exact, exact) : "");
  return figure(page, page(Word::margins_title), note, svg::draw(strip), "",
                table(page, page(Word::margins_title),
                      {page(Word::requirement), page(Word::chapter), page(Word::tolerance_is)}, rows));
}

std::string cache_part(const Page& page) {
  const auto bytes = cache_bytes(page);
  if (!bytes) return "";
  svg::Bars bars{page.prefix + "cache", page(Word::cache_title), "", page(Word::bytes), {}};
  std::vector<std::string> amounts;
  std::vector<Row> rows;
  for (const auto& [word, value] :
       {std::pair(Word::cache_held, bytes->held), std::pair(Word::cache_needed, bytes->needed),
        // Keys and values of as many heads are twice the queries.
        std::pair(Word::cache_queries, bytes->multi_head / 2),
        std::pair(Word::cache_multi_head, bytes->multi_head)}) {
    bars.values.emplace_back(page(word), value);
    amounts.push_back(fmt::format("{}: {}", page(word), amount(value)));
    rows.push_back({page(word), amount(value)});
  }
  bars.description = page.joined(amounts);
  return figure(page, bars.title, "KVC-3", svg::draw(bars), "",
                table(page, bars.title, {page(Word::cache_title), page(Word::bytes)}, rows));
}

}  // namespace

std::string pictures_part(const Page& page) {
  std::string part = stages(page) + situations_part(page) + margins(page);
  if (const auto matrix = causality(page)) part += picture_of(page, *matrix, page.prefix + "causality");
  part += cache_part(page);
  std::size_t number = 0;
  for (const Plot& plot : page.result.plots)
    if (plot.requirement.empty())
      part += picture_of(page, plot, fmt::format("{}plot-{}", page.prefix, ++number));
  for (const Matrix& matrix : page.result.matrices)
    if (matrix.requirement.empty())
      part += picture_of(page, matrix, fmt::format("{}plot-{}", page.prefix, ++number));
  if (part.empty()) return "";
  return fmt::format("<section class=\"card pictures\" aria-labelledby=\"{0}pictures\">\n{1}{2}</section>\n",
                     page.prefix, page.heading(1, "pictures", page(Word::pictures)), part);
}

}  // namespace plumbline::reports
