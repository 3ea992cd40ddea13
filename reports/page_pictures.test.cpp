#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <string>

#include "harness/result/examples.test.hpp"
#include "harness/system/files.hpp"
#include "reports/page_parts.hpp"
#include "reports/svg.hpp"

using namespace plumbline;
using namespace plumbline::reports;
using examples::committed;
using examples::count;
using examples::has;

namespace {

// A picture that holds no number which SVG does not know, nor one that lies outside of it.
bool sound(const std::string& picture) {
  const std::string drawn = picture.substr(0, picture.find("<details"));
  const std::string shapes =
      drawn.substr(drawn.find("</desc>") == std::string::npos ? 0 : drawn.find("</desc>"));
  std::string coordinates;
  for (const char* name : {" d=\"", " x=\"", " y=\"", " width=\"", " height=\""})
    for (std::size_t at = shapes.find(name); at != std::string::npos; at = shapes.find(name, at + 1)) {
      const std::size_t start = at + std::string(name).size();
      coordinates += shapes.substr(start, shapes.find('"', start) - start);
    }
  return !has(coordinates, "nan") && !has(coordinates, "inf") && !has(coordinates, "e+");
}

Plot plot_of(std::vector<double> x, std::vector<double> y) {
  return {"",
          "Title",
          "position",
          "radians",
          false,
          true,
          {{"one", std::move(x), std::move(y), {}, {}}},
          {{"tolerance", 1e-5}}};
}

}  // namespace

TEST_CASE("a plot says in words and in a table what it shows") {
  const Result result = examples::pictured();
  const Page page(result, Language::english, nullptr);
  const std::string picture = picture_of(page, result.plots[0], "id");
  CHECK(sound(picture));
  for (const char* part :
       {"role=\"img\"", "<title id=\"id-t\">Error by position</title>", "computed: 1.0e-07 → 1.0e-05, ",
        "none: no points", "radians (logarithmic)",
        "<th scope=\"row\"><bdi>computed</bdi></th><td>10</td><td>NaN [0, 1.0e-06]</td>",
        "<th scope=\"row\"><bdi>tolerance</bdi></th><td>–</td><td>1.0e-05</td>", "on the upper"}) {
    INFO(part);
    CHECK(has(picture, part));
  }
  const std::string whole = to_html(result, Language::english);
  CHECK(whole.find("Error by position") > whole.find("<details id=\"GQA-2\""));
  CHECK(whole.find("Who sees whom") < whole.find("id=\"requirements\""));
}

TEST_CASE("numbers of any kind can be drawn") {
  const Result result = examples::passing();
  const Page page(result, Language::english, nullptr);
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity(),
               most = std::numeric_limits<double>::max();
  const double least = std::numeric_limits<double>::denorm_min();
  using Numbers = std::vector<double>;
  for (const auto& [x, y] :
       {std::pair(Numbers{}, Numbers{}), std::pair(Numbers{1}, Numbers{2}),
        std::pair(Numbers{1, 1}, Numbers{2, 2}), std::pair(Numbers{0, 0}, Numbers{0, 0}),
        std::pair(Numbers{nan, 1}, Numbers{nan, nan}), std::pair(Numbers{-inf, inf}, Numbers{inf, -inf}),
        std::pair(Numbers{-most, most}, Numbers{-most, most}),
        std::pair(Numbers{least, 2 * least}, Numbers{least, most}), std::pair(Numbers{1, 2, 3}, Numbers{1e9}),
        std::pair(Numbers{1e15, 1e15 + 1}, Numbers{1e-300, 1e300})})
    for (const bool log_x : {false, true})
      for (const bool log_y : {false, true}) {
        Plot plot = plot_of(x, y);
        plot.log_x = log_x, plot.log_y = log_y;
        for (const double bound : {1.0, 0.0, nan, inf}) {
          plot.bounds[0].second = bound;
          const std::string picture = picture_of(page, plot, "id");
          INFO(picture);
          REQUIRE(sound(picture));
        }
      }
  Plot none = plot_of({}, {});
  none.bounds.clear();
  CHECK(has(picture_of(page, none, "id"), "no points"));
}

TEST_CASE("ten thousand points are thinned, and none of their extremes is lost") {
  const Result result = examples::passing();
  const Page page(result, Language::english, nullptr);
  Plot plot = plot_of({}, {});
  for (int i = 0; i < 10'000; ++i) {
    plot.series[0].x.push_back(i);
    plot.series[0].y.push_back(i == 4321 ? 77.25 : i == 8765 ? 0.0125 : 1);
  }
  const std::string picture = picture_of(page, plot, "id");
  CHECK(picture.size() < 80'000);
  CHECK(count(picture, "class=\"point p0\"") < 210);
  CHECK(has(picture, "<td>4321</td><td>77.2</td>"));
  CHECK(has(picture, "<td>8765</td><td>0.0125</td>"));
  CHECK(has(picture, "<td>9999</td>"));
}

TEST_CASE("names with markup stay names") {
  const Result result = examples::with_text("</title><script>x</script>\"'&\u202e");
  const Page page(result, Language::english, nullptr);
  for (const std::string& picture : {picture_of(page, result.plots[0], "id"),
                                     picture_of(page, result.matrices[0], "id"), pictures_part(page)}) {
    CHECK_FALSE(has(picture, "<script"));
    CHECK(has(picture, "&lt;/title&gt;&lt;script&gt;"));
    CHECK_FALSE(has(picture, "\u202e"));
  }
}

TEST_CASE("a matrix shows its cells, what is no number as such, and is cut where it is too large") {
  const Result result = examples::pictured();
  const Page page(result, Language::english, nullptr);
  const std::string picture = picture_of(page, result.matrices[0], "id");
  CHECK(sound(picture));
  CHECK(count(picture, "<rect") == 6);
  CHECK(count(picture, "class=\"unknown\"") == 1);
  CHECK(has(picture, "<title>token 1, 2: 2</title>"));
  CHECK(has(picture, "2 rows and 3 columns of: change. From 0 to 2."));
  CHECK(has(picture, "<th scope=\"row\"><bdi>token 2</bdi></th><td>0</td><td>NaN</td><td>1</td>"));
  Matrix large{"", "large", {}, {}, {}, "value"};
  for (int i = 0; i < 200; ++i) {
    large.rows.push_back(std::to_string(i));
    large.columns.push_back(std::to_string(i));
    large.values.emplace_back(static_cast<std::size_t>(i), i);  // shorter than the columns
  }
  const std::string cut = picture_of(page, large, "id");
  CHECK(sound(cut));
  CHECK(has(cut, "The first 64 of 200 rows and 64 of 200 columns."));
  CHECK(has(picture_of(page, Matrix(), "id"), "no points"));
}

TEST_CASE("stages are drawn in order, the local and the inherited apart, the first wrong one pointed at") {
  Result result = examples::failing();
  result.localisation->stages[2].inherited->worst_difference = std::nan("");
  const Page page(result, Language::english, nullptr);
  const std::string picture = pictures_part(page);
  CHECK(sound(picture));
  CHECK(has(picture,
            "4 stages in the mode evaluation. First divergent: layers.3.probabilities. First locally wrong: "
            "layers.3.context."));
  CHECK(has(picture, ">First locally wrong: layers.3.context</text>"));
  CHECK(has(picture, "<title>layers.3.context (local): 150 times its tolerance</title>"));
  CHECK(has(picture, "<title>layers.3.probabilities (inherited): NaN times its tolerance</title>"));
  CHECK(has(picture, "<title>embedding (local): no error</title>"));
  CHECK(
      has(picture, "<th scope=\"row\"><bdi>layers.3.scores</bdi></th><td>not shown</td><td>not shown</td>"));
  CHECK(has(picture,
            "<li class=\"pass\"><span class=\"mark\" aria-hidden=\"true\">✔</span> <bdi>1 token</bdi>: "
            "right</li>"));
  CHECK(has(picture, "<bdi>24 tokens</bdi>: wrong <span class=\"dim\">(150 times its tolerance)"));
}

TEST_CASE("margins show how near each requirement came, and what is wrong as such") {
  const Result result = examples::failing();
  const Page page(result, Language::english, nullptr);
  const std::string picture = pictures_part(page);
  CHECK(has(picture, "1 requirements with a measured margin. The nearest of each chapter: GQA-2 150."));
  CHECK(has(picture, "<path class=\"point bad\""));
  Requirement one = examples::requirement("A-1", 1, "a", Verdict::pass);
  CHECK_FALSE(share_of(one));
  one.checks = {examples::wrong("a"), examples::wrong("b")};
  one.checks[0].worst_difference = std::nan("");
  CHECK(std::isnan(*share_of(one)));
}

TEST_CASE("what a run has measured of its cache and of who is changed by whom is drawn") {
  const Result result = committed();
  const Page page(result, Language::english, nullptr);
  const auto bytes = cache_bytes(page);
  REQUIRE(bytes);
  CHECK(bytes->held == bytes->needed);
  CHECK(bytes->multi_head == 4 * bytes->held);
  CHECK(has(pictures_part(page), "queries of the same positions take"));
  const auto matrix = causality(page);
  REQUIRE(matrix);
  CHECK(matrix->columns.size() == 24);
  CHECK(matrix->rows.size() >= 15);
  for (std::size_t i = 0; i < matrix->rows.size(); ++i) {
    INFO(matrix->rows[i]);
    const auto token = static_cast<std::size_t>(std::stoi(matrix->rows[i].substr(6)));
    for (std::size_t j = 0; j < 24; ++j)
      CHECK((j < token ? matrix->values[i][j] < 1e-3 : matrix->values[i][j] > 1e-3));
  }
  const Result other = examples::failing();
  CHECK_FALSE(cache_bytes(Page(other, Language::english, nullptr)));
  CHECK_FALSE(causality(Page(other, Language::english, nullptr)));
}

TEST_CASE("numbers are short and read like numbers") {
  using html::amount;
  CHECK(amount(0) == "0");
  CHECK(amount(3.04e-7) == "3.0e-07");
  CHECK(amount(0.0375) == "0.0375");
  CHECK(amount(64) == "64");
  CHECK(amount(4321) == "4321");
  CHECK(amount(1234.5) == "1234");
  CHECK(amount(712704) == "712,704");
  CHECK(amount(-18601.7) == "-18,602");
  CHECK(amount(1.5e9) == "1,500,000,000");
  CHECK(amount(1.25e20) == "1.2e+20");
  CHECK(amount(std::nan("")) == "NaN");
  CHECK(amount(-std::numeric_limits<double>::infinity()) == "−∞");
}

TEST_CASE("a picture's words are in the page's language, where they are known") {
  Result result = examples::passing();
  Plot plot = plot_of({0, 1}, {1, 2});
  plot.title = "Error of the rotation by position";
  plot.series[0].name = "queries";
  result.plots = {plot};
  const Page english(result, Language::english, nullptr), chinese(result, Language::chinese, &in_chinese());
  const std::string in_english = picture_of(english, plot, "id"), drawn = picture_of(chinese, plot, "id");
  CHECK(has(in_english, "Error of the rotation by position"));
  for (const char* words : {"各位置的旋转误差", "位置", "查询", "容差"}) CHECK(has(drawn, words));
  for (const char* words : {"Error of", "queries", ">position<"}) CHECK_FALSE(has(drawn, words));
  CHECK(has(drawn, "radians"));
}
