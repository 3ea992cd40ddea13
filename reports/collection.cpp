#include "reports/collection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <tuple>

#include "harness/result/json_text.hpp"
#include "harness/result/words.hpp"
#include "harness/system/error.hpp"
#include "harness/system/json.hpp"
#include "harness/system/visible.hpp"
#include "reports/junit.hpp"
#include "reports/markdown.hpp"
#include "reports/page.hpp"

namespace plumbline::reports {
namespace {

constexpr const char* format_name = "plumbline-collection";

std::array<std::string, 4> identity(const Header& header) {
  return {header.candidate, header.candidate_sha256, header.device, header.dtype};
}

std::string title_of(const Header& header) {
  return fmt::format("{} ({}, {})", visible(header.candidate, 60), visible(header.device, 40),
                     visible(header.dtype, 20));
}

const char* mark_of(const Header& header, const Requirement* requirement) {
  if (requirement == nullptr) return "";
  if (waiver_of(header, *requirement) != nullptr) return "✘ waived";
  return mark_of(requirement->verdict);
}

// Every requirement of any of them, in the order of the first that has it.
std::vector<const Requirement*> all_requirements(const Collection& collection) {
  std::vector<const Requirement*> all;
  std::set<std::string> ids;
  for (const Result& result : collection.results)
    for (const Requirement& one : result.requirements)
      if (ids.insert(one.id).second) all.push_back(&one);
  return all;
}

const Requirement* find(const Result& result, const std::string& id) {
  const auto found = std::find_if(result.requirements.begin(), result.requirements.end(),
                                  [&](const Requirement& one) { return one.id == id; });
  return found == result.requirements.end() ? nullptr : &*found;
}

// The format that a document names; empty: it names none.
std::string format_of(const std::string& text) try {
  const auto document = parse_json(text, "");
  const auto format = document.find("format");
  return format == nullptr || !format->is_string() ? "" : format->get<std::string>();
} catch (const InputError&) {
  return {};  // the error is reported where it is read
}

}  // namespace

const std::vector<Rendering<Collection>>& collection_renderings() {
  static const std::vector<Rendering<Collection>> list = {
      {"collection.json", [](const Collection& collection) { return to_json(collection); }},
      {"result.xml", [](const Collection& collection) { return to_junit(collection); }},
      {"summary.md", [](const Collection& collection) { return to_markdown(collection); }},
      {"report.html",
       [](const Collection& collection) { return to_html(collection.results, Language::english); }},
      {"report.zh.html",
       [](const Collection& collection) {
         return to_html(collection.results, Language::chinese, &in_chinese());
       }},
  };
  return list;
}

int status_of(const Collection& collection) {
  for (const int status : {1, 2, 3})
    for (const Result& result : collection.results)
      if (result.footer.status == status) return status;
  return collection.results.empty() ? 3 : 0;
}

std::string verdict_of(const Collection& collection) {
  const auto conforming = std::count_if(collection.results.begin(), collection.results.end(),
                                        [](const Result& result) { return result.footer.status == 0; });
  const std::string name =
      collection.results.empty() ? "" : visible(collection.results.front().header.specification, 100);
  return fmt::format("{} of {} conform to {}", conforming, collection.results.size(), name);
}

std::string discord(const Collection& collection) {
  if (collection.results.empty()) return "there is no result";
  const Header& first = collection.results.front().header;
  std::set<std::array<std::string, 4>> seen;
  for (const Result& result : collection.results) {
    const Header& header = result.header;
    const std::string name = title_of(header);
    if (header.shard) return fmt::format("{} is {}, not a whole run", name, in_words(*header.shard));
    if (header.baseline) return name + " was compared with another and not judged";
    if (header.specification_sha256 != first.specification_sha256)
      return fmt::format("{} was judged against another specification, {} and not {}", name,
                         visible(header.specification, 60), visible(first.specification, 60));
    if (header.plumbline_version != first.plumbline_version)
      return fmt::format("{} was judged by Plumbline {}, the first by {}", name,
                         visible(header.plumbline_version, 40), visible(first.plumbline_version, 40));
    if (!seen.insert(identity(header)).second) return name + " is there twice";
  }
  return {};
}

std::string to_json(const Collection& collection) {
  Json results = Json::array();
  for (const Result& result : collection.results)
    results.push_back(parse_json(to_json(result), result.header.candidate));
  return dump({{"format", format_name}, {"version", 1}, {"results", std::move(results)}});
}

bool is_collection(const std::string& text) {
  return format_of(text) == format_name;
}

bool is_document(const std::string& text) {
  const std::string format = format_of(text);
  return format == format_name || format == "plumbline-result";
}

Collection collection_from_json(const std::string& text, const std::string& path) {
  const auto document = parse_json(text, path);
  const std::string name = visible(path);
  if (!document.is_object() || document.value("format", Json()) != format_name)
    throw InputError(name + ": this is no collection of Plumbline results");
  if (document.value("version", Json()) != 1)
    throw InputError(
        name +
        ": its version is not 1, the only one that this program knows; use the Plumbline that wrote it");
  const auto results = document.find("results");
  if (results == nullptr || !results->is_array() || document.size() != 3)
    throw InputError(name + ": expected \"format\", \"version\" and a list of \"results\", and nothing else");
  Collection collection;
  for (std::size_t i = 0; i < results->size(); ++i)
    collection.results.push_back(from_json((*results)[i].dump(), fmt::format("{}: results[{}]", path, i)));
  if (const std::string why = discord(collection); !why.empty())
    throw InputError(fmt::format("{}: {}; these results cannot stand beside each other", name, why));
  return collection;
}

std::string to_markdown(const Collection& collection) {
  const int status = status_of(collection);
  std::string text = fmt::format("## {} {}\n\n",
                                 status == 0   ? "✔ Pass:"
                                 : status == 1 ? "✘ Fail:"
                                 : status == 3 ? "? Incomplete:"
                                               : "! Error:",
                                 escaped(verdict_of(collection)));
  text += "| | Candidate | Device | Type | Verdict |\n| ---: | --- | --- | --- | --- |\n";
  std::string head = "| Requirement |", rule = "| --- |";
  for (std::size_t i = 0; i < collection.results.size(); ++i) {
    const auto& [header, footer] = std::tie(collection.results[i].header, collection.results[i].footer);
    text += fmt::format("| {} | {} | {} | {} | {} |\n", i + 1, escaped(header.candidate),
                        escaped(header.device), escaped(header.dtype), escaped(footer.verdict, 600));
    head += fmt::format(" {} |", i + 1);
    rule += " :---: |";
  }
  text += fmt::format("\n{}\n{}\n", head, rule);
  for (const Requirement* one : all_requirements(collection)) {
    text += fmt::format("| {} {}{} |", escaped(one->id, 60), escaped(one->statement),
                        one->level == Level::should ? " (should)" : "");
    for (const Result& result : collection.results)
      text += fmt::format(" {} |", mark_of(result.header, find(result, one->id)));
    text += "\n";
  }
  return text + "\n✔ passed, ✘ failed, ! error, ? not assessed, – not applicable\n";
}

std::string to_junit(const Collection& collection) {
  std::vector<JunitPart> parts;
  for (const Result& result : collection.results) parts.push_back({title_of(result.header) + ": ", &result});
  return to_junit(parts);
}

}  // namespace plumbline::reports
