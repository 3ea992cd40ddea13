// The end of the terminal's view: what the model is, where it goes wrong, why, what to do, then the chapters;
// the rest for those who ask for it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "harness/result/conclusion_of_diagnosis.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/traits.hpp"
#include "harness/result/words.hpp"
#include "reports/rerun.hpp"
#include "reports/terminal_page.hpp"

namespace plumbline::reports {
namespace {

constexpr int kWidest = 100;                  // longer lines are hard to read
constexpr std::size_t kMostLines = 40;        // of a screen, the lines before the verdict included
constexpr std::size_t kLinesBefore = 4;       // what is judged, with what, apart from notes
constexpr std::size_t kMostRequirements = 8;  // that are told, where there is room
constexpr std::size_t kLinesOfOne = 4;        // of a requirement that is told
constexpr int kWidestName = 36;               // of a cause

std::string plain_line(const std::string& line) {
  return line;
}

// Text cut to so many lines of `room` columns.
std::string shortened(const TerminalPage& page, const std::string& text, int room, std::size_t lines) {
  const auto all = wrap(text, room);
  if (all.size() <= lines) return text;
  std::string kept;
  for (std::size_t i = 0; i < lines; ++i) kept += (i == 0 ? "" : " ") + all[i];
  const auto end = kept.rfind(' ');
  return (end == std::string::npos ? kept : kept.substr(0, end)) + " " + page.paint.ellipsis();
}

void say(TerminalPage& page, const std::string& text, int indent, std::size_t most) {
  page.paragraph(shortened(page, page.paint.text(text, 4000), page.width - indent - 2, most), indent,
                 plain_line, 2);
}

std::string sentence_case(std::string sentence) {
  if (!sentence.empty() && sentence.front() >= 'a' && sentence.front() <= 'z')
    sentence.front() = static_cast<char>(sentence.front() - 32);
  return sentence;
}

void verdict(TerminalPage& page, const Footer& footer) {
  const Verdict mark = footer.status == 0   ? Verdict::pass
                       : footer.status == 1 ? Verdict::fail
                       : footer.status == 3 ? Verdict::not_assessed
                                            : Verdict::error;
  const std::string sign = page.paint.mark(mark);
  const auto colour = [&](const std::string& line) { return page.paint.of_status(footer.status, line); };
  page.beside(sign, colour(sign), page.paint.text(sentence_case(footer.verdict), 600), 0, colour);
  const Counts all{footer.passed, footer.failed, footer.errors, footer.not_assessed, footer.not_applicable};
  const double seconds = std::isfinite(footer.seconds) ? footer.seconds : 0.0;
  page.dim(in_words(all), 3);
  const std::string passes =
      footer.longest_pass > 0 ? ", in passes of up to " + counted(footer.longest_pass, "token") : "";
  page.dim(
      fmt::format("{} compared in {:.1f} s{}", counted(footer.elements_compared, "element"), seconds, passes),
      3);
}

void where(TerminalPage& page, const Result& result) {
  if (!result.localisation) return;
  page.lines += "\n" + page.paint.bold(words_of_localisation(result.header).title) + "\n";
  say(page, conclusion_of(result), 2, 3);
  if (const auto* stage = first_locally_wrong(*result.localisation))
    say(page, sentence_of(*stage->local), 2, 3);
  if (const auto& line = result.localisation->line)
    say(page, line->where + (line->code.empty() ? "" : ": " + line->code), 2, 2);
  std::string traits;
  for (const Trait& one : result.localisation->traits)
    traits += (traits.empty() ? "" : "; ") + sentence_of(one);
  if (!traits.empty()) say(page, traits, 2, 2);
}

// "KVC-4, 5, 6, MODE-1"
std::string compact(const std::vector<std::string>& ids) {
  std::string all, before;
  for (const auto& id : ids) {
    const auto dash = id.rfind('-');
    const std::string chapter = dash == std::string::npos ? id : id.substr(0, dash + 1);
    all += (all.empty() ? "" : ", ") +
           (chapter == before && dash != std::string::npos ? id.substr(dash + 1) : id);
    before = chapter;
  }
  return all;
}

// A line or two each: what it is, and which requirements it fails.
void causes(TerminalPage& page, const Diagnosis& found) {
  int room = 0;
  for (const Cause& cause : found.causes) room = std::max(room, columns(page.paint.text(cause.defect, 100)));
  room = std::min(room, kWidestName);
  for (const Cause& cause : found.causes) {
    const std::string name =
        padded(fit(page.paint.text(cause.defect, 100), room, page.paint.ellipsis()), room);
    const std::string fails = cause.fails.empty() ? "" : "; fails " + compact(cause.fails);
    const std::string text = shortened(page, page.paint.text(cause.what + fails, 1000), page.width - room - 4,
                                       found.causes.size() > 3 ? 1 : 2);
    page.beside(name, page.paint.bold(name), text, 2, plain_line);
  }
  if (!found.fail_together.empty())
    say(page, "Only together they fail " + compact(found.fail_together), 2, 2);
}

// What a diagnosis says of itself in a few lines. `told`: by causes, so that the sentence need not name them.
void why(TerminalPage& page, const Diagnosis& found) {
  page.lines += "\n" + page.paint.bold(title_of(found)) + "\n";
  const bool told = !named_causes(found).empty() && found.shapes.empty() && found.known == 0;
  if (!told) {
    say(page, sentence_of(found), 2, 4);
    return;
  }
  const Explanation& best = found.explanations.front();
  if (found.outcome == Outcome::explained)
    say(page,
        found.basis == Basis::everything
            ? fmt::format("with {} in the reference, it gives the same {} answers, to rounding:",
                          found.causes.size() == 1 ? "this" : "these", found.observations)
            : sentence_of(found),
        2, 3);
  else
    say(page,
        fmt::format("a part of it: {} of {} answers that differ agree to rounding with {} in the reference:",
                    best.explained, found.differing, found.causes.size() == 1 ? "this" : "these"),
        2, 2);
  causes(page, found);
  if (found.outcome != Outcome::nearest) return;
  std::string open;
  for (const auto& one : best.open) open += (open.empty() ? "Left open: " : ", ") + one;
  if (found.tried > 0) open += fmt::format("; time was up after {} were tried", found.tried);
  say(page, open, 2, 3);
}

// The sentences that name code, of a paragraph: where to look, and how to confirm. What it is stands above.
std::string instructions(const std::string& advice) {
  std::string all, sentence;
  bool code = false, has_code = false;
  for (std::size_t i = 0; i < advice.size(); ++i) {
    sentence += advice[i];
    if (advice[i] == '`') code = !code, has_code = true;
    const bool ends = !code && (advice[i] == '.' || i + 1 == advice.size()) &&
                      (i + 1 == advice.size() || advice[i + 1] == ' ');
    if (!ends) continue;
    if (has_code) all += sentence;
    sentence.clear();
    has_code = false;
  }
  return all.substr(std::min(all.size(), all.find_first_not_of(' ')));
}

// In so many lines, shared by the causes; at least two each, or where to read it.
void what_to_do(TerminalPage& page, const Header& header, const Diagnosis& found, std::size_t room) {
  if (found.advice.empty()) return;
  constexpr std::size_t least = 2, most = 9;
  page.lines += "\n" + page.paint.bold("What to do") + "\n";
  const std::size_t count = found.advice.size(), each = std::min(most, room / count);
  if (count > 1 && each < least) {
    say(page, "`plumbline defects NAME` says of each where to look, and how to confirm that it is mended.", 2,
        2);
    return;
  }
  for (const Advice& one : found.advice)
    say(page,
        count == 1 ? for_candidate(header, one.english)
                   : one.defect + ": " + for_candidate(header, instructions(one.english)),
        2, std::max(least, each));
}

std::size_t count_lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

// As many as there is room for, the first in any case; with less room than `least` lines, none.
void tell(TerminalPage& page, const std::string& title, const Requirements& all, std::size_t room,
          std::size_t least = 0) {
  if (all.empty() || room < least) return;
  page.lines += "\n" + page.paint.of(all.front()->verdict, title) + "\n";
  const int label = label_width(all, page.paint);
  std::size_t told = 0;
  for (const Requirement* one : all) {
    TerminalPage next{page.paint, page.width, page.written_to};
    const std::string id = padded(short_id(*one, page.paint), label);
    next.beside(id, page.paint.of(one->verdict, id),
                shortened(page, page.paint.text(one->statement), page.width - label - 4, 2), 2,
                [&](const std::string& line) { return page.paint.bold(line); });
    say(next, sentences(*one).front(), label + 4, 3);
    if (told > 0 && (told == kMostRequirements || count_lines(next.lines) > room)) break;
    room -= std::min(room, count_lines(next.lines));
    page.lines += next.lines;
    ++told;
  }
  if (told < all.size())
    page.dim(fmt::format("{} and {} more; --verbose tells all", page.paint.ellipsis(), all.size() - told), 2);
}

void not_assessed(TerminalPage& page, const Requirements& all) {
  if (all.empty()) return;
  constexpr std::size_t most = 4;
  page.lines += "\n" + page.paint.of(Verdict::not_assessed, "Not assessed") + "\n";
  const auto groups = grouped(all);
  for (std::size_t i = 0; i < std::min(most, groups.size()); ++i) {
    const auto& [reason, members] = groups[i];
    std::vector<std::string> ids;
    for (const Requirement* one : members) ids.push_back(one->id);
    say(page, fmt::format("{}: {}", compact(ids), sentence_of(reason)), 2, 2);
  }
  if (groups.size() > most)
    page.dim(fmt::format("{} and {}; --verbose tells all", page.paint.ellipsis(),
                         counted(static_cast<std::int64_t>(groups.size() - most), "more reason")),
             2);
}

// Of two that are compared, what was measured of both and is not judged: what each costs.
void measured(TerminalPage& page, const Result& result) {
  std::string space = "\n";
  for (const Requirement& one : result.requirements) {
    const bool is_measured = std::any_of(one.checks.begin(), one.checks.end(),
                                         [](const Check& check) { return check.form == Form::measured; });
    if (one.finding.empty() || !is_measured) continue;
    page.lines += std::exchange(space, "");
    say(page, one.id + "  " + one.finding, 2, 2);
  }
}

std::string chapter_words(const Section& section) {
  std::string words;
  Counts counts = section.counts;
  if (counts.passed + counts.failed > 0) counts.not_applicable = 0;
  for (const auto& [verdict, part] : parts(counts)) {
    std::vector<std::string> ids;
    for (const Requirement* one : section.requirements)
      if (one->verdict == verdict) ids.push_back(one->id);
    const bool names = verdict == Verdict::fail || verdict == Verdict::error;
    words += (words.empty() ? "" : ", ") + (names ? fmt::format("{} ({})", part, compact(ids)) : part);
  }
  return words;
}

Verdict worst(const Section& section) {
  Verdict found = Verdict::not_applicable;
  for (const Requirement* one : section.requirements) found = std::max(found, one->verdict);
  return found;
}

// All of them where nothing failed; else those in which something is not as it should be.
void chapters(TerminalPage& page, const Result& result) {
  page.lines += "\n";
  const bool all = !any_failed(result);
  std::string calm;
  std::size_t count = 0;
  for (const Section& section : sections(result)) {
    const Counts& counts = section.counts;
    const bool nothing =
        std::all_of(section.requirements.begin(), section.requirements.end(), [](const Requirement* one) {
          return one->verdict == Verdict::not_applicable || one->reason.left_out();
        });
    if (nothing) continue;
    if (!all && counts.failed + counts.errors + counts.not_assessed == 0) {
      calm += (calm.empty() ? "" : ", ") + std::to_string(section.chapter.number);
      ++count;
      continue;
    }
    const std::string name =
        fmt::format("{:>4} {}", section.chapter.number,
                    padded(fit(page.paint.text(section.chapter.title), 30, page.paint.ellipsis()), 30));
    const std::string time =
        fmt::format("{:>8}", std::isfinite(section.seconds) ? fmt::format("{:.1f} s", section.seconds) : "");
    const int room = page.width - columns(name) - columns(time) - 2;
    page.lines += fmt::format(
        "{}{}  {}\n", page.paint.of(worst(section), name), page.paint.dim(time),
        fit(page.paint.text(chapter_words(section), 1000), std::max(room, 10), page.paint.ellipsis()));
  }
  if (!calm.empty())
    page.dim(fmt::format("{} without a failure: {}", count == 1 ? "Chapter" : "Chapters", calm), 5);
}

// Of these, those that no cause accounts for.
Requirements unexplained(const Requirements& failed, const std::optional<Diagnosis>& found) {
  if (!found || found->outcome != Outcome::explained) return failed;
  std::set<std::string> explained(found->fail_together.begin(), found->fail_together.end());
  for (const Cause& cause : found->causes) explained.insert(cause.fails.begin(), cause.fails.end());
  Requirements rest;
  for (const Requirement* one : failed)
    if (!explained.contains(one->id)) rest.push_back(one);
  return rest;
}

}  // namespace

std::string closing(const Result& result, const std::string& written_to, const Paint& paint, int width,
                    bool verbose) {
  std::string directory = written_to;
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  TerminalPage page{paint, std::max(24, std::min(width, kWidest)), directory, "\n"};
  verdict(page, result.footer);
  where(page, result);
  if (result.diagnosis) why(page, *result.diagnosis);

  TerminalPage last{paint, page.width, directory};
  tell(last, "Errors", with(result, Verdict::error), kMostRequirements);
  if (result.footer.status == 3) {
    Requirements open = with(result, Verdict::not_assessed);
    std::erase_if(open, [](const Requirement* one) { return one->reason.left_out(); });
    not_assessed(last, open);
  }
  if (result.header.baseline) measured(last, result);
  chapters(last, result);
  if (!directory.empty()) {
    const std::string out = paint.text(directory) + "/";
    last.dim(fmt::format("{0}report.html to read, {0}result.json{1}", out, verbose ? "" : "; or --verbose"),
             3);
  }

  const auto failed = failures_of(result);
  const Requirements musts = unexplained(failed.musts, result.diagnosis);
  // What is left of the screen, less a title, what stands before it, and a line that says how many more there
  // are.
  const auto room = [&](std::size_t kept) {
    const std::size_t taken =
        kLinesBefore + result.header.notes.size() + count_lines(page.lines) + count_lines(last.lines) + kept;
    return kMostLines - std::min(kMostLines, taken);
  };
  const bool is_explained = result.diagnosis && result.diagnosis->outcome == Outcome::explained;
  if (result.diagnosis)
    what_to_do(page, result.header, *result.diagnosis, room(musts.empty() || is_explained ? 2 : 9));
  tell(page, "Failed", musts, room(3), result.diagnosis ? kLinesOfOne : 0);
  tell(page, "Recommendations not met", failed.shoulds, room(3), kLinesOfOne);
  page.lines += last.lines;
  if (verbose) add_details(page, result);
  return page.lines;
}

}  // namespace plumbline::reports
