#include "reports/bundle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "harness/result/json_text.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"
#include "harness/system/visible.hpp"
#include "reports/collection.hpp"

namespace plumbline::reports {
namespace {

constexpr std::size_t longest_log = 1U << 20U;  // bytes
constexpr std::size_t longest_line = 2000;      // characters of a log

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." && name != manifest_name &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

constexpr const char* manifest_format = "plumbline-manifest";

[[noreturn]] void refuse_manifest(const std::string& path, const std::string& what) {
  throw InputError(fmt::format("{}: {}", visible(path), what));
}

Json manifest_at(const std::string& text, const std::string& path) {
  auto document = parse_json(text, path);
  if (!document.is_object() || document.value("format", Json()) != manifest_format)
    refuse_manifest(path,
                    "is no Plumbline manifest: expected an object with \"format\": \"plumbline-manifest\"");
  if (document.value("version", Json()) != 1)
    refuse_manifest(path,
                    "\"version\" is not 1, the only one that this program knows; use the Plumbline that "
                    "wrote it");
  return document;
}

}  // namespace

Entry entry_of(const File& file) {
  return {file.name, sha256(file.content), file.content.size()};
}

std::string to_manifest(const std::vector<Entry>& entries) {
  Json files = Json::array();
  for (const Entry& entry : entries)
    files.push_back({{"name", entry.name}, {"sha256", entry.sha256}, {"bytes", entry.bytes}});
  return dump({{"format", manifest_format}, {"version", 1}, {"files", std::move(files)}});
}

std::string to_claim(const std::set<std::string>& names) {
  return dump({{"format", manifest_format}, {"version", 1}, {"being_written", names}});
}

std::vector<Entry> from_manifest(const std::string& text, const std::string& path) {
  const auto document = manifest_at(text, path);
  if (document.contains("being_written"))
    refuse_manifest(path,
                    "says that the bundle was not written to its end; run plumbline verify or report render "
                    "again");
  const auto files = document.find("files");
  if (files == nullptr || !files->is_array()) refuse_manifest(path, "has no list of \"files\"");
  std::vector<Entry> entries;
  std::set<std::string> names;
  for (const auto& item : *files) {
    const auto is = [&](const char* key, auto kind) { return item.contains(key) && (item[key].*kind)(); };
    if (!item.is_object() || !is("name", &Json::is_string) || !is("sha256", &Json::is_string) ||
        !is("bytes", &Json::is_unsigned))
      refuse_manifest(path,
                      fmt::format("files[{}] does not have a name, a sha256 and bytes", entries.size()));
    entries.push_back({item["name"].text(), item["sha256"].text(), item["bytes"].get<std::uint64_t>()});
    if (!is_plain_name(entries.back().name))
      refuse_manifest(path, fmt::format("files[{}] is not the plain name of a file: {}", entries.size() - 1,
                                        visible(entries.back().name, 60)));
    if (!names.insert(entries.back().name).second)
      refuse_manifest(path, "names a file twice: " + visible(entries.back().name, 60));
  }
  return entries;
}

std::set<std::string> claimed(const std::string& text, const std::string& path) {
  std::set<std::string> names;
  const auto document = manifest_at(text, path);
  if (const auto claim = document.find("being_written"); claim == nullptr) {
    for (const Entry& entry : from_manifest(text, path)) names.insert(entry.name);
  } else {
    for (const auto& name : *claim) names.insert(name.is_string() ? name.get<std::string>() : "");
  }
  return names;
}

File log_of(const std::string& name, const std::string& text) {
  std::string safe = name.substr(0, 60);
  std::replace_if(
      safe.begin(), safe.end(),
      [](char c) {
        return std::string_view("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
                   .find(c) == std::string_view::npos;
      },
      '_');
  std::string_view rest = text;
  std::string shown;
  if (rest.size() > longest_log) {
    shown = fmt::format("({} bytes before these are left out)\n", rest.size() - longest_log);
    rest.remove_prefix(rest.size() - longest_log);
  }
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    shown += visible(rest.substr(0, end), longest_line) + "\n";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {fmt::format("log-{}.txt", safe), shown};
}

std::set<std::string> names_of_bundles() {
  std::set<std::string> names = {manifest_name};
  for (const auto& one : renderings()) names.insert(one.name);
  for (const auto& one : collection_renderings()) names.insert(one.name);
  return names;
}

// Renderings are made from the written document, in which long texts are cut and invalid bytes are replaced,
// and not from the result in memory.
void write(const Result& result, const std::string& directory, const std::vector<File>& logs) {
  std::vector<File> files = rendered(from_json(to_json(result), "result.json"), renderings());
  std::set<std::string> names;
  for (File log : logs) {
    for (int more = 2; !names.insert(log.name).second; ++more)
      log.name = fmt::format("{}-{}.txt", log.name.substr(0, log.name.size() - 4), more);
    files.push_back(std::move(log));
  }
  write_bundle(files, directory);
}

void write(const Result& result, const std::string& directory) {
  write(result, directory, {});
}

}  // namespace plumbline::reports
