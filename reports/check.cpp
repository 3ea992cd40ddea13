#include "reports/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "harness/result/contradictions.hpp"
#include "harness/result/words.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/visible.hpp"
#include "reports/bundle.hpp"
#include "reports/collection.hpp"

namespace plumbline::reports {
namespace {

namespace fs = std::filesystem;

const std::string* version_of(const Header& header, const std::string& name) {
  for (const auto& [other, version] : header.versions)
    if (other == name) return &version;
  return nullptr;
}

const Known* known_of(const Result& result, const Examiner& examiner) {
  const std::string* made_with = version_of(result.header, "requirements");
  const auto found = made_with == nullptr ? examiner.known.end() : examiner.known.find(*made_with);
  return found == examiner.known.end() ? nullptr : &found->second;
}

std::string today_against(const Waiver& waiver, const Header& header, const std::string& today) {
  if (!in_force(waiver, header) || waiver.expires >= today) return {};
  return fmt::format("the waiver of {} by {} expired on {}: judge the model again",
                     visible(waiver.requirement, 40), visible(waiver.who, 80), visible(waiver.expires, 20));
}

class Examination {
 public:
  Examination(const fs::path& directory, const Examiner& examiner)
      : directory_(directory), examiner_(examiner) {}

  Examined run() {
    list();
    const bool collection = files_.contains("collection.json");
    const std::string document = collection ? "collection.json" : "result.json";
    if (!files_.contains(manifest_name) && !files_.contains(document))
      throw InputError(
          fmt::format("{}: holds neither manifest.json nor result.json; expected a bundle as `plumbline "
                      "verify --out DIR` writes it",
                      visible(directory_.string())));
    hashes();
    try {
      if (!files_.contains(document)) throw InputError(document + " is missing");
      const std::string text = read(document);
      if (collection)
        recompute(collection_from_json(text, document));
      else
        recompute(from_json(text, document));
    } catch (const InputError& error) {
      say(error.what());
    }
    return std::move(found_);
  }

 private:
  void say(const std::string& finding) { found_.findings.push_back(finding); }

  std::string read(const std::string& name) const { return read_text(directory_ / name, largest_file); }

  void list() {
    std::error_code why;
    for (const auto& entry : fs::directory_iterator(directory_, why))
      files_[entry.path().filename().string()] = entry.symlink_status(why).type() == fs::file_type::regular;
    if (why)
      throw InputError(fmt::format("{}: cannot be read: {}", visible(directory_.string()), why.message()));
  }

  // Files that may lie beside a bundle's: the launcher's log of a build, and signatures of the statements.
  void look_beside(const std::string& name, bool regular) {
    if (name == "setup.log" && regular) return;
    if (regular && (name.starts_with("statement.json.") || name.starts_with("provenance.json.")))
      found_.notes.push_back(visible(name, 60) + ": counts as a signature, and was not checked");
    else
      say(fmt::format("{}: is not in manifest.json; a bundle holds nothing else: move it elsewhere",
                      visible(name, 60)));
  }

  void hash(const Entry& entry) {
    const std::string name = visible(entry.name, 60);
    const auto file = files_.find(entry.name);
    if (file == files_.end()) return say(name + ": is in manifest.json and missing here");
    if (!file->second) return say(name + ": is no regular file");
    const Entry is = entry_of({entry.name, read(entry.name)});
    if (is.bytes != entry.bytes || is.sha256 != entry.sha256)
      return say(fmt::format("{}: has {} bytes and SHA-256 {}, where manifest.json says {} and {}", name,
                             is.bytes, is.sha256, entry.bytes, visible(entry.sha256, 64)));
    ++found_.files;
    unchanged_.insert(entry.name);
  }

  void hashes() {
    if (!files_.contains(manifest_name))
      return say("manifest.json: is missing: the bundle was not written to its end");
    try {
      const std::string text = read(manifest_name);
      const auto entries = from_manifest(text, manifest_name);
      for (const Entry& entry : entries) {
        listed_.insert(entry.name);
        hash(entry);
      }
      if (to_manifest(entries) != text)
        say("manifest.json: is not as Plumbline writes it: it was edited or damaged");
      for (const auto& [name, regular] : files_)
        if (name != manifest_name && !listed_.contains(name)) look_beside(name, regular);
    } catch (const InputError& error) {
      say(error.what());
    }
  }

  template <typename Document>
  void compare(const Document& document, const std::vector<Rendering<Document>>& list,
               const std::string& written_by) {
    const std::string self = list.front().name;
    for (const auto& one : list) {
      const std::string name = one.name;
      if (files_.contains(manifest_name) && !listed_.contains(name))
        say(name + ": is not in manifest.json, and belongs to a bundle");
      // All renderings of an edited document differ; the edit itself is already a finding.
      if (!files_.contains(name) || (name != self && !unchanged_.contains(self))) continue;
      if (!files_.at(name) || read(name) == one.make(document)) continue;
      std::string finding = name == self
                                ? name +
                                      ": is not as this Plumbline writes it: it was edited, or is "
                                      "of an older version of the format"
                                : fmt::format("{}: is not what this version renders from {}", name, self);
      if (written_by != examiner_.version)
        finding += fmt::format(" (Plumbline {} wrote it, this is {}: check it with the one that wrote it)",
                               visible(written_by, 40), examiner_.version);
      say(finding);
    }
  }

  void recompute(const Result& result, const std::string& where) {
    for (const std::string& why : contradictions(result)) say(where + why);
    for (const std::string& why : {incompleteness(result, examiner_), wrong_advice(result, examiner_)})
      if (!why.empty()) say(where + why);
    if (const std::string what = not_looked_at(result, examiner_); !what.empty()) {
      found_.knows_all = false;
      found_.notes.push_back(where + what);
    }
    each_check(result, [&](const std::string&, const Check& check) {
      ++(check.worst_difference && check.tolerance ? found_.recomputed : found_.facts);
    });
    for (const Waiver& waiver : result.header.waivers)
      if (const std::string why = today_against(waiver, result.header, examiner_.today); !why.empty())
        say(where + why);
  }

  void recompute(const Result& result) {
    found_.verdict = result.footer.verdict;
    found_.status = result.footer.status;
    recompute(result, "result.json: ");
    compare(result, renderings(), result.header.plumbline_version);
  }

  void recompute(const Collection& collection) {
    found_.verdict = verdict_of(collection);
    found_.status = status_of(collection);
    for (std::size_t i = 0; i < collection.results.size(); ++i)
      recompute(collection.results[i], fmt::format("collection.json: results[{}]: ", i));
    compare(collection, collection_renderings(), collection.results.front().header.plumbline_version);
  }

  fs::path directory_;
  const Examiner& examiner_;
  std::map<std::string, bool> files_;  // those that are there: whether they are regular
  std::set<std::string> listed_;       // in the manifest
  std::set<std::string> unchanged_;    // of those, with the hash that it says
  Examined found_;
};

// Whether the advice ends with that of the catalogue. A {name} there stands for any figure, since figures
// depend on the specification.
bool ends_with_advice(std::string_view advice, std::string_view expected) {
  while (true) {
    const auto name = expected.rfind('{');
    const auto after = name == std::string_view::npos ? 0 : expected.find('}', name) + 1;
    if (!advice.ends_with(expected.substr(after))) return false;
    if (after == 0) return true;
    advice.remove_suffix(expected.size() - after);
    const auto end_of_text = advice.find_last_not_of("0123456789,.e+-M") + 1;
    if (end_of_text == advice.size()) return false;
    advice = advice.substr(0, end_of_text);
    expected = expected.substr(0, name);
  }
}

}  // namespace

std::string not_looked_at(const Result& result, const Examiner& examiner) {
  return known_of(result, examiner) != nullptr ? ""
                                               : "its requirements are not those of this Plumbline: missing "
                                                 "or altered requirements were not looked for";
}

// The advice must be the catalogue's; a sentence on a number or a place may precede it.
std::string wrong_advice(const Result& result, const Examiner& examiner) {
  if (!result.diagnosis || known_of(result, examiner) == nullptr || examiner.advice.empty()) return {};
  for (const Advice& one : result.diagnosis->advice) {
    const auto found = examiner.advice.find(one.defect.substr(0, one.defect.find_first_of("=@")));
    if (found == examiner.advice.end() || !ends_with_advice(one.english, found->second.english) ||
        !ends_with_advice(one.chinese, found->second.chinese))
      return fmt::format("diagnosis: the advice on {} is not the catalogue's", visible(one.defect, 60));
  }
  return {};
}

std::string incompleteness(const Result& result, const Examiner& examiner) {
  const Known* known = known_of(result, examiner);
  if (known == nullptr)
    return result.header.plumbline_version != examiner.version ||
                   version_of(result.header, "requirements") != nullptr
               ? ""
               : "it does not give the SHA-256 of its requirements, which this version of Plumbline always "
                 "writes";
  if (known->compares != result.header.baseline.has_value())
    return known->compares ? "its requirements are those of a comparison, but it names only one candidate"
                           : "its requirements are those of a judgement, but it names two candidates";
  const auto& actual = result.requirements;
  for (std::size_t i = 0; i < known->requirements.size(); ++i) {
    const Requirement& expected = known->requirements[i];
    const auto there = std::find_if(actual.begin(), actual.end(),
                                    [&](const Requirement& one) { return one.id == expected.id; });
    if (there == actual.end()) return fmt::format("the requirement {} is missing", expected.id);
    if (there->level != expected.level)
      return fmt::format("the requirement {} is a {}; the result says {}", expected.id,
                         to_string(expected.level), to_string(there->level));
    for (const auto& [what, is, has] : {std::tuple("", expected.statement, there->statement),
                                        std::tuple("from ", expected.source, there->source)})
      if (is != has)
        return fmt::format("the requirement {} is {}\"{}\"; the result says \"{}\"", expected.id, what,
                           visible(is, 200), visible(has, 200));
    if (there->chapter != expected.chapter)
      return fmt::format("the requirement {} is in chapter {}; the result has it in {}", expected.id,
                         expected.chapter, there->chapter);
    if (actual[i].id != expected.id)
      return fmt::format("the requirement {} is in the place of {}", visible(actual[i].id, 40), expected.id);
  }
  if (actual.size() > known->requirements.size())
    return fmt::format("there is no requirement {}", visible(actual[known->requirements.size()].id, 40));
  for (std::size_t i = 0; i < std::max(known->chapters.size(), result.chapters.size()); ++i) {
    const auto name = [&](const std::vector<Chapter>& chapters) {
      return i < chapters.size() ? visible(heading(chapters[i]), 100) : "nothing";
    };
    if (name(known->chapters) != name(result.chapters))
      return fmt::format("chapter {} is in the place of {}", name(result.chapters), name(known->chapters));
  }
  return {};
}

Examined examine(const fs::path& directory, const Examiner& examiner) {
  return Examination(directory, examiner).run();
}

}  // namespace plumbline::reports
