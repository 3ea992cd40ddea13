#include "reports/page_figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace plumbline::reports {
namespace {

using html::amount;
using html::bdi;
using html::text;

constexpr std::size_t most_rows_shown = 250, most_cells = 64;

Plot translated(const Page& page, Plot plot) {
  for (std::string* words : {&plot.title, &plot.x_name, &plot.y_name}) *words = page.in_its_words(*words);
  for (Series& one : plot.series) one.name = page.in_its_words(one.name);
  for (auto& [name, value] : plot.bounds) name = page.in_its_words(name);
  return plot;
}

}  // namespace

// `rows` are safe already.
std::string table(const Page& page, const std::string& caption, const Row& head,
                  const std::vector<Row>& rows) {
  std::string cells;
  for (const std::string& name : head) cells += fmt::format("<th scope=\"col\">{}</th>", name);
  std::string body;
  for (std::size_t i = 0; i < std::min(rows.size(), most_rows_shown); ++i) {
    body += "<tr>";
    for (std::size_t j = 0; j < rows[i].size(); ++j)
      body += j == 0 ? fmt::format("<th scope=\"row\">{}</th>", rows[i][j])
                     : fmt::format("<td>{}</td>", rows[i][j]);
    body += "</tr>\n";
  }
  const std::string rest =
      rows.size() > most_rows_shown
          ? fmt::format("<p class=\"dim\">{}</p>", page(Word::first_rows, most_rows_shown, rows.size()))
          : "";
  return fmt::format(
      "<details class=\"numbers\"><summary>{}</summary><div class=\"wide\" tabindex=\"0\" role=\"group\" "
      "aria-label=\"{}\"><table>"
      "<caption>{}</caption><thead><tr>{}</tr></thead><tbody>\n{}</tbody></table></div>{}</details>\n",
      page(Word::same_numbers), caption, caption, cells, body, rest);
}

std::string figure(const Page& page, const std::string& title, const std::string& note,
                   const std::string& drawn, const std::string& legend, const std::string& numbers) {
  return fmt::format(
      "<figure><figcaption><strong>{}</strong>{}</figcaption>\n<div class=\"wide\" tabindex=\"0\" "
      "role=\"group\" aria-label=\"{}\">{}</div>{}{}</figure>\n",
      title, note.empty() ? "" : fmt::format(" <span class=\"dim\">{}</span>", note),
      title + ": " + page(Word::pictures), drawn, legend, numbers);
}

std::string legend(const std::vector<Series>& series, bool joined) {
  std::string list;
  for (std::size_t i = 0; i < series.size(); ++i)
    if (!series[i].name.empty())
      list += fmt::format("<li>{} {}</li>", svg::legend_mark(i, joined), bdi(series[i].name, 100));
  return list.empty() ? "" : fmt::format("<ul class=\"legend\">{}</ul>\n", list);
}

std::string picture_of(const Page& page, const Plot& drawn_of, const std::string& id) {
  const Plot plot = translated(page, drawn_of);
  svg::Chart chart{id,   plot.title, "", plot.x_name, plot.y_name, plot.log_x, plot.log_y,
                   true, {},         {}, plot.bounds, {},          {}};
  if (plot.log_y) chart.y_name += fmt::format(" ({})", page(Word::log_axis));
  if (plot.log_x) chart.x_name += fmt::format(" ({})", page(Word::log_axis));
  std::vector<std::string> series, bounds;
  std::vector<Row> rows;
  for (std::size_t i = 0; i < std::min(plot.series.size(), most_series); ++i) {
    const Series& one = plot.series[i];
    chart.series.push_back(svg::thinned(one));
    const Series& few = chart.series.back();
    const std::size_t count = std::min(few.x.size(), few.y.size());
    series.push_back(count == 0 ? fmt::format("{}: {}", visible(one.name, 60), page(Word::no_points))
                                : fmt::format("{}: {} → {}", visible(one.name, 60), amount(one.y.front()),
                                              amount(one.y[std::min(one.x.size(), one.y.size()) - 1])));
    for (std::size_t at = 0; at < count; ++at) {
      std::string value = amount(few.y[at]);
      if (at < few.low.size() && at < few.high.size())
        value += fmt::format(" [{}, {}]", amount(few.low[at]), amount(few.high[at]));
      rows.push_back({bdi(one.name, 100), amount(few.x[at]), value});
    }
  }
  for (const auto& [name, value] : plot.bounds) rows.push_back({bdi(name, 100), "–", amount(value)});
  chart.description =
      page(Word::plot_description, visible(plot.y_name, 60), visible(plot.x_name, 60), page.joined(series));
  const bool empty = std::all_of(chart.series.begin(), chart.series.end(),
                                 [](const Series& one) { return one.x.empty() || one.y.empty(); });
  const std::string title = text(plot.title, 200);
  const std::string drawn = empty && plot.bounds.empty()
                                ? fmt::format("<p class=\"dim\">{}</p>", page(Word::no_points))
                                : svg::draw(chart);
  return figure(page, title, svg::has_edges(chart) ? page(Word::edges) : "", drawn,
                legend(chart.series, true),
                table(page, title, {page(Word::series), text(plot.x_name, 60), text(plot.y_name, 60)}, rows));
}

std::string picture_of(const Page& page, const Matrix& matrix, const std::string& id) {
  Matrix few = matrix;
  const std::size_t rows = std::min(matrix.rows.size(), matrix.values.size());
  few.rows.resize(std::min(rows, most_cells));
  few.columns.resize(std::min(matrix.columns.size(), most_cells));
  few.values.resize(few.rows.size());
  double least = std::nan(""), most = least;
  std::vector<Row> body;
  for (std::size_t i = 0; i < few.rows.size(); ++i) {
    few.values[i].resize(few.columns.size(), std::nan(""));
    body.push_back({bdi(few.rows[i], 60)});
    for (const double value : few.values[i]) {
      body.back().push_back(amount(value));
      least = std::fmin(least, value), most = std::fmax(most, value);
    }
  }
  Row head{text(matrix.value_name, 100)};
  for (const std::string& column : few.columns) head.push_back(text(column, 60));
  const std::string title = text(matrix.title, 200);
  const std::string description = page(Word::matrix_description, rows, matrix.columns.size(),
                                       visible(matrix.value_name, 200), amount(least), amount(most));
  std::string note = text(matrix.value_name);
  if (!std::isnan(least)) note += page.stop() + page(Word::matrix_range, amount(least), amount(most));
  if (few.rows.size() < rows || few.columns.size() < matrix.columns.size())
    note += page.stop() +
            page(Word::matrix_cut, few.rows.size(), rows, few.columns.size(), matrix.columns.size());
  const std::string drawn = few.rows.empty() || few.columns.empty()
                                ? fmt::format("<p class=\"dim\">{}</p>", page(Word::no_points))
                                : svg::draw(few, id, matrix.title, description);
  return figure(page, title, note, drawn, "", table(page, title, head, body));
}

}  // namespace plumbline::reports
