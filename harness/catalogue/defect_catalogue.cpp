#include "harness/catalogue/defect_catalogue.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {

std::vector<Defect> read_catalogue(const std::filesystem::path& fixtures) {
  const auto file = fixtures / "defects.json";
  const auto all = parse_json(read_text(file, 1 << 20), file.string());
  std::vector<Defect> defects;
  std::string name;
  try {
    for (const auto& entry : all) {
      name.clear();
      Defect defect;
      name = defect.name = entry.at("name").text();
      defect.chapter = entry.at("chapter").get<int>();
      defect.severity = entry.at("severity").text();
      defect.departure = entry.at("departure").text();
      defect.arises = entry.at("arises").text();
      defect.looks_like = entry.at("looks_like").text();
      defect.seen_by = entry.at("seen_by").get<std::vector<std::string>>();
      defect.stage = parse_stage(entry.value("stage", ""));
      defect.longest = entry.value("longest", std::int64_t{604});
      defect.decides = entry.value("decides", true);
      defect.advice = entry.at("advice").text();
      defect.advice_in_chinese = entry.at("advice_zh").text();
      defects.push_back(std::move(defect));
    }
  } catch (const JsonError& error) {
    throw InputError(fmt::format("{}: entry {}, {}: {}", file.string(), defects.size(),
                                 name.empty() ? "which has no name" : printable(name, 60), error.what()));
  }
  return defects;
}

const Defect& defect_named(const std::string& name, const std::vector<Defect>& catalogue) {
  return *std::find_if(catalogue.begin(), catalogue.end(),
                       [&](const Defect& defect) { return defect.name == name; });
}

}  // namespace plumbline
