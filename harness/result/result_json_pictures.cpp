#include "harness/result/result_json_pictures.hpp"

#include <utility>

namespace plumbline::reports {
namespace {

std::vector<double> numbers_at(const JsonPlace& place, std::size_t most) {
  return list_at<double>(place, most, [](const JsonPlace& entry) { return entry.number(); });
}

std::vector<std::string> names_at(const JsonPlace& place) {
  return list_at<std::string>(place, most_rows, [](const JsonPlace& entry) { return entry.text(); });
}

Series series_at(const JsonPlace& place) {
  place.only({"name", "x", "y", "low", "high"});
  Series series{place.at("name").text(),
                numbers_at(place.at("x"), most_points),
                numbers_at(place.at("y"), most_points),
                {},
                {}};
  if (place.value.contains("low") || place.value.contains("high")) {
    series.low = numbers_at(place.at("low"), most_points);
    series.high = numbers_at(place.at("high"), most_points);
  }
  const auto fits = [&](const std::vector<double>& values) {
    return values.empty() || values.size() == series.x.size();
  };
  if (series.y.size() != series.x.size() || !fits(series.low) || !fits(series.high))
    place.refuse("does not have the same number of values in each list");
  return series;
}

Plot plot_at(const JsonPlace& place) {
  place.only({"requirement", "title", "x_name", "y_name", "log_x", "log_y", "series", "bounds"});
  return {
      place.at("requirement").text(),
      place.at("title").text(),
      place.at("x_name").text(),
      place.at("y_name").text(),
      place.at("log_x").truth(),
      place.at("log_y").truth(),
      list_at<Series>(place.at("series"), most_series, series_at),
      list_at<std::pair<std::string, double>>(place.at("bounds"), most_series, [](const JsonPlace& bound) {
        bound.only({"name", "value"});
        return std::pair(bound.at("name").text(), bound.at("value").number());
      })};
}

Matrix matrix_at(const JsonPlace& place) {
  place.only({"requirement", "title", "rows", "columns", "values", "value_name"});
  Matrix matrix{place.at("requirement").text(),
                place.at("title").text(),
                names_at(place.at("rows")),
                names_at(place.at("columns")),
                list_at<std::vector<double>>(place.at("values"), most_rows,
                                             [](const JsonPlace& row) { return numbers_at(row, most_rows); }),
                place.at("value_name").text()};
  bool fits = matrix.values.size() == matrix.rows.size();
  for (const auto& row : matrix.values) fits = fits && row.size() == matrix.columns.size();
  if (!fits) place.at("values").refuse("does not have a number for each row and column");
  return matrix;
}

// Of requirements that the document has.
template <typename Picture, typename Read>
std::vector<Picture> pictures_at(const JsonPlace& root, const char* key, const std::set<std::string>& ids,
                                 Read read) {
  if (!root.value.contains(key)) return {};
  return list_at<Picture>(root.at(key), most_pictures, [&](const JsonPlace& entry) {
    Picture picture = read(entry);
    if (!picture.requirement.empty() && !ids.contains(picture.requirement))
      entry.at("requirement").refuse("is not among the requirements");
    return picture;
  });
}

}  // namespace

std::vector<Plot> plots_of(const JsonPlace& root, const std::set<std::string>& ids) {
  return pictures_at<Plot>(root, "plots", ids, plot_at);
}

std::vector<Matrix> matrices_of(const JsonPlace& root, const std::set<std::string>& ids) {
  return pictures_at<Matrix>(root, "matrices", ids, matrix_at);
}

}  // namespace plumbline::reports
