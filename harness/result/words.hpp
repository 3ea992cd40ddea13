// What the renderings share: the same facts said in the same words everywhere.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "harness/result/result.hpp"
#include "harness/result/sentences.hpp"

namespace plumbline::reports {

// Why this requirement cannot be believed as it stands; empty where nothing speaks against it. A pass needs
// checks that compared something and found it within a finite tolerance; whatever was not looked at needs a
// reason.
std::string inconsistency(const Requirement& requirement);

// Whether a waiver holds on the day on which the run started; never where that day is not known.
bool in_force(const Waiver& waiver, const Header& header);

// The waiver in force of a requirement that failed; nullptr: none.
const Waiver* waiver_of(const Header& header, const Requirement& requirement);

// "waived by NAME until DATE: reason"
std::string in_words(const Waiver& waiver);

// "shard 2 of 4"
std::string in_words(const Shard& shard);

// "0f3a...", "0f3a..., with changes that are not committed"
std::string in_words(const Commit& commit);

// "✔", "✘", "!", "?", "–"
const char* mark_of(Verdict verdict);

// "pass", "fail", "incomplete" or "error" of a whole document, in one word.
const char* word_of_status(int status);

// Counts, elements, status and sentence for `result` as it stands; `seconds` stays 0.
Footer footer_of(const Result& result);

// How many of some requirements have each verdict.
struct Counts {
  int passed = 0, failed = 0, errors = 0, not_assessed = 0, not_applicable = 0;
  void add(Verdict verdict);
  int total() const { return passed + failed + errors + not_assessed + not_applicable; }
};

// Whether any requirement failed, must or should.
bool any_failed(const Result& result);

// "5 passed", "1 failed", "1 not applicable": what is not 0, each with its verdict.
std::vector<std::pair<Verdict, std::string>> parts(const Counts& counts);

// The same in one line; "nothing to check" where all are 0.
std::string in_words(const Counts& counts);

// A chapter with its requirements, in the document's order.
struct Section {
  Chapter chapter;
  std::vector<const Requirement*> requirements;
  Counts counts;
  double seconds = 0;
};

// Every requirement exactly once: one whose chapter nobody declared gets a section "chapter N" at the end.
std::vector<Section> sections(const Result& result);

// The checks that did not hold, in order.
std::vector<const Check*> failed_checks(const Requirement& requirement);

// What a localisation's parts are called: of a model that goes wrong, or of two that differ.
struct LocalisationWords {
  const char *title, *divergent, *wrong, *right_runs, *wrong_runs;
};
const LocalisationWords& words_of_localisation(const Header& header);

// The names of the ways to run it in which the model is right, or wrong: "1 token, 2 tokens".
std::string situations(const Localisation& localisation, bool right);

// What a diagnosis stands under.
const char* title_of(const Diagnosis& diagnosis);

// "1 requirement", "2 requirements", "25,829,888 elements".
std::string counted(std::int64_t count, const std::string& singular);

// "3 Grouped-query attention"
std::string heading(const Chapter& chapter);

// "chapter 3", "chapters 3 and 5" for "3,5"; anything else as it is.
std::string scope_in_words(const std::string& scope);

// Whether everything was asked for, not only some chapters.
bool is_whole(const Header& header);

}  // namespace plumbline::reports
