#include "harness/catalogue/requirement_list.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

constexpr std::uint64_t kLargestFile = 4 << 20;

std::string text_of(const Json& object, const char* key, const std::string& where) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_string())
    throw InputError(fmt::format("{}: expected '{}' to be a string", where, key));
  return object[key].get<std::string>();
}

int chapter_of(const Json& object, const char* key, const std::string& where) {
  constexpr unsigned kMost = 99;
  if (!object.is_object() || !object.contains(key) || !object[key].is_unsigned() ||
      object[key].get<std::uint64_t>() < 1 || object[key].get<std::uint64_t>() > kMost)
    throw InputError(fmt::format("{}: expected '{}' to be a whole number from 1 to {}", where, key, kMost));
  return object[key].get<int>();
}

const Json& list_of(const Json& object, const char* key, const std::string& where) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_array() || object[key].empty())
    throw InputError(fmt::format("{}: expected '{}' to be a list, not empty", where, key));
  return object[key];
}

}  // namespace

RequirementList read_requirements(const std::filesystem::path& file) {
  const auto place = file.string();
  const auto json = parse_json(read_text(file, kLargestFile), place);
  RequirementList list;
  const auto has_chapter = [&](int number) {
    return std::any_of(list.chapters.begin(), list.chapters.end(),
                       [&](const auto& chapter) { return chapter.number == number; });
  };
  for (const auto& item : list_of(json, "chapters", place)) {
    const auto number = chapter_of(item, "number", place);
    if (has_chapter(number)) throw InputError(fmt::format("{}: chapter {} stands twice", place, number));
    list.chapters.push_back({number, text_of(item, "title", place)});
    if (item.contains("name") && !list.by_name.emplace(text_of(item, "name", place), number).second)
      throw InputError(fmt::format("{}: two chapters have the name of chapter {}", place, number));
  }
  for (const auto& item : list_of(json, "requirements", place)) {
    RequirementList::Entry entry;
    auto& requirement = entry.requirement;
    requirement.id = text_of(item, "id", place);
    const auto where = fmt::format("{}: {}", place, printable(requirement.id));
    requirement.statement = text_of(item, "statement", where);
    requirement.source = text_of(item, "source", where);
    requirement.chapter = chapter_of(item, "chapter", where);
    if (!has_chapter(requirement.chapter))
      throw InputError(fmt::format("{}: there is no chapter {}", where, requirement.chapter));
    const auto level = text_of(item, "level", where);
    if (level != "must" && level != "should")
      throw InputError(where + ": 'level' is neither must nor should");
    requirement.level = level == "must" ? reports::Level::must : reports::Level::should;
    for (const auto& kind : list_of(item, "applicable", where)) {
      if (!kind.is_string()) throw InputError(where + ": expected 'applicable' to list kinds of candidates");
      entry.applicable.insert(kind.get<std::string>());
    }
    if (item.contains("needs"))
      for (const auto& need : list_of(item, "needs", where)) {
        if (!need.is_string()) throw InputError(where + ": expected 'needs' to list capabilities");
        entry.needs.push_back(need.get<std::string>());
      }
    for (const auto& other : list.entries)
      if (other.requirement.id == requirement.id) throw InputError(where + ": stands twice");
    list.entries.push_back(std::move(entry));
  }
  return list;
}

}  // namespace plumbline
