#include "reports/check.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <regex>
#include <set>
#include <tuple>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "reports/bundle.hpp"
#include "reports/collection.hpp"
#include "reports/localisation.hpp"
#include "reports/sentences.hpp"
#include "reports/text.hpp"
#include "reports/waivers.hpp"
#include "reports/words.hpp"

namespace plumbline::reports {
namespace {

namespace fs = std::filesystem;

// Why a check is not what its numbers make of it; empty where nothing speaks against it. The numbers of a
// tensor are those of the element that exceeds its tolerance most, so that they decide for all.
std::string contradiction(const Check& check) {
  if (check.identical == true && (!check.within || check.worst_difference.value_or(0) != 0))
    return "is said to be the same bit for bit, and to differ";
  if (!check.worst_difference || !check.tolerance) return {};
  const bool within = std::isfinite(*check.tolerance) && *check.worst_difference <= *check.tolerance;
  // Two settings may be written alike, and two tensors hold the same values, and be of other types.
  const bool exact = *check.worst_difference == 0 && *check.tolerance == 0;
  if (within == check.within || (exact && !check.within)) return {};
  return fmt::format("is off by {:.4g} where {:.4g} is allowed, and is said {}to be within that",
                     *check.worst_difference, *check.tolerance, check.within ? "" : "not ");
}

bool shows_a_failure(const Check& check) {
  return !check.within && check.elements > 0;
}

// What Recorder and conclude() make of checks, the other way round.
std::string contradiction(const Requirement& requirement) {
  if (std::string why = inconsistency(requirement); !why.empty()) return why;
  const bool failure = std::any_of(requirement.checks.begin(), requirement.checks.end(), shows_a_failure);
  if (requirement.verdict == Verdict::fail && !failure) return "no check of it failed";
  if (requirement.verdict != Verdict::fail && failure) return "a check of it failed";
  if (requirement.verdict == Verdict::pass && !requirement.reason.empty())
    return "it has a reason not to have";
  return {};
}

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

bool is_hexadecimal(const std::string& text) {
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_time(const std::string& text) {
  static const std::regex form("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]Z");
  return std::regex_match(text.substr(0, 40), form) && is_day(text.substr(0, 10));
}

// What is said of the run and cannot be.
std::vector<std::string> contradictions(const Header& header) {
  std::vector<std::string> found;
  const auto is_hash = [](const std::string& text) { return text.size() == 64 && is_hexadecimal(text); };
  if (!is_hash(header.specification_sha256) ||
      !(header.candidate_sha256.empty() || is_hash(header.candidate_sha256)))
    found.push_back("header: a SHA-256 has 64 lower-case hexadecimal digits");
  if (!is_time(header.started))
    found.push_back(
        fmt::format("header.started is {}, which is no time; expected one like 2026-12-31T23:59:59Z",
                    visible(header.started, 40)));
  if (const auto& commit = header.commit)
    if ((commit->id.size() != 40 && commit->id.size() != 64) || !is_hexadecimal(commit->id))
      found.push_back(fmt::format("header.commit.id is {}, which is none of git's: 40 or 64 digits",
                                  visible(commit->id, 80)));
  const bool runs_code = header.device != "none: nothing is run";
  const bool is_type =
      runs_code ? header.dtype == "f32" || header.dtype == "bf16" : header.dtype == "as stored";
  if (!is_type)
    found.push_back(fmt::format("header.dtype is {}, with {} as the device; expected {}",
                                visible(header.dtype, 40), visible(header.device, 60),
                                runs_code ? "f32 or bf16" : "as stored"));
  return found;
}

// The chapters that were asked for; empty for all of them.
std::set<int> asked_for(const std::string& scope) {
  std::set<int> chapters;
  static const std::regex form("chapter ([0-9]{1,4}(, [0-9]{1,4})*)");
  if (!std::regex_match(scope.substr(0, 1000), form)) return chapters;
  for (std::size_t at = 0; (at = scope.find_first_of("0123456789", at)) != std::string::npos;
       at = scope.find_first_not_of("0123456789", at))
    chapters.insert(std::atoi(scope.c_str() + at));
  return chapters;
}

// Whether what was left out is what was not asked for.
std::string contradiction_of_scope(const Result& result) {
  const std::string& scope = result.header.scope;
  const std::set<int> asked = asked_for(scope);
  if (asked.empty() && scope != "everything")
    return fmt::format("header.scope is {}, which is neither everything nor chapters", visible(scope, 60));
  for (const Requirement& one : result.requirements) {
    const bool wanted = asked.empty() || asked.contains(one.chapter);
    const bool outside = one.verdict == Verdict::not_assessed && one.reason == "outside --only";
    const bool looked = one.verdict != Verdict::not_assessed && one.verdict != Verdict::not_applicable;
    if (wanted ? outside : looked)
      return fmt::format("header.scope is {}, and {} was {}looked at", visible(scope, 60),
                         visible(one.id, 40), wanted ? "not " : "");
  }
  return {};
}

// Its requirements take no longer than a run, to a second.
std::string contradiction_of_times(const Result& result) {
  double all = 0;
  for (const Requirement& one : result.requirements) all += one.seconds;
  return all <= result.footer.seconds + 1
             ? ""
             : fmt::format("footer.seconds is {:.1f}, and the requirements took {:.1f}",
                           result.footer.seconds, all);
}

// What the stages and the passes do not bear out.
std::string contradiction_of_localisation(const Result& result) {
  const bool failed = std::any_of(result.requirements.begin(), result.requirements.end(),
                                  [](const Requirement& one) { return one.verdict == Verdict::fail; });
  const bool due = failed && result.header.device != "none: nothing is run";
  if (due != result.localisation.has_value())
    return due ? "localisation is missing: what fails and can be run is localised"
               : "there is a localisation, and nothing that was run failed";
  if (!due) return {};
  const Localisation& found = *result.localisation;
  const std::string expected = result.header.baseline
                                   ? conclusion_of_two(found, first_failed(result.requirements))
                                   : conclusion_of(found);
  if (found.conclusion == expected || found.conclusion.starts_with("not assessed: ")) return {};
  return fmt::format("localisation.conclusion is \"{}\", and what it found makes it \"{}\"",
                     visible(found.conclusion, 200), visible(expected, 200));
}

std::string contradiction(const Diagnosis& found) {
  if (found.differing > found.observations)
    return fmt::format("diagnosis: {} of {} observations differ", found.differing, found.observations);
  for (const Explanation& one : found.explanations)
    if (one.explained > found.differing || one.contradicted > found.observations - found.differing ||
        one.residual < 0)
      return fmt::format(
          "diagnosis: {} is said to account for {} of {} observations that differ, and to change {} of {} "
          "others",
          visible(fmt::format("{}", fmt::join(one.defects, " and ")), 100), one.explained, found.differing,
          one.contradicted, found.observations - found.differing);
  if (found.explanations.empty()) return {};
  for (const std::string& defect : found.explanations.front().defects)
    if (found.conclusion.find(defect) == std::string::npos)
      return fmt::format("diagnosis: its conclusion does not speak of {}, the best explanation",
                         visible(defect, 60));
  return {};
}

// What a stage or a pass is called, and what its check looked at.
std::string misnamed(const Localisation& found) {
  for (const StageErrors& one : found.stages)
    for (const std::optional<Check>* check : {&one.inherited, &one.local})
      if (*check && (*check)->what != one.stage)
        return fmt::format("localisation: the stage {} has a check of {}", visible(one.stage, 60),
                           visible((*check)->what, 60));
  for (const Situation& one : found.situations)
    if (one.check.what != one.name && one.check.what != fmt::format("logits ({})", one.name))
      return fmt::format("localisation: the pass {} has a check of {}", visible(one.name, 60),
                         visible(one.check.what, 60));
  return {};
}

template <typename Use>
void each_check(const Result& result, Use use) {
  for (const Requirement& requirement : result.requirements)
    for (const Check& check : requirement.checks) use(visible(requirement.id, 40), check);
  if (!result.localisation) return;
  for (const StageErrors& one : result.localisation->stages)
    for (const std::optional<Check>* check : {&one.inherited, &one.local})
      if (*check) use("localisation", **check);
  for (const Situation& one : result.localisation->situations) use("localisation", one.check);
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

  // Beside a bundle: what the launcher says there of a build, and signatures of the statements.
  void look_beside(const std::string& name, bool regular) {
    if (name == "setup.log" && regular) return;
    if (regular && (name.starts_with("statement.json.") || name.starts_with("provenance.json.")))
      found_.notes.push_back(visible(name, 60) + ": taken for a signature, and not looked at");
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
      // What is made of an edited document differs everywhere; that it was edited is said already.
      if (!files_.contains(name) || (name != self && !unchanged_.contains(self))) continue;
      if (!files_.at(name) || read(name) == one.make(document)) continue;
      std::string finding = name == self ? name +
                                               ": is not as this Plumbline writes it: it was edited, or is "
                                               "of an older version of the format"
                                         : fmt::format("{}: is not what {} makes it", name, self);
      if (written_by != examiner_.version)
        finding += fmt::format(" (Plumbline {} wrote it, this is {}: check it with that one)",
                               visible(written_by, 40), examiner_.version);
      say(finding);
    }
  }

  void recompute(const Result& result, const std::string& where) {
    for (const std::string& why : contradictions(result)) say(where + why);
    for (const std::string& why : {incompleteness(result, examiner_), wrong_advice(result, examiner_)})
      if (!why.empty()) say(where + why);
    const bool knows = knows_requirements(result, examiner_);
    found_.knows_all = found_.knows_all && knows;
    if (!examiner_.known.empty() && !knows)
      found_.notes.push_back(
          where +
          "its requirements are not those of this Plumbline: whether one is missing, or says "
          "otherwise, was not looked at");
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

}  // namespace

std::vector<std::string> contradictions(const Result& result) {
  std::vector<std::string> found;
  for (const Section& section : sections(result))
    if (section.requirements.empty())
      found.push_back(fmt::format("chapter {} has no requirement: they are missing", section.chapter.number));
  for (const Requirement& one : result.requirements)
    if (const std::string why = contradiction(one); !why.empty())
      found.push_back(
          fmt::format("{} has the verdict {}, but {}", visible(one.id, 40), to_string(one.verdict), why));
  each_check(result, [&](const std::string& where, const Check& check) {
    for (const std::string& why :
         {contradiction(check), disagreement(check, result.header.baseline.has_value())})
      if (!why.empty()) found.push_back(fmt::format("{}: {} {}", where, visible(check.what, 100), why));
  });
  for (const std::string& why : contradictions(result.header)) found.push_back(why);
  for (const std::string& why :
       {contradiction_of_scope(result), contradiction_of_localisation(result),
        result.localisation ? misnamed(*result.localisation) : std::string(),
        result.diagnosis ? contradiction(*result.diagnosis) : std::string(), contradiction_of_times(result)})
    if (!why.empty()) found.push_back(why);
  return found;
}

bool knows_requirements(const Result& result, const Examiner& examiner) {
  return known_of(result, examiner) != nullptr;
}

// What is advised is the catalogue's, after a sentence on a number or a place where that is another.
std::string wrong_advice(const Result& result, const Examiner& examiner) {
  if (!result.diagnosis || known_of(result, examiner) == nullptr || examiner.advice.empty()) return {};
  for (const Advice& one : result.diagnosis->advice) {
    const auto found = examiner.advice.find(one.defect.substr(0, one.defect.find_first_of("=@")));
    if (found == examiner.advice.end() || !one.english.ends_with(found->second.english) ||
        !one.chinese.ends_with(found->second.chinese))
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
               : "it does not say with which requirements it was made, as this version of Plumbline does";
  const auto& theirs = result.requirements;
  for (std::size_t i = 0; i < known->requirements.size(); ++i) {
    const Requirement& expected = known->requirements[i];
    const auto there = std::find_if(theirs.begin(), theirs.end(),
                                    [&](const Requirement& one) { return one.id == expected.id; });
    if (there == theirs.end()) return fmt::format("the requirement {} is missing", expected.id);
    if (there->level != expected.level)
      return fmt::format("the requirement {} is a {}, and here a {}", expected.id, to_string(expected.level),
                         to_string(there->level));
    for (const auto& [what, is, has] : {std::tuple("", expected.statement, there->statement),
                                        std::tuple("from ", expected.source, there->source)})
      if (is != has)
        return fmt::format("the requirement {} is {}\"{}\", and here \"{}\"", expected.id, what,
                           visible(is, 200), visible(has, 200));
    if (there->chapter != expected.chapter)
      return fmt::format("the requirement {} is in chapter {}, and here in {}", expected.id, expected.chapter,
                         there->chapter);
    if (theirs[i].id != expected.id)
      return fmt::format("the requirement {} stands where {} does", visible(theirs[i].id, 40), expected.id);
  }
  if (theirs.size() > known->requirements.size())
    return fmt::format("there is no requirement {}", visible(theirs[known->requirements.size()].id, 40));
  for (std::size_t i = 0; i < std::max(known->chapters.size(), result.chapters.size()); ++i) {
    const auto name = [&](const std::vector<Chapter>& chapters) {
      return i < chapters.size() ? visible(heading(chapters[i]), 100) : "nothing";
    };
    if (name(known->chapters) != name(result.chapters))
      return fmt::format("chapter {} stands where {} does", name(result.chapters), name(known->chapters));
  }
  return {};
}

Examined examine(const fs::path& directory, const Examiner& examiner) {
  return Examination(directory, examiner).run();
}

}  // namespace plumbline::reports
