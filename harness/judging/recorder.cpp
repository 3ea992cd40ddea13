#include "harness/judging/recorder.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "harness/result/sentences.hpp"
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

void worsen(reports::Verdict& verdict, reports::Verdict found) {
  verdict = std::max(verdict, found);
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

Recorder::Recorder(RequirementList list, const std::string& candidate_kind)
    : list_(std::move(list)), kind_(candidate_kind) {
  for (auto& entry : list_.entries) {
    const bool shown = entry.applicable.contains(kind_);
    entry.requirement.verdict = shown ? reports::Verdict::not_assessed : reports::Verdict::not_applicable;
    entry.requirement.reason =
        shown ? "no check looked at it" : fmt::format("a candidate of kind {} can never show it", kind_);
  }
}

RequirementList::Entry& Recorder::find(const std::string& id) {
  const auto found = std::find_if(list_.entries.begin(), list_.entries.end(),
                                  [&](const auto& entry) { return entry.requirement.id == id; });
  if (found == list_.entries.end()) throw std::logic_error("no requirement " + id);
  return *found;
}

bool Recorder::knows(const std::string& id) const {
  return std::any_of(list_.entries.begin(), list_.entries.end(),
                     [&](const auto& entry) { return entry.requirement.id == id; });
}

bool Recorder::applicable(const std::string& id) const {
  return std::any_of(list_.entries.begin(), list_.entries.end(), [&](const auto& entry) {
    return entry.requirement.id == id && entry.applicable.contains(kind_);
  });
}

void Recorder::begin(const std::string& id) {
  auto& requirement = find(id).requirement;
  current_ = id;
  running_ = true;
  checks_before_ = requirement.checks.size();
  if (begun_.insert(id).second) {
    requirement.verdict = reports::Verdict::pass;
    requirement.reason = {};
  }
}

void Recorder::add(reports::Check check) {
  auto& requirement = find(current_).requirement;
  if (check.elements == 0)
    error(check.form == reports::Form::nothing ? reports::sentence_of(check) : "nothing was compared");
  else if (!check.within)
    worsen(requirement.verdict, reports::Verdict::fail);
  requirement.checks.push_back(std::move(check));
}

void Recorder::not_assessed(const std::string& reason) {
  auto& requirement = find(current_).requirement;
  worsen(requirement.verdict, reports::Verdict::not_assessed);
  if (requirement.reason.empty()) requirement.reason = reason;
}

void Recorder::error(const std::string& reason) {
  auto& requirement = find(current_).requirement;
  worsen(requirement.verdict, reports::Verdict::error);
  if (requirement.reason.empty()) requirement.reason = reason;
}

void Recorder::finding(const std::string& text) {
  auto& finding = find(current_).requirement.finding;
  finding += (finding.empty() ? "" : "; ") + text;
}

void Recorder::add_plot(reports::Plot plot) {
  plot.requirement = current_;
  plots_.push_back(std::move(plot));
}

const reports::Requirement& Recorder::end(double seconds) {
  auto& requirement = find(current_).requirement;
  requirement.seconds += seconds;
  running_ = false;
  if (requirement.verdict == reports::Verdict::pass && requirement.checks.size() == checks_before_)
    error("its test compared nothing");
  return requirement;
}

void Recorder::skip(const std::string& id, const reports::Reason& reason) {
  auto& requirement = find(id).requirement;
  if (requirement.verdict == reports::Verdict::not_assessed && !begun_.contains(id))
    requirement.reason = reason;
}

void Recorder::declare(const std::set<std::string>& capabilities, const std::string& who) {
  for (const auto& entry : list_.entries)
    for (const auto& need : entry.needs)
      if (!capabilities.contains(need))
        exclude(entry.requirement.id, fmt::format("{} does not declare '{}'", who, need));
}

void Recorder::exclude(const std::string& id, const std::string& reason) {
  auto& requirement = find(id).requirement;
  if (requirement.verdict != reports::Verdict::not_assessed || begun_.contains(id)) return;
  requirement.verdict = reports::Verdict::not_applicable;
  requirement.reason = reason;
}

int Recorder::chapter(const std::string& word) const {
  for (const auto& known : list_.chapters)
    if (word == std::to_string(known.number)) return known.number;
  if (const auto found = list_.by_name.find(word); found != list_.by_name.end()) return found->second;
  std::vector<std::string> all;
  for (const auto& known : list_.chapters) {
    all.push_back(std::to_string(known.number));
    for (const auto& [name, number] : list_.by_name)
      if (number == known.number) all.back() += " " + name;
  }
  throw InputError(
      fmt::format("there is no chapter '{}'; there are {}", printable(word, 40), fmt::join(all, ", ")));
}

std::vector<reports::Requirement> Recorder::requirements() const {
  std::vector<reports::Requirement> all;
  for (const auto& entry : list_.entries) {
    all.push_back(entry.requirement);
    if (running_ && entry.requirement.id == current_ && all.back().verdict == reports::Verdict::pass) {
      all.back().verdict = reports::Verdict::error;
      all.back().reason = "its test did not end";
    }
  }
  return all;
}

}  // namespace plumbline
