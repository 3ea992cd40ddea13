#include "harness/result/conclusion_of_diagnosis.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "harness/system/visible.hpp"

namespace plumbline::reports {
namespace {

std::string together(const std::vector<std::string>& defects) {
  return fmt::format("{}", fmt::join(defects, " and "));
}

std::string time_was_up(const Diagnosis& diagnosis) {
  return diagnosis.tried > 0 ? fmt::format("; time was up after {} were tried", diagnosis.tried) : "";
}

const char* how(Basis basis) {
  switch (basis) {
    case Basis::everything:
      return "explained to rounding by";
    case Basis::declaration:
      return "it has no code; its shapes and settings are those of";
    case Basis::no_pass:
      return "no weights fit it, so it was not run; its shapes and settings are those of";
    case Basis::unsteady:
      return "it answers the same question in two ways, so its answers were not compared; this would follow "
             "from";
  }
  return "";
}

std::string of_explained(const Diagnosis& found) {
  if (found.explanations.size() == 1) {
    const auto& one = found.explanations.front();
    return fmt::format("{} {}: {}", how(found.basis), together(beside_shapes(found, one)), one.what);
  }
  std::vector<std::string> alternatives;
  for (const auto& one : found.explanations) alternatives.push_back(together(beside_shapes(found, one)));
  return fmt::format("{} {}; no observation tells these apart", how(found.basis),
                     fmt::join(alternatives, " or by "));
}

std::string of_nearest(const Diagnosis& found) {
  const auto& best = found.explanations.front();
  if (explains_a_part(found))
    return fmt::format(
        "explained in part by {}: {}; together they make {} of {} observations that differ what they are, to "
        "rounding, and change no other; left open: {}{}",
        together(beside_shapes(found, best)), best.what, best.explained, found.differing,
        fmt::join(best.open, ", "), time_was_up(found));
  // A name for a small part would send people to the wrong place.
  if (!accounts_for_most(found))
    return fmt::format(
        "not explained by any known defect, alone or with others{}; what comes nearest accounts for {} of {} "
        "observations that differ",
        time_was_up(found), best.explained, found.differing);
  return fmt::format(
      "not explained by any known defect, alone or with others{}; something like it is {}: {}; it accounts "
      "for {} of {} observations that differ; not accounted for: {}",
      time_was_up(found), together(beside_shapes(found, best)), best.what, best.explained, found.differing,
      fmt::join(best.open, ", "));
}

std::string by_outcome(const Diagnosis& found) {
  switch (found.outcome) {
    case Outcome::not_assessed:
      return "not assessed: " + found.words;
    case Outcome::errors_alone:
      return fmt::format(
          "not explained by any known defect: {} of {} observations end in an error, first {}; the others "
          "are right",
          found.raised, found.observations, found.words);
    case Outcome::as_specified:
      return "names, shapes and settings are the specification's";
    case Outcome::explained:
      return of_explained(found);
    case Outcome::nearest:
      return of_nearest(found);
    case Outcome::unexplained:
      return "not explained by any known defect, alone or with others" + time_was_up(found);
    case Outcome::recorded:
      return found.words;
  }
  return "";
}

}  // namespace

std::vector<std::string> beside_shapes(const Diagnosis& diagnosis, const Explanation& explanation) {
  const auto& all = explanation.defects;
  const auto shapes = diagnosis.shapes.size();
  return shapes < all.size() ? std::vector(all.begin() + static_cast<std::ptrdiff_t>(shapes), all.end())
                             : all;
}

bool accounts_for_most(const Diagnosis& diagnosis) {
  const auto& best = diagnosis.explanations.front();
  return best.contradicted == 0 && 2 * best.explained > diagnosis.differing;
}

bool explains_a_part(const Diagnosis& diagnosis) {
  return diagnosis.outcome == Outcome::nearest && accounts_for_most(diagnosis) &&
         beside_shapes(diagnosis, diagnosis.explanations.front()).size() > 1;
}

std::string named_causes(const Diagnosis& diagnosis, const std::string& separator) {
  if (diagnosis.explanations.size() != 1) return {};
  std::string names;
  for (const Cause& cause : diagnosis.causes)
    names += (names.empty() ? "" : separator) + visible(cause.defect, 60);
  return names;
}

std::string sentence_of(const Diagnosis& found) {
  auto sentence = by_outcome(found);
  if (!found.shapes.empty()) {
    const auto shapes = fmt::format("{}: {}", together(found.shapes), found.of_shapes);
    sentence = found.outcome == Outcome::explained && found.explanations.front().defects == found.shapes
                   ? fmt::format(
                         "explained to rounding by {}; on weights of its own shapes everything else is right",
                         shapes)
                   : fmt::format("it has the shapes and settings of {}; on weights of its own shapes: {}",
                                 shapes, sentence);
  }
  if (found.known > 0)
    sentence += fmt::format(
        "; {} of {} known defects exist only in code, and no checkpoint can show them: judge the code that "
        "trains and runs it, too",
        found.undecided.size(), found.known);
  return sentence;
}

}  // namespace plumbline::reports
