#include "harness/result/sentences.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cmath>
#include <optional>

#include "harness/system/visible.hpp"

namespace plumbline::reports {
namespace {

std::string at_worst(const Check& check) {
  return check.worst_index.empty() ? check.what
                                   : fmt::format("{}[{}]", check.what, fmt::join(check.worst_index, ","));
}

std::string values(const Check& check) {
  return fmt::format("{}: {} {}, {} {}", at_worst(check), check.of_two ? "now" : "got", check.actual,
                     check.of_two ? "before" : "expected", check.expected);
}

std::string difference(const Check& check) {
  const auto all =
      fmt::format("{} (off by {}, allowed {}: {})", values(check), number(check.worst_difference.value_or(0)),
                  number(check.tolerance.value_or(0)), check.tolerance_reason);
  return check.beyond == 0 ? all
                           : fmt::format("{}; {} of {} elements are off", all, check.beyond, check.elements);
}

std::string without_note(const Check& check) {
  switch (check.form) {
    case Form::values:
      return values(check);
    case Form::difference:
      return difference(check);
    case Form::whole:
      return fmt::format("{}: off by {} on the whole, the root mean square of {} elements, allowed {}: {}",
                         check.what, number(check.worst_difference.value_or(0)), check.elements,
                         number(check.tolerance.value_or(0)), check.tolerance_reason);
    case Form::change:
      return fmt::format("{}: the largest change is {}, expected {}: {}", check.what, check.actual,
                         check.expected, check.tolerance_reason);
    case Form::finite:
      return check.within
                 ? fmt::format("{}: all {} elements are finite", check.what, check.elements)
                 : fmt::format("{}; {} of {} elements are not", values(check), check.beyond, check.elements);
    case Form::unbounded:
      return fmt::format("{}: its tolerance is not finite: {}", check.what, check.tolerance_reason);
    case Form::same_bits:
      return check.what + ": the same bits";
    case Form::measured:
      return fmt::format("{}: {}", check.what, check.actual);
    case Form::nothing:
      return fmt::format("{}: {}", check.what, check.note);
    case Form::recorded:
      return check.note;
  }
  return check.what;
}

// Of a value as it is written; empty where it is no finite number.
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

}  // namespace

std::string number(double value) {
  if (std::isfinite(value) && value == std::round(value) && std::abs(value) < 1e15)
    return fmt::format("{:.0f}", value);
  const auto magnitude = std::abs(value);
  if (std::isfinite(value) && (magnitude < 1e-3 || magnitude >= 1e6)) return fmt::format("{:.3e}", value);
  return fmt::format("{:.4g}", value);
}

std::string sentence_of(const Check& check) {
  auto sentence = without_note(check);
  if (check.form == Form::nothing || check.form == Form::recorded) return sentence;
  if (!check.note.empty()) sentence += fmt::format(" ({})", check.note);
  const bool judged = check.form != Form::same_bits && check.form != Form::measured;
  const bool said = sentence.find(check.tolerance_reason) != std::string::npos;
  return said || !judged ? sentence : fmt::format("{} ({})", sentence, check.tolerance_reason);
}

Check nothing_compared(const std::string& what, const std::string& why) {
  Check check;
  check.form = Form::nothing;
  check.what = what;
  check.note = why;
  return check;
}

std::string sentence_of(const Reason& reason) {
  switch (reason.kind) {
    case Reason::Kind::none:
      return "";
    case Reason::Kind::stated:
      return reason.words;
    case Reason::Kind::outside_only:
      return "outside --only";
    case Reason::Kind::outside_shard:
      return fmt::format("outside --shard {}/{}", reason.shard.index, reason.shard.of);
  }
  return "";
}

std::string disagreement(const Check& check) {
  if (check.worst_difference.value_or(0) < 0 || check.tolerance.value_or(0) < 0)
    return "has a difference or a tolerance below 0";
  if (check.beyond < 0 || check.beyond > check.elements)
    return fmt::format("has {} elements that do not hold, of {}", check.beyond, check.elements);
  if (check.form == Form::difference && (check.beyond == 0) != check.within)
    return fmt::format("is said {}to hold, with {} elements beyond their tolerance",
                       check.within ? "" : "not ", check.beyond);
  if (check.form == Form::difference && !is_difference_of_values(check))
    return fmt::format("is {} and {}, and is said to be off by {}", visible(check.actual, 40),
                       visible(check.expected, 40), number(*check.worst_difference));
  // What is not the same may hold all the same, "2" where "at least 1" is expected; then there is no
  // difference.
  const bool same = check.actual == check.expected;
  if (check.form == Form::values && (same ? !check.within : check.within && check.worst_difference))
    return fmt::format("is {} where {} is expected, and is said {}to hold", visible(check.actual, 40),
                       visible(check.expected, 40), check.within ? "" : "not ");
  if (check.form == Form::nothing && (check.within || check.elements > 0))
    return "compared nothing, and is said to hold, or to have compared something";
  if (check.form == Form::same_bits && check.identical != true)
    return "is said to be the same bits, and not to be identical";
  return {};
}

}  // namespace plumbline::reports
