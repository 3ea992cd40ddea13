// The page's own words in each of its languages.
#pragma once

#include <string>
#include <vector>

#include "reports/page.hpp"

namespace plumbline::reports {

enum class Word {
  report,
  skip,
  conforms,
  fails,
  cannot_judge,
  incomplete,
  same,
  different,
  cannot_compare,
  pass,
  fail,
  error,
  not_assessed,
  not_applicable,
  should,
  waived,
  passed_count,
  failed_count,
  error_count,
  not_assessed_count,
  not_applicable_count,
  waived_count,
  compared_in,
  shard,
  only,
  waivers,
  waiver_in_force,
  waiver_expired,
  waiver_unneeded,
  answered_by,
  until,
  judged,
  candidate,
  baseline,
  kind,
  specification,
  specification_hash,
  candidate_hash,
  baseline_hash,
  full_hashes,
  no_hash,
  device,
  dtype,
  threads,
  seed,
  versions,
  started,
  scope,
  everything,
  commit,
  commit_clean,
  commit_dirty,
  command,
  notes,
  kind_reference,
  kind_defect,
  kind_variant,
  kind_checkpoint,
  kind_state_dict,
  kind_live,
  kind_pair,
  where_wrong,
  where_different,
  first_wrong,
  first_wrong_note,
  first_divergent,
  first_divergent_note,
  no_local,
  in_mode,
  musts_note,
  got_expected,
  off_and_allowed,
  said,
  why,
  undecided,
  explained,
  explained_partly,
  explained_counts,
  unexplained,
  undecided_count,
  advice,
  chapters,
  chapter,
  chapters_note,
  pictures,
  stages_title,
  stages_note,
  stages_description,
  stage,
  layer,
  local,
  inherited,
  not_shown,
  no_error,
  of_tolerance,
  times_tolerance,
  tolerance,
  tolerance_is,
  log_axis,
  situations_title,
  situations_different,
  situation,
  right,
  wrong,
  is_same,
  is_different,
  margins_title,
  margins_note,
  margins_description,
  margins_exact,
  requirement,
  verdict,
  same_numbers,
  first_rows,
  edges,
  no_points,
  series,
  plot_description,
  cache_title,
  cache_held,
  cache_needed,
  cache_queries,
  cache_multi_head,
  bytes,
  causality_title,
  causality_value,
  causality_row,
  matrix_description,
  matrix_cut,
  matrix_range,
  requirements,
  filter,
  filter_text,
  filter_verdicts,
  reason,
  finding,
  findings,
  checks,
  check,
  expected,
  seen,
  off_by,
  allowed,
  allowed_because,
  elements,
  worst_at,
  in_words,
  more_failed,
  more_passed,
  nothing_compared,
  source,
  took,
  repeat,
  repeat_all,
  to_top,
  colophon,
  side_by_side,
  side_by_side_note,
  not_in_it,
  candidate_number,
};

// "{}" in it stands for what is put in.
const char* say(Word word, Language language);

constexpr int word_count = static_cast<int>(Word::candidate_number) + 1;

Word word_of(Verdict verdict);

// "pass", "fail" ...: what a style calls it, in any language.
const char* style_of(Verdict verdict);

// The verdict that a status is marked and coloured as; the word that it stands under.
Verdict verdict_of(int status);
Word word_of_status(const Header& header, int status);

// Whether a waiver in force is of what has been shown to need none.
bool is_idle(const Waiver& waiver, const Requirement& requirement, const Header& header);

// With a capital letter where it begins with an English one.
std::string capitalised(std::string sentence);

// The verdict as one sentence: the document's own, or one made from its counts.
std::string verdict_sentence(const Result& result, Language language, const Translation* translation);

// What was asked for: "chapters 3 and 5".
std::string scope_sentence(const Header& header, Language language);

}  // namespace plumbline::reports
