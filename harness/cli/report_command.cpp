#include "harness/cli/commands.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/catalogue/defect_catalogue.hpp"
#include "harness/catalogue/requirement_list.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/output.hpp"
#include "reports/bundle.hpp"
#include "reports/check.hpp"
#include "reports/collection.hpp"
#include "reports/diff.hpp"
#include "reports/merge.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;
using namespace reports;

constexpr const char* kCheckHelp =
    "Recomputes every hash in manifest.json, renders every file again from the document and compares it\n"
    "byte for byte, recounts the totals, derives each verdict again from its recorded numbers and\n"
    "tolerances, writes each check's sentence again from its values, and compares requirements, chapters\n"
    "and advice with those of this version.\n"
    "This finds accidents and inconsistencies: a damaged, cut, mixed or carelessly edited bundle. It\n"
    "does not find a bundle that was forged as a whole, nor edits of values that nothing else depends\n"
    "on: names, hashes of models, devices, reasons, findings, times and the points of pictures. Only a\n"
    "signature protects those.\n"
    "Sign statement.json with your own tool. It names the SHA-256 of result.json, from which all else\n"
    "derives; only the manifest lists logs:\n"
    "  cosign attest-blob --statement statement.json --bundle statement.json.sigstore.json\n"
    "  gpg --armor --detach-sign statement.json\n"
    "Exit status: 0 the bundle is sound, whatever its verdict; 1 it is not; 2 there is no bundle.";

constexpr const char* kRenderHelp =
    "Renders result.json or collection.json in its own directory. A document with another name needs\n"
    "--out.\n"
    "Exit status: 0 rendered, whatever the verdict; 2 the document cannot be read, or the files cannot\n"
    "             be written.";

constexpr const char* kMergeHelp =
    "Merges all shards of one run (verify --shard I/N) into the document of that run. Puts whole results\n"
    "of several candidates, devices or types side by side in a collection.\n"
    "Exit status: that of the merged verdict, as for verify; for a collection, the worst of its results;\n"
    "             also 2 if the documents cannot be merged.";

constexpr const char* kDiffHelp =
    "Exit status: 0 no requirement is worse; 1 at least one is worse; 2 a document cannot be read, or\n"
    "             the two are of different specifications.";

std::string shown(const fs::path& path) {
  return printable(path.string());
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// The document in a bundle, if the path is a directory, or else the path.
fs::path document_of(const fs::path& path) {
  if (!is_there(path))
    throw InputError(
        fmt::format("{}: no such file or directory; expected a bundle or its result.json", shown(path)));
  if (!is_folder(path)) return path;
  const fs::path collection = path / "collection.json";
  return is_there(collection) ? collection : path / "result.json";
}

// The directory of a document.
fs::path directory_of(const fs::path& document) {
  return document.has_parent_path() ? document.parent_path() : fs::path(".");
}

struct Document {
  fs::path file;
  std::optional<Result> result;  // either this
  Collection collection;         // or this
};

Document read_document(const fs::path& path) {
  Document document{document_of(path), {}, {}};
  const std::string text = read_text(document.file, largest_file);
  if (is_collection(text))
    document.collection = collection_from_json(text, document.file.string());
  else
    document.result = from_json(text, document.file.string());
  return document;
}

Result read_result(const fs::path& path) {
  Document document = read_document(path);
  if (!document.result)
    throw InputError(
        fmt::format("{}: is a collection; name the result.json of one candidate", shown(document.file)));
  return *std::move(document.result);
}

Examiner examiner_of(const CommandContext& command_context) {
  Examiner examiner{
      fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr))), command_context.version, {}, {}};
  for (const char* name : {"requirements.json", "comparison.json"}) {
    const fs::path file = command_context.data / "fixtures" / name;
    const RequirementList list = read_requirements(file);
    Known& known = examiner.known[sha256_of_file(file).substr(0, 16)];
    known.chapters = list.chapters;
    known.compares = name == std::string("comparison.json");
    for (const auto& entry : list.entries) known.requirements.push_back(entry.requirement);
  }
  for (const Defect& defect : read_catalogue(command_context.data / "fixtures"))
    examiner.advice[defect.name] = {defect.name, defect.advice, defect.advice_in_chinese};
  return examiner;
}

// The candidate's logs beside a document. Errors: InputError for one that does not match the manifest.
std::vector<File> logs_beside(const fs::path& document) {
  std::vector<File> logs;
  const fs::path manifest = directory_of(document) / manifest_name;
  if (!is_there(manifest)) return logs;
  for (const Entry& entry : from_manifest(read_text(manifest, largest_file), manifest.string())) {
    if (!entry.name.starts_with("log-")) continue;
    File log{entry.name, read_text(manifest.parent_path() / entry.name, largest_file)};
    if (entry_of(log).sha256 != entry.sha256)
      throw InputError(fmt::format("{}: does not match manifest.json; `plumbline report check` tells more",
                                   shown(manifest.parent_path() / entry.name)));
    logs.push_back(std::move(log));
  }
  return logs;
}

void write_document(const Document& document, const fs::path& out, const std::vector<File>& logs) {
  require_writable(out, "--out");
  if (document.result)
    write(*document.result, out.string(), logs);
  else
    write_bundle(rendered(document.collection, collection_renderings()), out);
}

std::string verdict(const Document& document) {
  return document.result ? document.result->footer.verdict : verdict_of(document.collection);
}

int render(const fs::path& path, const std::string& out, const std::string& language) {
  const Document document = read_document(path);
  if (out.empty() && document.file.filename() != (document.result ? "result.json" : "collection.json"))
    throw InputError(
        fmt::format("{}: has another name than {}; name a directory for its files with --out DIR",
                    shown(document.file), document.result ? "result.json" : "collection.json"));
  const fs::path directory = out.empty() ? directory_of(document.file) : fs::path(out);
  write_document(document, directory, logs_beside(document.file));
  const fs::path page = directory / (language == "zh" ? "report.zh.html" : "report.html");
  print_out("{}\nWritten to {}\n", verdict(document), shown(is_there(page) ? page : directory));
  return 0;
}

// Errors: InputError where the document is part of a bundle that is not sound.
void require_sound_bundle(const fs::path& document, const Examiner& examiner) {
  const fs::path directory = directory_of(document);
  const auto name = document.filename();
  if (!is_there(directory / manifest_name) || (name != "result.json" && name != "collection.json")) return;
  const Examined found = examine(directory, examiner);
  if (!found.findings.empty())
    throw InputError(
        fmt::format("{}: {}; `plumbline report check` tells more", shown(directory), found.findings.front()));
}

int merge(const std::vector<std::string>& names, const std::string& out, const Examiner& examiner) {
  std::vector<Source> sources;
  for (const std::string& name : names) {
    Document document = read_document(name);
    std::error_code ignored;
    if (fs::equivalent(directory_of(document.file), out, ignored))
      throw InputError(
          fmt::format("--out {}: contains {}, which is one of the inputs; name another directory", shown(out),
                      shown(document.file.filename())));
    require_sound_bundle(document.file, examiner);
    if (document.result) sources.push_back({name, *std::move(document.result)});
    for (Result& result : document.collection.results) sources.push_back({name, std::move(result)});
  }
  for (const Source& source : sources) {
    if (const std::string why = incompleteness(source.result, examiner); !why.empty())
      throw InputError(
          fmt::format("{}: {}; it was edited or damaged: write it again", printable(source.name), why));
    if (const std::string what = not_looked_at(source.result, examiner); !what.empty())
      print_out("note: {}: {}\n", printable(source.name), what);
  }
  const bool shards = std::any_of(sources.begin(), sources.end(), [](const Source& source) {
    return source.result.header.shard.has_value();
  });
  Document merged;
  if (shards)
    merged.result = merge_shards(std::move(sources));
  else
    merged.collection = collect(std::move(sources));
  write_document(merged, out, {});
  print_out("{}\nWritten to {}\n", verdict(merged), shown(out));
  return merged.result ? merged.result->footer.status : status_of(merged.collection);
}

int diff(const std::string& before, const std::string& after, const std::string& file) {
  const Difference found = difference(read_result(before), read_result(after));
  if (!file.empty()) {
    require_output(file, "-o", {before, after});
    write_atomically(file, to_markdown(found));
  }
  print_out("{}", to_text(found));
  return found.worse.empty() ? 0 : 1;
}

int check(const fs::path& directory, const Examiner& examiner) {
  if (!is_folder(directory))
    throw InputError(fmt::format(
        "{}: is no directory; name a bundle, as `plumbline verify --out DIR` writes it", shown(directory)));
  const Examined found = examine(directory, examiner);
  for (const std::string& finding : found.findings) print_out("{}\n", finding);
  for (const std::string& note : found.notes) print_out("note: {}\n", note);
  if (!found.verdict.empty()) print_out("Its verdict: {}\n", found.verdict);
  print_out(
      "{} files have the SHA-256 in the manifest; {} checks were recomputed from their numbers and "
      "tolerances, {} have "
      "no numbers and were taken as recorded\n",
      found.files, found.recomputed, found.facts);
  if (found.findings.empty())
    print_out(
        "The bundle is {}. This rules out accidents, not forgery: only a signature does, see report check "
        "--help\n",
        found.knows_all ? "complete and consistent" : "consistent; its completeness was not checked");
  else
    print_out("The bundle is not sound: {} {}\n", found.findings.size(),
              found.findings.size() == 1 ? "finding" : "findings");
  return found.findings.empty() ? 0 : 1;
}

struct Arguments {
  std::vector<std::string> names;
  std::string before, after, out, language = "en";
};

}  // namespace

void add_report(Command& all) {
  auto command = all.command(report_entry.name, report_entry.what);
  command.required();
  command.footer("Exit status: see the --help of each command.");
  const auto arguments = std::make_shared<Arguments>();

  auto rendering = command.command("render", "Write every report again from the document");
  rendering.option("document", arguments->before, "result.json, collection.json, or a bundle").required();
  rendering.option("--out", arguments->out, "directory to write to (default: the document's own)")
      .not_empty("is empty; name a directory");
  rendering.footer(kRenderHelp);
  rendering
      .option("--lang", arguments->language,
              "language of the page to name at the end: en or zh; both are written")
      .one_of({"en", "zh"})
      .shows_default();
  rendering.runs([arguments](const CommandContext&) {
    return render(arguments->before, arguments->out, arguments->language);
  });

  auto merging = command.command("merge", "Merge shards into one result, or put candidates side by side");
  merging.option("documents", arguments->names, "bundles, or their result.json").required();
  merging.option("--out", arguments->out, "directory to write to").required();
  merging.footer(kMergeHelp);
  merging.runs([arguments](const CommandContext& run) {
    return merge(arguments->names, arguments->out, examiner_of(run));
  });

  auto differing = command.command("diff", "Show what changed between two commits or two models");
  differing.option("old", arguments->before, "a bundle, or its result.json").required();
  differing.option("new", arguments->after, "another bundle, or its result.json").required();
  differing.option("-o,--output", arguments->out, "also write the differences to this file, as Markdown");
  differing.footer(kDiffHelp);
  differing.runs([arguments](const CommandContext&) {
    return diff(arguments->before, arguments->after, arguments->out);
  });

  auto checking = command.command("check", "Check that a bundle is complete, unedited and consistent");
  checking.option("directory", arguments->before, "a bundle").required();
  checking.footer(kCheckHelp);
  checking.runs(
      [arguments](const CommandContext& run) { return check(arguments->before, examiner_of(run)); });
}

}  // namespace plumbline
