// The bundle: one document, everything that derives from it, and a manifest that says what belongs to it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "harness/result/result.hpp"
#include "reports/page.hpp"

namespace plumbline::reports {

constexpr std::uint64_t largest_file = 1U << 26U;  // bytes of a file of a bundle that is read back

struct File {
  std::string name, content;
};

// A file that is derived from a document and from nothing else.
template <typename Document>
struct Rendering {
  const char* name;  // of its file
  std::string (*make)(const Document&);
};

std::string to_ctrf(const Result& result);        // Common Test Report Format
std::string to_statement(const Result& result);   // in-toto Statement v1, predicate test-result v0.1
std::string to_provenance(const Result& result);  // in-toto Statement v1, predicate SLSA provenance v1
std::string to_sarif(const Result& result);       // SARIF 2.1.0: what failed
std::string to_badge(const Result& result);       // SVG

// The one place where renderings of a result are listed: whatever stands here is written, made again by
// `report render` and compared by `report check`. In the order in which a bundle has them; result.json, the
// document itself, comes first.
inline const std::vector<Rendering<Result>>& renderings() {
  static const std::vector<Rendering<Result>> list = {
      {"result.json", to_json},
      {"result.xml", to_junit},
      {"summary.md", to_markdown},
      {"ctrf.json", to_ctrf},
      {"sarif.json", to_sarif},
      {"badge.svg", to_badge},
      {"statement.json", to_statement},
      {"provenance.json", to_provenance},
      {"report.html", [](const Result& result) { return to_html(result, Language::english); }},
      {"report.zh.html",
       [](const Result& result) { return to_html(result, Language::chinese, &in_chinese()); }},
  };
  return list;
}

// Every rendering of `document`.
template <typename Document>
std::vector<File> rendered(const Document& document, const std::vector<Rendering<Document>>& list) {
  std::vector<File> files;
  for (const auto& one : list) files.push_back({one.name, one.make(document)});
  return files;
}

constexpr const char* manifest_name = "manifest.json";

// One file in the manifest.
struct Entry {
  std::string name, sha256;
  std::uint64_t bytes = 0;
};

Entry entry_of(const File& file);
std::string to_manifest(const std::vector<Entry>& entries);

// The entries of a manifest. Errors: InputError for what is none, and for a name that is not that of a file
// beside it or stands twice.
std::vector<Entry> from_manifest(const std::string& text, const std::string& path);

// The content of manifest.json while a bundle is being written: the names of its files. Readers of such a
// bundle get an InputError.
std::string to_claim(const std::set<std::string>& names);

// The names that a manifest or a claim lists. Errors: as from_manifest().
std::set<std::string> claimed(const std::string& text, const std::string& path);

// The log of a candidate as a file of a bundle: "log-NAME.txt", without control characters, only the last
// MiB.
File log_of(const std::string& name, const std::string& text);

// Writes `files` and their manifest into `directory` (made if missing). If the program is killed, the
// directory holds the old bundle or the new one, complete. Where the directory holds other directories, or
// cannot be swapped for another, it may hold neither: then the manifest says that the bundle is not complete.
// Files that no manifest lists stay, and one by a name that is to be written is refused. Errors: InputError
// when the directory cannot be written, or another program writes there for longer than half a minute.
void write_bundle(const std::vector<File>& files, const std::filesystem::path& directory);

// Errors: InputError where files that are no bundle's have the names of a bundle's.
void require_room_for_bundle(const std::filesystem::path& directory);

// The names of the files of bundles, of results and of collections; logs are not among them.
std::set<std::string> names_of_bundles();

// As write() in result.hpp, with the candidate's logs.
void write(const Result& result, const std::string& directory, const std::vector<File>& logs);

}  // namespace plumbline::reports
