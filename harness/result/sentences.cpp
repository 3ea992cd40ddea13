#include "harness/result/sentences.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cmath>
#include <optional>

#include "harness/system/visible.hpp"

namespace plumbline::reports {
namespace {

struct Words {
  const char *actual, *expected;
};
constexpr Words judged = {"got", "expected"}, compared = {"now", "before"};

std::string at_worst(const Check& check) {
  return check.worst_index.empty() ? check.what
                                   : fmt::format("{}[{}]", check.what, fmt::join(check.worst_index, ","));
}

std::string values(const Check& check, const std::string& where, const Words& words) {
  return fmt::format("{}: {} {}, {} {}", where, words.actual, check.actual, words.expected, check.expected);
}

std::string difference(const Check& check, const Words& words) {
  return fmt::format("{} (off by {}, allowed {}: {})", values(check, at_worst(check), words),
                     number(check.worst_difference.value_or(0)), number(check.tolerance.value_or(0)),
                     check.tolerance_reason);
}

// The number N of "BEFORE N AFTER", all of `sentence`; empty where it is not that.
std::optional<std::int64_t> number_between(std::string_view sentence, const std::string& before,
                                           const std::string& after) {
  if (sentence.size() <= before.size() + after.size() || !sentence.starts_with(before) ||
      !sentence.ends_with(after))
    return std::nullopt;
  sentence.remove_prefix(before.size());
  sentence.remove_suffix(after.size());
  std::int64_t found = 0;
  const auto read = std::from_chars(sentence.data(), sentence.data() + sentence.size(), found);
  return read.ec == std::errc() && read.ptr == sentence.data() + sentence.size() ? std::optional(found)
                                                                                 : std::nullopt;
}

bool is_part(std::optional<std::int64_t> some, const Check& check) {
  return some && *some > 0 && *some <= check.elements;
}

bool says_difference(const Check& check, const Words& words) {
  const std::string all = difference(check, words);
  if (check.within) return check.sentence == all;
  return is_part(
      number_between(check.sentence, all + "; ", fmt::format(" of {} elements are off", check.elements)),
      check);
}

// Of the two values as they are written; empty where one is no finite number.
std::optional<double> value_of(const std::string& written) {
  double value = 0;
  const auto read = std::from_chars(written.data(), written.data() + written.size(), value);
  const bool whole = read.ec == std::errc() && read.ptr == written.data() + written.size();
  return whole && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

// Both are written with four significant digits or more.
bool is_difference_of_values(const Check& check) {
  const auto actual = value_of(check.actual), expected = value_of(check.expected);
  if (!actual || !expected || !std::isfinite(check.worst_difference.value_or(NAN))) return true;
  const double rounding = 5.1e-4 * (std::abs(*actual) + std::abs(*expected));
  return std::abs(std::abs(*actual - *expected) - *check.worst_difference) <= rounding;
}

// What was longer than a document keeps of a text.
bool was_cut(const Check& check) {
  const auto is_long = [](const std::string& text) { return text.size() >= longest_text; };
  return is_long(check.what) || is_long(check.actual) || is_long(check.expected) ||
         is_long(check.tolerance_reason) || is_long(check.sentence);
}

bool says_values(const Check& check, const Words& words) {
  const bool exact = check.worst_difference.value_or(0) == 0 && check.tolerance.value_or(0) == 0;
  if (!exact || check.sentence != values(check, check.what, words)) return false;
  // What is not the same may hold all the same, "2" where "at least 1" is expected; then there is no
  // difference.
  const bool same = check.actual == check.expected;
  return same ? check.within : !check.within || !check.worst_difference;
}

bool says_what_is_not_finite(const Check& check) {
  const std::string before = values(check, at_worst(check), judged) + "; ";
  const std::string after = fmt::format(" of {} elements are not", check.elements);
  return !check.within && is_part(number_between(check.sentence, before, after), check);
}

bool is_a_form(const Check& check) {
  const std::string& sentence = check.sentence;
  for (const Words& words : {judged, compared})
    if (check.elements > 0 && (says_values(check, words) || says_difference(check, words))) return true;
  if (!check.within && sentence == off_on_the_whole(check)) return true;
  if (check.worst_difference || check.tolerance) return false;
  if (check.elements == 0) return sentence.starts_with(check.what + ": ");
  return sentence == changed_by(check) || says_what_is_not_finite(check) ||
         sentence == (check.within ? all_are_finite(check) : not_bounded(check));
}

// What differs between two is said in more ways than can be made again; it names at least what it is of.
bool is_a_form_of_two(const Check& check) {
  if (!check.within) return check.sentence.starts_with(check.what);
  return (check.identical == true && check.sentence == same_bits(check)) ||
         (check.expected == not_judged && check.sentence == reported(check));
}

}  // namespace

std::string number(double value) {
  if (std::isfinite(value) && value == std::round(value) && std::abs(value) < 1e15)
    return fmt::format("{:.0f}", value);
  const auto magnitude = std::abs(value);
  if (std::isfinite(value) && (magnitude < 1e-3 || magnitude >= 1e6)) return fmt::format("{:.3e}", value);
  return fmt::format("{:.4g}", value);
}

std::string got(const Check& check) {
  return values(check, check.what, judged);
}

std::string now_and_before(const Check& check) {
  return values(check, check.what, compared);
}

std::string off_by(const Check& check, std::int64_t beyond) {
  return difference(check, judged) +
         (beyond == 0 ? "" : fmt::format("; {} of {} elements are off", beyond, check.elements));
}

std::string off_on_the_whole(const Check& check) {
  return fmt::format("{}: off by {} on the whole, the root mean square of {} elements, allowed {}: {}",
                     check.what, number(check.worst_difference.value_or(0)), check.elements,
                     number(check.tolerance.value_or(0)), check.tolerance_reason);
}

std::string changed_by(const Check& check) {
  return fmt::format("{}: the largest change is {}, expected {}: {}", check.what, check.actual,
                     check.expected, check.tolerance_reason);
}

std::string all_are_finite(const Check& check) {
  return fmt::format("{}: all {} elements are finite", check.what, check.elements);
}

std::string not_finite(const Check& check, std::int64_t bad) {
  return fmt::format("{}; {} of {} elements are not", values(check, at_worst(check), judged), bad,
                     check.elements);
}

std::string not_bounded(const Check& check) {
  return fmt::format("{}: what it may differ by is not finite: {}", check.what, check.tolerance_reason);
}

std::string same_bits(const Check& check) {
  return check.what + ": the same bits";
}

std::string reported(const Check& check) {
  return fmt::format("{}: {}", check.what, check.actual);
}

std::string nothing_compared(const std::string& what, const std::string& why) {
  return fmt::format("{}: {}", what, why);
}

std::string disagreement(const Check& check, bool compares) {
  if (check.worst_difference.value_or(0) < 0 || check.tolerance.value_or(0) < 0)
    return "has a difference or a tolerance below 0";
  if (was_cut(check)) return {};
  const bool differs = says_difference(check, judged) || says_difference(check, compared);
  if (differs && !is_difference_of_values(check))
    return fmt::format("is {} and {}, and is said to be off by {}", visible(check.actual, 40),
                       visible(check.expected, 40), number(*check.worst_difference));
  if (differs || is_a_form(check)) return {};
  if (compares && is_a_form_of_two(check)) return {};
  return fmt::format("has a sentence that its numbers and values do not make: {}",
                     visible(check.sentence, 200));
}

}  // namespace plumbline::reports
