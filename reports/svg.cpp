#include "reports/svg.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "reports/html.hpp"

namespace plumbline::reports::svg {
namespace {

using html::amount;
using html::text;

constexpr double width = 760, height = 300, left = 62, right = 20, top = 42, bottom = 46;
constexpr std::size_t buckets = 100, marks = 6;

std::string power_of_ten(int power) {
  if (power >= -3 && power <= 3) return amount(std::pow(10, power));
  constexpr std::array superscripts = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string name = power < 0 ? "10⁻" : "10";
  for (const char digit : std::to_string(std::abs(power)))
    name += superscripts[static_cast<std::size_t>(digit - '0')];
  return name;
}

// An axis from numbers to places; what it cannot place lies on an edge.
struct Axis {
  bool logarithmic = false;
  double from = 0, to = 1;    // of the numbers, or of their logarithms
  double start = 0, end = 1;  // of the places

  double place(double value) const {
    const double low_edge = start, high_edge = end;
    if (std::isnan(value) || value == std::numeric_limits<double>::infinity()) return high_edge;
    if (logarithmic && value <= 0) return low_edge;
    const double scaled = logarithmic ? std::log10(value) : value;
    const double share = std::clamp((scaled - from) / (to - from), 0.0, 1.0);
    return start + share * (end - start);
  }

  // With their names. Where a power of ten is no finite number any more, its name is right all the same.
  std::vector<std::pair<double, std::string>> ticks() const {
    std::vector<std::pair<double, std::string>> found;
    if (logarithmic) {
      const double step = std::max(1.0, std::ceil((to - from) / 7));
      for (double power = std::ceil(from); power <= to + 1e-9; power += step)
        found.emplace_back(std::pow(10, power), power_of_ten(static_cast<int>(power)));
    } else {
      const double rough = (to - from) / 6, unit = std::pow(10, std::floor(std::log10(rough)));
      const double step = unit * (rough / unit <= 1 ? 1 : rough / unit <= 2 ? 2 : rough / unit <= 5 ? 5 : 10);
      for (int i = 0; i < 20 && std::ceil(from / step) * step + i * step <= to + step * 1e-9; ++i)
        found.emplace_back(std::ceil(from / step) * step + i * step,
                           amount(std::ceil(from / step) * step + i * step));
    }
    return found;
  }
};

bool usable(double value, bool logarithmic) {
  return std::isfinite(value) && (!logarithmic || value > 0);
}

Axis axis_of(const std::vector<double>& values, bool logarithmic, double start, double end) {
  double least = std::numeric_limits<double>::infinity(), most = -least;
  for (const double value : values) {
    if (!usable(value, logarithmic)) continue;
    const double scaled = logarithmic ? std::log10(value) : value;
    least = std::min(least, scaled), most = std::max(most, scaled);
  }
  if (least > most) least = 0, most = 1;
  // Halves, so that not even the largest numbers overflow.
  const double scale = std::max(std::abs(least), std::abs(most));
  if (most / 2 - least / 2 <= scale * 1e-12) {
    const double room = std::isnormal(scale / 10) && !logarithmic ? scale / 10 : 1;
    least -= room, most += room;
  }
  if (!std::isfinite(most - least)) least /= 4, most /= 4;
  if (logarithmic) least = std::floor(least), most = std::ceil(most);
  return {logarithmic, least, most, start, end};
}

template <typename Use>
void each_value(const Chart& chart, Use use) {
  for (const Series& one : chart.series)
    for (std::size_t i = 0; i < std::min(one.x.size(), one.y.size()); ++i) use(one, i);
}

std::string shape(std::size_t series, double x, double y) {
  const auto at = [&](const char* path) { return fmt::format("M{:.1f} {:.1f}{}", x, y, path); };
  switch (series % marks) {
    case 0:
      return at("m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z");
    case 1:
      return at("m0 -4.2l4.2 4.2l-4.2 4.2l-4.2 -4.2z");
    case 2:
      return at("m-3 -3h6v6h-6z");
    case 3:
      return at("m0 -4l4 7h-8z");
    case 4:
      return at("m-3.5 -3.5l7 7m0 -7l-7 7");
    default:
      return at("m-4 0h8m-4 -4v8");
  }
}

std::string begin(const char* style, const std::string& id, const std::string& title,
                  const std::string& description, double w, double h) {
  return fmt::format(
      "<svg class=\"{}\" role=\"img\" width=\"{:.0f}\" height=\"{:.0f}\" viewBox=\"0 0 {:.0f} {:.0f}\" "
      "aria-labelledby=\"{}-t {}-d\">"
      "<title id=\"{}-t\">{}</title><desc id=\"{}-d\">{}</desc>",
      style, w, h, w, h, id, id, id, text(title), id, text(description, 1000));
}

std::string line(const char* style, double x1, double y1, double x2, double y2) {
  return fmt::format("<path class=\"{}\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\"/>", style, x1, y1, x2, y2);
}

// Cut after `room` columns: a label stands where there is so much room.
std::string label(const char* style, double x, double y, const std::string& untrusted, int room = 40) {
  return fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", style, x, y,
                     text(fit(visible(untrusted, 400), room), 1000));
}

std::string grid(const Chart& chart, const Axis& x, const Axis& y) {
  std::string drawn;
  for (const auto& [value, name] : y.ticks()) {
    drawn += line("grid", left, y.place(value), width - right, y.place(value));
    drawn += label("end", left - 8, y.place(value) + 4, name);
  }
  if (chart.ticks.empty()) {
    for (const auto& [value, name] : x.ticks())
      drawn += label("middle", x.place(value), height - bottom + 18, name);
  }
  for (const auto& [value, name] : chart.ticks) {
    drawn += line("grid", x.place(value), top, x.place(value), height - bottom);
    drawn += label("start", x.place(value) + 3, height - bottom + 16, name, 14);
  }
  drawn += line("axis", left, height - bottom, width - right, height - bottom);
  drawn += label("end dim", width - right, height - 8, chart.x_name, 80);
  return drawn + label("start dim", 4, 14, chart.y_name, 100);
}

std::string bands(const Chart& chart, const Axis& x, const Axis& y) {
  std::string drawn;
  each_value(chart, [&](const Series& one, std::size_t i) {
    if (i >= one.low.size() || i >= one.high.size()) return;
    const double at = x.place(one.x[i]);
    drawn +=
        fmt::format("<path class=\"band\" d=\"M{0:.1f} {1:.1f}V{2:.1f}m-4 0h8M{0:.1f} {1:.1f}m-4 0h8\"/>", at,
                    y.place(one.low[i]), y.place(one.high[i]));
  });
  return drawn;
}

std::string curve(const Chart& chart, std::size_t number, const Axis& x, const Axis& y) {
  const Series& one = chart.series[number];
  std::string path, points;
  bool pen_down = false;
  for (std::size_t i = 0; i < std::min(one.x.size(), one.y.size()); ++i) {
    const double to_x = x.place(one.x[i]), to_y = y.place(one.y[i]);
    path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", to_x, to_y);
    pen_down = !std::isnan(one.y[i]);
    const std::string name = number < chart.names.size() && i < chart.names[number].size()
                                 ? chart.names[number][i]
                                 : fmt::format("{}, {}", amount(one.x[i]), amount(one.y[i]));
    points += fmt::format("<path class=\"point p{}\" d=\"{}\"><title>{}</title></path>", number % marks,
                          shape(number, to_x, to_y), text(name, 120));
  }
  if (chart.joined && !path.empty())
    points.insert(0, fmt::format("<path class=\"curve c{}\" d=\"{}\"/>", number % marks, path));
  return points;
}

}  // namespace

bool has_edges(const Chart& chart) {
  bool found = false;
  each_value(chart, [&](const Series& one, std::size_t i) {
    found = found || !usable(one.x[i], chart.log_x) || !usable(one.y[i], chart.log_y);
  });
  return found;
}

bool worse(double share, double than) {
  return !std::isnan(than) && !(share <= than);
}

Series thinned(const Series& series) {
  const std::size_t count = std::min(series.x.size(), series.y.size());
  if (count <= 2 * buckets) return series;
  std::vector<std::size_t> kept{0};
  for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
    const std::size_t from = bucket * count / buckets, to = (bucket + 1) * count / buckets;
    const auto begin = series.y.begin() + static_cast<std::ptrdiff_t>(from);
    const auto end = series.y.begin() + static_cast<std::ptrdiff_t>(to);
    const auto less = [](double a, double b) { return std::isnan(b) ? !std::isnan(a) : a < b; };
    const auto [least, most] = std::minmax_element(begin, end, less);
    kept.push_back(static_cast<std::size_t>(std::min(least, most) - series.y.begin()));
    kept.push_back(static_cast<std::size_t>(std::max(least, most) - series.y.begin()));
  }
  kept.push_back(count - 1);
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  Series fewer{series.name, {}, {}, {}, {}};
  for (const std::size_t i : kept) {
    fewer.x.push_back(series.x[i]);
    fewer.y.push_back(series.y[i]);
    if (series.low.size() == count) fewer.low.push_back(series.low[i]);
    if (series.high.size() == count) fewer.high.push_back(series.high[i]);
  }
  return fewer;
}

std::string draw(const Chart& chart) {
  std::vector<double> xs, ys;
  each_value(chart, [&](const Series& one, std::size_t i) {
    xs.push_back(one.x[i]);
    ys.push_back(one.y[i]);
    if (i < one.low.size()) ys.push_back(one.low[i]);
    if (i < one.high.size()) ys.push_back(one.high[i]);
  });
  for (const auto& [value, name] : chart.ticks) xs.push_back(value);
  // With room for a bound, even where all points lie on one side of it.
  for (const auto& [name, value] : chart.bounds)
    for (const double factor : {0.1, 1.0, 10.0})
      if (chart.log_y || factor == 1) ys.push_back(value * factor);
  const Axis x = axis_of(xs, chart.log_x, left, width - right);
  const Axis y = axis_of(ys, chart.log_y, height - bottom, top);
  std::string drawn =
      begin("chart", chart.id, chart.title, chart.description, width, height) + grid(chart, x, y);
  for (const auto& [name, value] : chart.bounds) {
    if (!std::isfinite(value)) continue;
    drawn += line("bound", left, y.place(value), width - right, y.place(value));
    drawn += label("end strong", width - right, y.place(value) - 5, name);
  }
  for (const auto& [value, name] : chart.pointers) {
    const double at = x.place(value);
    drawn += line("pointer", at, top, at, height - bottom);
    drawn += label(at > width / 2 ? "end bad" : "start bad", at, top - 8, name, 42);
  }
  drawn += bands(chart, x, y);
  for (std::size_t i = 0; i < chart.series.size(); ++i) drawn += curve(chart, i, x, y);
  return drawn + "</svg>";
}

std::string legend_mark(std::size_t series, bool joined) {
  const std::string line =
      joined ? fmt::format("<path class=\"curve c{}\" d=\"M0 6L28 6\"/>", series % marks) : "";
  return fmt::format(
      "<svg class=\"key\" viewBox=\"0 0 28 12\" aria-hidden=\"true\">{}<path class=\"point p{}\" "
      "d=\"{}\"/></svg>",
      line, series % marks, shape(series, 14, 6));
}

std::string draw(const Bars& bars) {
  double most = 0;
  for (const auto& [name, value] : bars.values)
    if (std::isfinite(value)) most = std::max(most, value);
  constexpr double row = 30, names = 250, room = 130;
  std::string drawn = begin("chart", bars.id, bars.title, bars.description, width,
                            row * static_cast<double>(bars.values.size()) + 8);
  double y = 4;
  for (const auto& [name, value] : bars.values) {
    const double length =
        most > 0 && std::isfinite(value) ? std::max(0.0, value) / most * (width - names - room) : 0;
    drawn += label("end", names - 8, y + row / 2 + 4, name, 30);
    drawn += fmt::format("<rect x=\"{:.0f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.0f}\"/>", names, y + 6,
                         length, row - 12);
    drawn += label("start", names + length + 6, y + row / 2 + 4, amount(value) + " " + bars.unit, 24);
    y += row;
  }
  return drawn + "</svg>";
}

std::string draw(const Strip& strip) {
  std::vector<double> shares{1, 1e-2};
  for (const auto& [name, bars] : strip.groups)
    for (const Bar& bar : bars) shares.push_back(bar.share);
  constexpr double row = 24, names = 216;
  const double tall = top + row * static_cast<double>(strip.groups.size());
  const Axis x = axis_of(shares, true, names + 12, width - 150);
  std::string drawn = begin("chart", strip.id, strip.title, strip.description, width, tall + bottom);
  for (const auto& [value, name] : x.ticks()) {
    drawn += line("grid", x.place(value), top - 6, x.place(value), tall);
    drawn += label("middle", x.place(value), tall + 18, name);
  }
  drawn += line("bound", x.place(1), top - 10, x.place(1), tall);
  drawn += label("middle strong", x.place(1), 12, strip.bound);
  drawn += label("middle dim", (x.start + x.end) / 2, tall + 38, strip.axis, 80);
  double y = top;
  for (const auto& [name, bars] : strip.groups) {
    const double middle = y + row / 2;
    drawn += label("end", names, middle + 4, name, 28);
    const Bar* nearest = nullptr;
    std::string points;
    for (const Bar& bar : bars) {
      if (nearest == nullptr || worse(bar.share, nearest->share)) nearest = &bar;
      const bool wrong = !(bar.share <= 1);
      points += fmt::format("<path class=\"point {}\" d=\"{}\"><title>{}: {}</title></path>",
                            wrong ? "bad" : "p0", shape(wrong ? 4 : 0, x.place(bar.share), middle),
                            text(bar.name, 60), amount(bar.share));
    }
    if (nearest != nullptr) {
      drawn += line("bar", x.start, middle, x.place(nearest->share), middle) + points;
      drawn += label("start", width - 142, middle + 4,
                     fit(visible(nearest->name, 40), 10) + " " + amount(nearest->share), 18);
    }
    y += row;
  }
  return drawn + "</svg>";
}

std::string draw(const Matrix& matrix, const std::string& id, const std::string& title,
                 const std::string& description) {
  double least = std::numeric_limits<double>::infinity(), most = -least, smallest = least;
  for (const auto& values : matrix.values)
    for (const double value : values) {
      if (!std::isfinite(value)) continue;
      least = std::min(least, value), most = std::max(most, value);
      if (value > 0) smallest = std::min(smallest, value);
    }
  const bool logarithmic = least >= 0 && most > 1000 * smallest;
  const Axis shade = axis_of({logarithmic ? smallest : least, most}, logarithmic, 1, 9);
  const double cell = 18, names = 190, head = 22;
  const double w = names + cell * static_cast<double>(matrix.columns.size()) + right;
  const double h = head + cell * static_cast<double>(matrix.rows.size()) + 6;
  std::string drawn = begin("chart natural", id, title, description, std::max(w, 320.0), h);
  const std::size_t every = 1 + matrix.columns.size() / 24;
  for (std::size_t j = 0; j < matrix.columns.size(); j += every)
    drawn += label("middle", names + cell * (static_cast<double>(j) + 0.5), 14, matrix.columns[j], 6);
  for (std::size_t i = 0; i < matrix.rows.size(); ++i) {
    const double y = head + cell * static_cast<double>(i);
    drawn += label("end", names - 6, y + 13, matrix.rows[i], 24);
    for (std::size_t j = 0; j < matrix.columns.size(); ++j) {
      const double value = matrix.values[i][j], x = names + cell * static_cast<double>(j);
      const int step = value == 0 ? 0 : static_cast<int>(std::lround(shade.place(value)));
      drawn += fmt::format(
          "<rect class=\"{}\" x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\"><title>{}, {}: "
          "{}</title></rect>",
          std::isfinite(value) ? fmt::format("h{}", step) : "unknown", x + 1, y + 1, cell - 2, cell - 2,
          text(matrix.rows[i], 40), text(matrix.columns[j], 40), amount(value));
    }
  }
  return drawn + "</svg>";
}

}  // namespace plumbline::reports::svg
