#include <fmt/format.h>

#include <tuple>

#include "harness/system/error.hpp"
#include "harness/system/json.hpp"
#include "reports/page.hpp"

namespace plumbline::reports {

const std::string* Translation::find(const std::string& english) const {
  const auto found = sentences.find(english);
  return found == sentences.end() ? nullptr : &found->second;
}

void read_translation(Translation& translation, const std::string& text, const std::string& path) {
  const auto document = parse_json(text, path);
  for (const auto& [part, english, chinese] : {std::tuple{"chapters", "title", "title_zh"},
                                               {"requirements", "statement", "statement_zh"},
                                               {"words", "en", "zh"}}) {
    if (!document.contains(part)) continue;
    const auto& entries = document[part];
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const auto& entry = entries[i];
      if (entry.contains(english) && !entry.contains(chinese)) continue;  // the page has it in English
      for (const char* key : {english, chinese})
        if (!entry.contains(key) || !entry[key].is_string() || entry[key] == "")
          throw InputError(fmt::format("{}: entry {} of '{}' has no text '{}'", path, i, part, key));
      translation.sentences[entry[english].text()] = entry[chinese].text();
    }
  }
}

extern const char* const requirements_json;  // translation_data.cpp.in
extern const char* const comparison_json;
extern const char* const plots_zh_json;

const Translation& in_chinese() {
  static const Translation chinese = [] {
    Translation all;
    read_translation(all, requirements_json, "fixtures/requirements.json");
    read_translation(all, comparison_json, "fixtures/comparison.json");
    read_translation(all, plots_zh_json, "fixtures/plots.zh.json");
    return all;
  }();
  return chinese;
}

}  // namespace plumbline::reports
