#include "harness/model/departures/catalogue.hpp"

#include <fmt/format.h>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {

std::vector<Defect> read_catalogue(const std::filesystem::path& fixtures) {
  const auto file = fixtures / "defects.json";
  const auto all = parse_json(read_text(file, 1 << 20), file.string());
  const auto advice_file = fixtures / "advice.json";
  const auto advice = parse_json(read_text(advice_file, 1 << 20), advice_file.string());
  std::vector<Defect> defects;
  try {
    for (const auto& entry : all) {
      Defect defect;
      defect.name = entry.at("name").text();
      defect.chapter = entry.at("chapter").get<int>();
      defect.severity = entry.at("severity").text();
      defect.departure = entry.at("departure").text();
      defect.arises = entry.at("arises").text();
      defect.looks_like = entry.at("looks_like").text();
      defect.seen_by = entry.at("seen_by").get<std::vector<std::string>>();
      defect.stage = parse_stage(entry.value("stage", ""));
      defect.decides = entry.value("decides", true);
      if (!advice.contains(defect.name))
        throw InputError(
            fmt::format("{}: no advice on '{}'", advice_file.string(), printable(defect.name, 60)));
      defect.advice = advice.at(defect.name).at("en").text();
      defect.advice_in_chinese = advice.at(defect.name).at("zh").text();
      defects.push_back(std::move(defect));
    }
  } catch (const JsonError& error) {
    throw InputError(fmt::format("{}: entry {}: {}", file.string(), defects.size(), error.what()));
  }
  return defects;
}

}  // namespace plumbline
