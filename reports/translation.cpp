#include <fmt/format.h>

#include "harness/system/error.hpp"
#include "harness/system/json.hpp"
#include "reports/page.hpp"

namespace plumbline::reports {

const std::string* Translation::find(const std::string& english) const {
  const auto found = sentences.find(english);
  return found == sentences.end() ? nullptr : &found->second;
}

Translation read_translation(const std::string& text, const std::string& path) {
  const auto document = parse_json(text, path);
  Translation translation;
  for (const char* part : {"chapters", "requirements", "words"}) {
    const auto entries = document.find(part);
    const auto refuse = [&](const std::string& what) {
      throw InputError(fmt::format("{}: {} {}; expected entries with the texts en and zh: install it again",
                                   path, part, what));
    };
    if (entries == nullptr || !entries->is_array()) refuse("is no array");
    for (std::size_t i = 0; i < entries->size(); ++i) {
      const auto& entry = (*entries)[i];
      const auto has = [&](const char* key) {
        return entry.is_object() && entry.contains(key) && entry[key].is_string() && entry[key] != "";
      };
      if (!has("en") || !has("zh")) refuse(fmt::format("has an entry [{}] without a text", i));
      translation.sentences[entry["en"].get<std::string>()] = entry["zh"].get<std::string>();
    }
  }
  return translation;
}

extern const char* const requirements_in_chinese;  // translation_data.cpp.in

const Translation& in_chinese() {
  static const Translation chinese =
      read_translation(requirements_in_chinese, "fixtures/requirements.zh.json");
  return chinese;
}

}  // namespace plumbline::reports
