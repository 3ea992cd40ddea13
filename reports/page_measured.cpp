// Pictures of the measurements of some checks.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "reports/page_parts.hpp"

namespace plumbline::reports {
namespace {

std::optional<double> number_in(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return end == text.c_str() ? std::nullopt : std::optional<double>(value);
}

const Requirement* requirement_of(const Result& result, const std::string& id) {
  for (const Requirement& one : result.requirements)
    if (one.id == id) return &one;
  return nullptr;
}

}  // namespace

// From KVC-3, which counts the bytes and says what share of multi-head attention's they save.
std::optional<CacheBytes> cache_bytes(const Page& page) {
  const Requirement* requirement = requirement_of(page.result, "KVC-3");
  if (requirement == nullptr) return {};
  std::optional<double> held, needed, saved;
  for (const Check& check : requirement->checks) {
    if (check.what == "bytes held by the cache")
      held = number_in(check.actual), needed = number_in(check.expected);
    if (check.what == "% saved against multi-head attention") saved = number_in(check.actual);
  }
  if (!held || !needed || !saved || !(*saved < 100)) return {};
  return CacheBytes{*held, *needed, *held / (1 - *saved / 100)};
}

// From MODE-2 and MODE-1, which measure how much each position changes when a token before it or after it is
// changed.
std::optional<Matrix> causality(const Page& page) {
  const Requirement* after = requirement_of(page.result, "MODE-2");
  const Requirement* before = requirement_of(page.result, "MODE-1");
  if (after == nullptr) return {};
  std::map<std::pair<std::string, int>, std::map<int, double>> seen;
  int last = 0;
  for (const Check& check : after->checks) {
    int row = 0, position = 0, token = 0, length = 0;
    if (std::sscanf(check.what.c_str(), "logits[%d,%d] after token %d changed (%n", &row, &position, &token,
                    &length) != 3 ||
        length == 0)
      continue;
    const auto value = number_in(check.actual);
    if (row != 0 || position < 0 || position >= 512 || token < 0 || !value) continue;
    seen[{check.what.substr(static_cast<std::size_t>(length)), token}][position] = *value;
    last = std::max(last, position);
  }
  for (const Check& check : before == nullptr ? std::vector<Check>() : before->checks) {
    int token = 0, length = 0;
    if (std::sscanf(check.what.c_str(), "logits before token %d (%n", &token, &length) != 1 || length == 0)
      continue;
    const auto found = seen.find({check.what.substr(static_cast<std::size_t>(length)), token});
    if (found == seen.end() || !check.worst_difference) continue;
    for (int position = 0; position < std::min(token, 512); ++position)
      found->second[position] = *check.worst_difference;
  }
  if (seen.empty()) return {};
  Matrix matrix{"MODE-2", page(Word::causality_title), {}, {}, {}, page(Word::causality_value)};
  for (int position = 0; position <= last; ++position) matrix.columns.push_back(std::to_string(position));
  for (const auto& [which, values] : seen) {
    std::string mode = which.first;
    if (mode.ends_with(')')) mode.pop_back();
    matrix.rows.push_back(page(Word::causality_row, which.second, mode));
    matrix.values.emplace_back(static_cast<std::size_t>(last) + 1, std::nan(""));
    for (const auto& [position, value] : values)
      if (position <= last) matrix.values.back()[static_cast<std::size_t>(position)] = value;
  }
  return matrix;
}

}  // namespace plumbline::reports
