// Charts as SVG, drawn from numbers alone. Colours and strokes come from the page's style, by class.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline::reports::svg {

// All texts are untrusted and are made safe here.
struct Chart {
  std::string id;  // of its elements; unique on the page and safe
  std::string title, description, x_name, y_name;
  bool log_x = false, log_y = false, joined = true;
  std::vector<Series> series;
  std::vector<std::vector<std::string>> names;           // of each series' points, or empty
  std::vector<std::pair<std::string, double>> bounds;    // horizontal lines
  std::vector<std::pair<double, std::string>> ticks;     // of x; empty: numbers
  std::vector<std::pair<double, std::string>> pointers;  // vertical lines
};

// Whether a point had to be drawn on an edge, being 0 or less on a logarithmic axis, or no finite number.
bool has_edges(const Chart& chart);

// At most about 200 points of `series`, its extremes among them.
Series thinned(const Series& series);

std::string draw(const Chart& chart);

// The mark that stands for the series of that number, as a small picture without a text.
std::string legend_mark(std::size_t series, bool joined);

// Amounts to compare by length, from 0.
struct Bars {
  std::string id, title, description, unit;
  std::vector<std::pair<std::string, double>> values;
};
std::string draw(const Bars& bars);

struct Bar {
  std::string name;  // of the requirement
  double share = 0;  // of its tolerance; more than 1 is wrong
};

// Whether a share is worse than another: what is no number is worse than any.
bool worse(double share, double than);

// Shares by group on one logarithmic axis: a mark for each, and the nearest of each group by name.
struct Strip {
  std::string id, title, description, axis, bound;
  std::vector<std::pair<std::string, std::vector<Bar>>> groups;
};
std::string draw(const Strip& strip);

// Cells shaded by value (by its logarithm where all are positive or 0 and span three powers of ten).
std::string draw(const Matrix& matrix, const std::string& id, const std::string& title,
                 const std::string& description);

}  // namespace plumbline::reports::svg
