#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/json_place.hpp"
#include "harness/result/json_text.hpp"
#include "harness/result/result.hpp"
#include "harness/result/result_json_diagnosis.hpp"
#include "harness/result/result_json_pictures.hpp"
#include "harness/result/sentences.hpp"
#include "harness/result/traits.hpp"
#include "harness/result/waivers.hpp"
#include "harness/result/words.hpp"
#include "harness/system/error.hpp"
#include "harness/system/json.hpp"
#include "harness/system/visible.hpp"

namespace plumbline::reports {
namespace {

Verdict verdict_at(const JsonPlace& place) {
  const std::string name = place.text();
  for (const Verdict verdict :
       {Verdict::pass, Verdict::fail, Verdict::error, Verdict::not_assessed, Verdict::not_applicable}) {
    if (name == to_string(verdict)) return verdict;
  }
  place.refuse(fmt::format("is \"{}\", not one of pass, fail, error, not assessed, not applicable",
                           visible(name, 40)));
}

Level level_at(const JsonPlace& place) {
  const std::string name = place.text();
  if (name != "must" && name != "should")
    place.refuse(fmt::format("is \"{}\", not must or should", visible(name, 40)));
  return name == "must" ? Level::must : Level::should;
}

// What version 2 of the format added.
void read_additions(const JsonPlace& place, Header& header) {
  if (const JsonPlace shard = place.at("shard"); !shard.value.is_null()) {
    shard.only({"index", "of"});
    header.shard = {shard.at("index").integer<int>(1), shard.at("of").integer<int>(1)};
    if (header.shard->index > header.shard->of)
      shard.refuse(fmt::format("is {} of {}", header.shard->index, header.shard->of));
  }
  place.at("waivers").each([&](const JsonPlace& entry) {
    entry.only({"requirement", "reason", "who", "expires"});
    header.waivers.push_back({entry.at("requirement").text(), entry.at("reason").text(),
                              entry.at("who").text(), entry.at("expires").text()});
  });
  if (const JsonPlace commit = place.at("commit"); !commit.value.is_null()) {
    commit.only({"id", "clean"});
    header.commit = {commit.at("id").text(), commit.at("clean").truth()};
  }
}

Header header_at(const JsonPlace& place, int version) {
  std::set<std::string> keys = {"plumbline_version",
                                "specification",
                                "specification_sha256",
                                "candidate",
                                "candidate_kind",
                                "candidate_sha256",
                                "baseline",
                                "notes",
                                "device",
                                "dtype",
                                "threads",
                                "seed",
                                "versions",
                                "started",
                                "command",
                                "scope"};
  if (version > 1) keys.insert({"shard", "waivers", "commit"});
  place.only(keys);
  Header header;
  header.plumbline_version = place.at("plumbline_version").text();
  header.specification = place.at("specification").text();
  header.specification_sha256 = place.at("specification_sha256").text();
  header.candidate = place.at("candidate").text();
  header.candidate_kind = place.at("candidate_kind").text();
  header.candidate_sha256 = place.at("candidate_sha256").text();
  if (const JsonPlace baseline = place.at("baseline"); !baseline.value.is_null()) {
    baseline.only({"name", "kind", "sha256", "alone"});
    header.baseline = {baseline.at("name").text(), baseline.at("kind").text(), baseline.at("sha256").text()};
    if (baseline.value.contains("alone"))
      baseline.at("alone").each([&](const JsonPlace& one) { header.baseline->alone.push_back(one.text()); });
  }
  place.at("notes").each([&](const JsonPlace& note) { header.notes.push_back(note.text()); });
  header.device = place.at("device").text();
  header.dtype = place.at("dtype").text();
  header.threads = place.at("threads").integer<int>();
  header.seed = place.at("seed").integer<std::uint32_t>();
  place.at("versions").each([&](const JsonPlace& entry) {
    entry.only({"name", "version"});
    header.versions.emplace_back(entry.at("name").text(), entry.at("version").text());
  });
  header.started = place.at("started").text();
  header.command = place.at("command").text();
  header.scope = place.at("scope").text();
  if (version > 1)
    read_additions(place, header);
  else if (std::none_of(header.versions.begin(), header.versions.end(),
                        [](const auto& one) { return one.first == "requirements"; }))
    header.versions.emplace_back("requirements", "not recorded");
  return header;
}

// What decides how a check of a document is read.
struct Document {
  int version;
  bool of_two;  // of two candidates
  Shard shard;  // that it is
};

Form form_at(const JsonPlace& place) {
  const auto found = form_of(place.text());
  if (!found) place.refuse("is no form of a check that this program knows");
  return *found;
}

// Before version 3 a check had no form, and its sentence is what there is.
void read_form(const JsonPlace& place, Check& check, int version) {
  if (version < 3) {
    check.form = Form::recorded;
    check.note = place.at("sentence").text();
    return;
  }
  check.form = form_at(place.at("form"));
  check.note = place.at("note").text();
  check.beyond = place.at("beyond").integer<std::int64_t>();
}

Check check_at(const JsonPlace& place, const Document& document) {
  std::set<std::string> keys = {"within",           "what",        "expected",         "actual",
                                "sentence",         "elements",    "worst_difference", "tolerance",
                                "tolerance_reason", "worst_index", "identical"};
  if (document.version > 2) keys.insert({"form", "note", "beyond"});
  place.only(keys);
  Check check;
  read_form(place, check, document.version);
  check.of_two = document.of_two;
  check.within = place.at("within").truth();
  check.what = place.at("what").text();
  check.expected = place.at("expected").text();
  check.actual = place.at("actual").text();
  check.elements = place.at("elements").integer<std::int64_t>();
  check.worst_difference = place.at("worst_difference").optional_number();
  check.tolerance = place.at("tolerance").optional_number();
  check.tolerance_reason = place.at("tolerance_reason").text();
  place.at("worst_index").each([&](const JsonPlace& index) {
    check.worst_index.push_back(index.integer<std::int64_t>());
  });
  if (const JsonPlace identical = place.at("identical"); !identical.value.is_null())
    check.identical = identical.truth();
  return check;
}

// Before version 4 what was left out is told by its sentence.
Reason reason_at(const JsonPlace& place, const Document& document) {
  const std::string said = place.at("reason").text();
  const auto only = Reason::not_asked_for(), shard = Reason::of_other_shards(document.shard);
  if (document.version < 4)
    return said == sentence_of(only) ? only : said == sentence_of(shard) ? shard : Reason(said);
  const JsonPlace left_out = place.at("left_out");
  if (left_out.value.is_null()) return said;
  if (left_out.value != "only" && left_out.value != "shard")
    left_out.refuse("is neither \"only\" nor \"shard\"");
  const Reason& reason = left_out.value == "only" ? only : shard;
  if (said != sentence_of(reason)) place.at("reason").refuse("does not follow from left_out");
  return reason;
}

Requirement requirement_at(const JsonPlace& place, const Document& document) {
  std::set<std::string> keys = {"id",      "chapter", "statement", "level",   "source",
                                "verdict", "reason",  "finding",   "seconds", "checks"};
  if (document.version > 3) keys.insert("left_out");
  place.only(keys);
  Requirement requirement;
  requirement.id = place.at("id").text();
  requirement.chapter = place.at("chapter").integer<int>();
  requirement.statement = place.at("statement").text();
  requirement.level = level_at(place.at("level"));
  requirement.source = place.at("source").text();
  requirement.verdict = verdict_at(place.at("verdict"));
  requirement.reason = reason_at(place, document);
  requirement.finding = place.at("finding").text();
  requirement.seconds = place.at("seconds").seconds();
  place.at("checks").each(
      [&](const JsonPlace& check) { requirement.checks.push_back(check_at(check, document)); });
  if (const std::string why = inconsistency(requirement); !why.empty()) {
    place.refuse(fmt::format("({}) has the verdict {}, but {}", visible(requirement.id, 40),
                             to_string(requirement.verdict), why));
  }
  return requirement;
}

// Before version 4 it stood in the conclusion.
std::string why_not_assessed(const std::string& conclusion) {
  const std::string begin = "not assessed: ";
  return conclusion.starts_with(begin) ? conclusion.substr(begin.size()) : "";
}

void read_traits(const JsonPlace& place, Localisation& localisation) {
  place.at("traits").each([&](const JsonPlace& entry) {
    entry.only({"kind", "axis", "numbers"});
    const auto kind = kind_of_trait(entry.at("kind").text());
    if (!kind) entry.at("kind").refuse("is no kind of trait that this program knows");
    Trait trait{*kind, entry.at("axis").text(), {}};
    entry.at("numbers").each([&](const JsonPlace& number) { trait.numbers.push_back(number.number()); });
    if (const auto count = numbers_of(*kind); count > 0 && trait.numbers.size() != count)
      entry.at("numbers").refuse(fmt::format("expected {} numbers", count));
    localisation.traits.push_back(std::move(trait));
  });
}

Localisation localisation_at(const JsonPlace& place, const Document& document) {
  std::set<std::string> keys = {"mode",       "first_divergent", "first_locally_wrong",
                                "conclusion", "stages",          "situations"};
  if (document.version > 3) keys.insert({"not_assessed", "traits", "line"});
  place.only(keys);
  Localisation localisation;
  if (document.version > 3) read_traits(place, localisation);
  if (document.version > 3)
    if (const JsonPlace line = place.at("line"); !line.value.is_null()) {
      line.only({"where", "code"});
      localisation.line = {line.at("where").text(), line.at("code").text()};
    }
  localisation.mode = place.at("mode").text();
  localisation.not_assessed = document.version > 3 ? place.at("not_assessed").text()
                                                   : why_not_assessed(place.at("conclusion").text());
  const auto optional_check = [&](const JsonPlace& check) {
    return check.value.is_null() ? std::nullopt : std::optional<Check>(check_at(check, document));
  };
  place.at("stages").each([&](const JsonPlace& entry) {
    entry.only({"stage", "inherited", "local"});
    localisation.stages.push_back({parse_stage(entry.at("stage").text()),
                                   optional_check(entry.at("inherited")), optional_check(entry.at("local"))});
  });
  place.at("situations").each([&](const JsonPlace& entry) {
    entry.only({"name", "check"});
    localisation.situations.push_back({entry.at("name").text(), check_at(entry.at("check"), document)});
  });
  const auto agree = [&](const char* key, const StageErrors* stage) {
    const JsonPlace said = place.at(key);
    if (said.value != (stage == nullptr ? Json() : Json(to_string(stage->stage))))
      said.refuse(fmt::format("is {}, but the stages make it {}",
                              visible(said.value.dump({.ascii = true}), 60),
                              stage == nullptr ? "null" : visible(to_string(stage->stage), 60)));
  };
  agree("first_divergent", first_divergent(localisation));
  agree("first_locally_wrong", first_locally_wrong(localisation));
  return localisation;
}

// What the stages and passes of a document come to.
void require_conclusion(const JsonPlace& localisation, const Result& result) {
  if (!result.localisation) return;
  const JsonPlace said = localisation.at("conclusion");
  if (const std::string found = conclusion_of(result); said.text() != text(found))
    said.refuse(fmt::format("is \"{}\", but the recorded findings make it \"{}\"", visible(said.text(), 200),
                            visible(found, 200)));
}

// The counts, the status and the sentence follow from the requirements: the sentence is said anew, so that no
// document can say one thing and count another.
Footer footer_at(const JsonPlace& place, const Result& result, int version) {
  std::set<std::string> keys = {"passed",       "failed",         "errors",
                                "not_assessed", "not_applicable", "elements_compared",
                                "status",       "verdict",        "seconds"};
  if (version > 1) keys.insert("waived");
  if (version > 3) keys.insert("longest_pass");
  place.only(keys);
  Footer footer = footer_of(result);
  const auto agree = [&](const char* key, std::int64_t expected) {
    const auto found = place.at(key).integer<std::int64_t>();
    if (found != expected)
      place.at(key).refuse(fmt::format("is {}, but the requirements make it {}", found, expected));
  };
  agree("passed", footer.passed);
  agree("failed", footer.failed);
  if (version > 1) agree("waived", footer.waived);
  agree("errors", footer.errors);
  agree("not_assessed", footer.not_assessed);
  agree("not_applicable", footer.not_applicable);
  agree("elements_compared", footer.elements_compared);
  agree("status", footer.status);
  if (place.at("verdict").text().empty()) place.at("verdict").refuse("is empty");
  if (version > 3) {
    footer.longest_pass = place.at("longest_pass").integer<std::int64_t>();
    if (footer.longest_pass < 0) place.at("longest_pass").refuse("is negative");
  }
  footer.seconds = place.at("seconds").seconds();
  return footer;
}

// The version of the format.
int check_format(const JsonPlace& root) {
  if (!root.value.is_object() || root.value.value("format", Json()) != "plumbline-result") {
    throw InputError(root.where +
                     "this is no Plumbline result: expected an object with \"format\": \"plumbline-result\"");
  }
  const JsonPlace version = root.at("version");
  if (version.value != 1 && version.value != 2 && version.value != 3 && version.value != 4) {
    throw InputError(
        fmt::format("{} is {}, but this program knows versions 1 to 4 only; use the Plumbline that wrote it",
                    version.where, visible(version.value.dump({.ascii = true}), 40)));
  }
  if (!root.value.contains("footer")) {
    throw InputError(
        root.where +
        "the footer is missing: the run that wrote this did not finish, and it proves nothing; run "
        "plumbline verify again");
  }
  root.only({"format", "version", "header", "chapters", "requirements", "localisation", "diagnosis", "plots",
             "matrices", "footer"});
  return version.value.get<int>();
}

}  // namespace

Result from_json(const std::string& text, const std::string& path) {
  const Json document = parse_json(text, path);
  const JsonPlace root{document, visible(path) + ": "};
  const int version = check_format(root);
  Result result;
  result.header = header_at(root.at("header"), version);
  const Document read{version, result.header.baseline.has_value(), result.header.shard.value_or(Shard())};
  std::set<int> chapters;
  root.at("chapters").each([&](const JsonPlace& entry) {
    entry.only({"number", "title"});
    result.chapters.push_back({entry.at("number").integer<int>(), entry.at("title").text()});
    if (!chapters.insert(result.chapters.back().number).second)
      entry.refuse("has the number of another chapter");
  });
  std::set<std::string> ids;
  root.at("requirements").each([&](const JsonPlace& entry) {
    result.requirements.push_back(requirement_at(entry, read));
    const Requirement& requirement = result.requirements.back();
    if (requirement.id.empty()) entry.at("id").refuse("is empty");
    if (!ids.insert(requirement.id).second) entry.at("id").refuse("names a requirement a second time");
    if (!chapters.contains(requirement.chapter)) entry.at("chapter").refuse("is not among the chapters");
  });
  if (const std::string why = fault_of(result.header.waivers, ids); !why.empty())
    root.at("header").at("waivers").refuse(why);
  if (const JsonPlace place = root.at("localisation"); !place.value.is_null())
    result.localisation = localisation_at(place, read);
  if (document.contains("diagnosis") && !document["diagnosis"].is_null())
    result.diagnosis = diagnosis_at(root.at("diagnosis"), version);
  if (version > 3) require_conclusion(root.at("localisation"), result);
  result.plots = plots_of(root, ids);
  result.matrices = matrices_of(root, ids);
  result.footer = footer_at(root.at("footer"), result, version);
  return result;
}

}  // namespace plumbline::reports
