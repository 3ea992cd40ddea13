// What a reader sees of a campaign: the terminal's lines, a report in Markdown, the matrix as a picture.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "harness/campaign/campaign.hpp"
#include "harness/system/markup.hpp"

namespace plumbline {
namespace {

std::string times(const Json& ratio) {
  const auto value = ratio.get<double>();
  return value >= 1e4  ? fmt::format("{:.0e}", value)
         : value >= 10 ? fmt::format("{:.0f}", value)
                       : fmt::format("{:.2g}", value);
}

std::string text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// "defect:mask-none (MODE-1)", each with its reason where one is stated.
std::string listed(const Json& list, const std::function<std::string(const Json&)>& words) {
  std::vector<std::string> all;
  for (const auto& one : list)
    all.push_back(words(one) + (one.contains("reason") ? fmt::format(" [{}]", text(one["reason"])) : ""));
  return fmt::format("{}", fmt::join(all, "; "));
}

struct Line {
  bool fine;
  std::string text;
};

// Where there is nothing to say, there is no line.
using PerhapsLine = std::optional<Line>;

int count(const Json& conclusion, const char* key) {
  return conclusion[key].get<int>();
}

std::string of_full_size(int runs) {
  return runs > 0 ? fmt::format(", {} of the runs at full size", runs) : "";
}

PerhapsLine defects_seen(const Json& c) {
  const int defects = count(c, "defects") + count(c, "defects_at_full_size");
  if (defects == 0) return std::nullopt;
  const auto& survivors = c["survivors"];
  const auto unseen = survivors.empty() ? "" : "; NOT SEEN: " + listed(survivors, [](const Json& one) {
                                                 return fmt::format("{} (status {})", text(one["run"]),
                                                                    one["status"].get<int>());
                                               });
  return Line{survivors.empty(),
              fmt::format("{} of {} defects seen{}{}", defects - static_cast<int>(survivors.size()), defects,
                          of_full_size(count(c, "defects_at_full_size")), unseen)};
}

PerhapsLine variants_passed(const Json& c) {
  const int variants = count(c, "variants") + count(c, "variants_at_full_size");
  if (variants == 0) return std::nullopt;
  const auto& alarms = c["false_alarms"];
  const auto failed =
      alarms.empty() ? "" : "; WRONGLY FAILED: " + listed(alarms, [](const Json& one) {
                              return fmt::format("{} (status {}: {})", text(one["run"]),
                                                 one["status"].get<int>(), one["failed"].dump());
                            });
  return Line{alarms.empty(),
              fmt::format("{} of {} honest variants passed{}{}", variants - static_cast<int>(alarms.size()),
                          variants, of_full_size(count(c, "variants_at_full_size")), failed)};
}

PerhapsLine not_judged(const Json& c) {
  if (c["unusable"].empty()) return std::nullopt;
  return Line{false, "could not be judged: " + listed(c["unusable"], [](const Json& one) {
                       return fmt::format("{} of {} ({})", text(one["requirement"]), text(one["run"]),
                                          text(one["reason"]));
                     })};
}

PerhapsLine weakest_detection(const Json& c) {
  const auto& weakest = c["weakest_detection"];
  if (weakest.is_null()) return std::nullopt;
  return Line{true,
              fmt::format("the weakest detection is {} by {}, {} times its tolerance", text(weakest["run"]),
                          text(weakest["requirement"]), times(weakest["margin"]))};
}

PerhapsLine nearest_variant(const Json& c) {
  const auto& nearest = c["nearest_variant"];
  if (nearest.is_null()) return std::nullopt;
  return Line{true, fmt::format("the variant nearest to a tolerance is {} in {}, at {} of it",
                                text(nearest["run"]), text(nearest["requirement"]), times(nearest["share"]))};
}

// Those of a list that are too near to a tolerance.
PerhapsLine too_near(const Json& list, const std::string& what, const char* ratio, const char* unit) {
  if (list.empty()) return std::nullopt;
  return Line{all_have_reasons(list), what + ": " + listed(list, [&](const Json& one) {
                                        return fmt::format("{} ({}, {} {})", text(one["run"]),
                                                           text(one["requirement"]), times(one[ratio]), unit);
                                      })};
}

PerhapsLine diagnosed(const Json& c) {
  if (count(c, "diagnosed") == 0) return std::nullopt;
  const auto& not_named = c["not_named"];
  return Line{true,
              fmt::format("the diagnosis names {} of {} defects{}", count(c, "named"), count(c, "diagnosed"),
                          not_named.empty() ? "" : "; not named: " + listed(not_named, [](const Json& one) {
                                                     return text(one["run"]);
                                                   }))};
}

PerhapsLine narrow_suite(const Json& c) {
  if (count(c, "defects") == 0) return std::nullopt;
  return Line{true, fmt::format("{} would see {} of {}", text(c["narrow_suite"]["title"]),
                                c["narrow_suite"]["sees"].get<int>(), count(c, "defects"))};
}

PerhapsLine not_failed_by_any(const Json& c) {
  const auto& list = c["not_failed_by_any"];
  if (list.empty()) return std::nullopt;
  return Line{all_have_reasons(list),
              "requirements that no defect fails: " +
                  listed(list, [](const Json& one) { return text(one["requirement"]); })};
}

PerhapsLine seen_by_one_alone(const Json& c) {
  const auto& list = c["seen_by_one_alone"];
  if (list.empty()) return std::nullopt;
  return Line{true, "seen by only one mandatory requirement: " + listed(list, [](const Json& one) {
                      return fmt::format("{} ({})", text(one["run"]).substr(7), text(one["requirement"]));
                    })};
}

// The findings, each a sentence, in the order in which they matter.
std::vector<Line> findings(const Json& document) {
  const auto& c = document["conclusion"];
  std::vector<Line> lines;
  for (auto& line :
       {defects_seen(c), variants_passed(c), not_judged(c), weakest_detection(c),
        too_near(c["below_margin"], fmt::format("below {} times the tolerance", times(c["detection_margin"])),
                 "margin", "times"),
        nearest_variant(c),
        too_near(c["above_margin"],
                 fmt::format("nearer to a tolerance than a {}th", times(c["variant_margin"])), "share",
                 "of it"),
        diagnosed(c), narrow_suite(c), not_failed_by_any(c), seen_by_one_alone(c)})
    if (line) lines.push_back(*line);
  return lines;
}

// What colours a cell: how far over the tolerance, in steps of a hundred.
const char* shade(const Json& margin) {
  if (margin.is_null()) return "f";
  const auto value = margin.get<double>();
  return value < 50 ? "a" : value < 1e3 ? "b" : value < 1e5 ? "c" : "d";
}

}  // namespace

std::string campaign_summary(const Json& document) {
  std::string lines;
  for (const auto& line : findings(document))
    lines += fmt::format(" {} {}\n", line.fine ? " " : "!", line.text);
  if (document["conclusion"]["status"] != 0) return lines + "Some results are not as expected; see above.";
  return lines + (document["complete"] == true
                      ? "The suites fail every defect and pass every honest variant."
                      : "Every run gave the expected result; the other candidates were not run.");
}

std::string campaign_report(const Json& document) {
  std::string page = fmt::format("# Campaign: {}\n\n", document["conclusion"]["status"] == 0
                                                           ? "every defect seen, no honest variant failed"
                                                           : "NOT as expected");
  for (const auto& line : findings(document))
    page += fmt::format("- {}{}\n", line.fine ? "" : "**!** ", line.text);
  page += fmt::format("\n`{}` ({}, {})\n\n![defect by requirement](matrix.svg)\n", text(document["command"]),
                      text(document["program"]), text(document["device"]));
  page +=
      "\n## Defects\n\nThe number beside a requirement is its error as a multiple of the tolerance; a "
      "requirement without a number compares exactly.\n\n| defect | seen by | first locally wrong | "
      "diagnosis | s |\n| --- | "
      "--- | --- | --- | ---: |\n";
  for (const auto& run : document["runs"]) {
    const auto candidate = text(run["candidate"]);
    if (!candidate.starts_with("defect:")) continue;
    std::vector<std::string> seen;
    for (const auto& one : run["failed"])
      seen.push_back(one["margin"].is_null() ? text(one["id"])
                                             : fmt::format("{} {}", text(one["id"]), times(one["margin"])));
    std::string named = "-";
    if (run.contains("diagnosis")) {
      std::vector<std::string> all;
      for (const auto& one : run["diagnosis"]["named"]) {
        std::vector<std::string> together;
        for (const auto& name : one) together.push_back(text(name));
        all.push_back(fmt::format("{}", fmt::join(together, " and ")));
      }
      named = all.empty() ? "not explained" : fmt::format("{}", fmt::join(all, " or "));
    }
    page +=
        fmt::format("| {}{} | {} | {} | {} | {:.1f} |\n", candidate.substr(7),
                    run["full_size"].get<bool>() ? " (full size)" : "", fmt::join(seen, ", "),
                    run.contains("stage") ? text(run["stage"]) : "-", named, run["seconds"].get<double>());
  }
  page +=
      "\n## Honest variants\n\nThe requirement nearest to its tolerance, and the share of the tolerance that "
      "its error takes.\n\n| variant | status | "
      "nearest | share | s |\n| --- | --- | --- "
      "| ---: | ---: |\n";
  for (const auto& run : document["runs"]) {
    const auto candidate = text(run["candidate"]);
    if (candidate.starts_with("defect:")) continue;
    const auto nearest = nearest_to_tolerance(run, document["conclusion"]["by_chance"]);
    page += fmt::format("| {}{} | {} | {} | {} | {:.1f} |\n", candidate.substr(candidate.find(':') + 1),
                        run["full_size"].get<bool>() ? " (full size)" : "",
                        run["failed"].empty()
                            ? (run["status"].get<int>() == 0 ? "passed" : "passed what it shows")
                            : "FAILED",
                        nearest.is_null() ? "-" : text(nearest["id"]),
                        nearest.is_null() ? "-" : times(nearest["share"]), run["seconds"].get<double>());
  }
  return page;
}

std::string campaign_matrix(const Json& document) {
  std::vector<std::string> columns;
  for (const auto& id : document["requirements"]) columns.push_back(text(id));
  std::vector<const Json*> rows;
  for (const auto& run : document["runs"])
    if (text(run["candidate"]).starts_with("defect:") && !run["full_size"].get<bool>()) rows.push_back(&run);
  constexpr int kCell = 11, kLeft = 250, kTop = 74;
  const int width = kLeft + kCell * static_cast<int>(columns.size()) + 40,
            height = kTop + kCell * static_cast<int>(rows.size()) + 46;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"t "
      "d\">\n<title id=\"t\">Which requirement sees "
      "which defect</title>\n<desc id=\"d\">{} defects in rows, {} requirements in columns; a cell is filled "
      "where the requirement fails. The same "
      "stands as a table in the report.</desc>\n",
      width, height, rows.size(), columns.size());
  svg +=
      "<style>text { font: 9px sans-serif; fill: #222 } .back { fill: #fff } .a { fill: #f3b27a } .b { fill: "
      "#7fb3e6 } .c { fill: #3f7fc4 } .d { "
      "fill: #1b4f8f } .f { fill: #333 } line { stroke: #ddd } .title { font-weight: 600; font-size: 12px "
      "}\n@media (prefers-color-scheme: dark) "
      "{ .back { fill: #16181c } text { fill: #ddd } line { stroke: #333 } .f { fill: #ccc } }</style>\n";
  svg += fmt::format("<rect class=\"back\" width=\"{}\" height=\"{}\"/>\n", width, height);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const int x = kLeft + kCell * static_cast<int>(i);
    svg += fmt::format(
        "<line x1=\"{0}\" x2=\"{0}\" y1=\"{1}\" y2=\"{2}\"/><text transform=\"translate({3} {4}) "
        "rotate(-60)\">{5}</text>\n",
        x, kTop, height - 46, x + 8, kTop - 4, escaped(columns[i]));
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const int y = kTop + kCell * static_cast<int>(r);
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n", kLeft - 6, y + 9,
                       escaped(text((*rows[r])["candidate"]).substr(7)));
    for (const auto& one : (*rows[r])["failed"]) {
      const auto at = std::find(columns.begin(), columns.end(), text(one["id"]));
      if (at == columns.end()) continue;
      svg += fmt::format(
          "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"><title>{} fails "
          "{}{}</title></rect>\n",
          shade(one["margin"]), kLeft + kCell * static_cast<int>(at - columns.begin()) + 1, y + 1, kCell - 2,
          kCell - 2, escaped(text((*rows[r])["candidate"]).substr(7)), escaped(text(one["id"])),
          one["margin"].is_null() ? "" : fmt::format(", {} times its tolerance", times(one["margin"])));
    }
  }
  const std::pair<const char*, const char*> legend[] = {{"f", "an exact comparison"},
                                                        {"a", "below 50 times the tolerance"},
                                                        {"b", "50 to 1,000"},
                                                        {"c", "to 100,000"},
                                                        {"d", "more"}};
  int x = kLeft;
  for (const auto& [style, words] : legend) {
    svg += fmt::format(
        "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"10\" height=\"10\"/><text x=\"{}\" "
        "y=\"{}\">{}</text>\n",
        style, x, height - 26, x + 14, height - 17, words);
    x += 30 + 5 * static_cast<int>(std::string(words).size());
  }
  return svg + "</svg>\n";
}

}  // namespace plumbline
