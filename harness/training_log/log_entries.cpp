#include "harness/training_log/log_entries.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "harness/system/files.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostPoints = std::size_t{1} << 19;  // of a curve
constexpr std::size_t kMostColumns = 512;                  // that mean something
constexpr std::size_t kMostLosses = 64;                    // of them, each of which has a curve
constexpr std::size_t kMostOthers = 512;
constexpr std::size_t kMostCells = 4096;
constexpr std::size_t kMostStarts = 4096;

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

}  // namespace

ParsedNumber parse_number(std::string_view text) {
  ParsedNumber parsed;
  std::size_t begin = 0;
  if (begin < text.size() && text[begin] == '+') ++begin;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data() + begin, text.data() + text.size(), value);
  if (error == std::errc::invalid_argument) return parsed;
  parsed.length = static_cast<std::size_t>(end - text.data());
  if (error == std::errc::result_out_of_range) {
    // Too small or too large for a double.
    const auto written = text.substr(0, parsed.length);
    value = written.find("e-") != std::string_view::npos || written.find("E-") != std::string_view::npos
                ? 0
                : std::numeric_limits<double>::infinity();
  }
  // As Microsoft's library writes NaN and infinity: "1.#QNAN", "1.#INF".
  if (text.substr(parsed.length).starts_with('#')) {
    value = text.substr(parsed.length).starts_with("#INF") ? std::numeric_limits<double>::infinity()
                                                           : std::numeric_limits<double>::quiet_NaN();
    while (parsed.length < text.size() && (is_word(text[parsed.length]) || text[parsed.length] == '#'))
      ++parsed.length;
  }
  parsed.value = value;
  // "nancy", "3rd": no numbers.
  parsed.is_number = parsed.length == text.size() || !is_word(text[parsed.length]);
  return parsed;
}

ParsedNumber parse_cell(std::string_view cell) {
  const auto first = cell.find_first_not_of(" \t\"'");
  if (first == std::string_view::npos) return {};
  cell = cell.substr(first, cell.find_last_not_of(" \t\"'") - first + 1);
  auto parsed = parse_number(cell);
  parsed.is_number = parsed.is_number && parsed.length == cell.size();
  return parsed;
}

bool may_be_loss(Role role) {
  switch (role) {
    case Role::loss:
    case Role::validation_loss:
    case Role::reward_loss:
    case Role::preference_loss:
    case Role::bits:
    case Role::perplexity:
    case Role::value:
      return true;
    default:
      return false;
  }
}

std::string_view without_run(std::string_view name) {
  const auto run = name.rfind(" - ");
  return run == std::string_view::npos ? name : name.substr(run + 3);
}

LogEntries::LogEntries(std::string loss) : loss_(comparable(loss)) {}

int LogEntries::column(std::string_view name, const Meaning& meaning) {
  const auto found = numbers_.find(name);
  if (found != numbers_.end()) return found->second;
  auto adjusted = meaning;
  if (!loss_.empty()) {
    if (comparable(name) == loss_ || comparable(without_run(name)) == loss_)
      adjusted = {Role::loss, 0};
    else if (may_be_loss(meaning.role) && meaning.role != Role::validation_loss)
      adjusted.role = meaning.role == Role::preference_loss ? Role::preference
                      : meaning.role == Role::reward_loss   ? Role::reward
                                                            : Role::other;
  }
  auto& count = adjusted.role == Role::other ? others_ : may_be_loss(adjusted.role) ? losses_ : known_;
  const auto most = adjusted.role == Role::other ? kMostOthers
                    : may_be_loss(adjusted.role) ? kMostLosses
                                                 : kMostColumns;
  if (count == most) return -1;
  ++count;
  columns_.push_back({std::string(name), adjusted, 0, {}});
  return numbers_.emplace(name, static_cast<int>(columns_.size()) - 1).first->second;
}

void LogEntries::cell(int column, double value, double of) {
  if (column < 0 || record_.size() == kMostCells) return;
  record_.push_back({column, value, of});
}

void LogEntries::empty_cell(int column) {
  if (column >= 0 && empty_.size() < kMostCells) empty_.push_back(column);
}

void LogEntries::tag(std::string_view name) {
  tag_ = name;
}

void LogEntries::read_cell(const Cell& cell, Role role, Record& record) const {
  const auto rank = [&](const Cell& one) { return meaning(one.column).rank; };
  switch (role) {
    case Role::step:
      if (std::isfinite(cell.value) && cell.value >= 0 &&
          (record.step == nullptr || rank(cell) < rank(*record.step)))
        record.step = &cell;
      break;
    case Role::epoch:
      if (record.epoch == nullptr && std::isfinite(cell.value)) record.epoch = &cell;
      break;
    case Role::gradient_norm:
      record.nan_gradient |= std::isnan(cell.value);
      record.of_training = true;
      break;
    case Role::learning_rate:
      record.of_training = true;
      break;
    case Role::wall_time:
      break;
    case Role::summary:
      record.summary = true;
      break;
    case Role::reward:
      record.reward = true;
      break;
    case Role::preference:
      record.preference = true;
      break;
    default:
      record.loss |= may_be_loss(role);
      record.of_other = true;
      record.reward |= role == Role::reward_loss;
      record.preference |= role == Role::preference_loss;
  }
}

LogEntries::Record LogEntries::read_cells() {
  Record record;
  for (auto& cell : record_) {
    ++column_of(cell.column).count;
    auto role = meaning(cell.column).role;
    if (role == Role::value && !tag_.empty()) {
      cell.column = column(tag_);
      if (cell.column < 0) continue;
      role = meaning(cell.column).role;
    }
    read_cell(cell, role, record);
  }
  return record;
}

void LogEntries::add_losses(const Record& record, std::size_t line) {
  LogPoint point;
  point.line = line;
  if (record.step != nullptr) point.step = record.step->value;
  if (record.epoch != nullptr) point.epoch = record.epoch->value;
  for (std::size_t i = 0; i < record_.size(); ++i) {
    const auto& cell = record_[i];
    if (cell.column < 0) continue;
    auto& column = column_of(cell.column);
    if (!may_be_loss(column.meaning.role)) continue;
    // If a line names a loss twice, the first one counts.
    if (std::any_of(record_.begin(), record_.begin() + static_cast<std::ptrdiff_t>(i),
                    [&](const Cell& before) { return before.column == cell.column; }))
      continue;
    point.loss = column.meaning.role == Role::perplexity ? std::log(cell.value) : cell.value;
    column.curve.add(point, record.step != nullptr, record.step != nullptr ? record.step->of : 0,
                     record.nan_gradient);
  }
}

void LogEntries::end_record(std::size_t line) {
  const auto record = read_cells();
  counts_.without_loss_at_end = record.loss ? 0 : counts_.without_loss_at_end + record.nan_gradient;
  if (!record.summary) {
    counts_.with_loss += record.loss;
    counts_.with_reward += record.reward;
    counts_.with_preference += record.preference;
    if (record.loss) add_losses(record, line);
  }
  if (record.of_training || !record.of_other)
    for (const int column : empty_) ++column_of(column).curve.empty_at_end;
  record_.clear();
  empty_.clear();
  tag_.clear();
}

void ColumnCurve::add(LogPoint point, bool has_step, double of, bool nan_gradient) {
  if (count > 0) most_empty = std::max(most_empty, empty_at_end);
  empty_at_end = 0;
  const bool is_hidden = point.loss == 0 && nan_gradient;
  if (is_hidden) point.loss = std::numeric_limits<double>::quiet_NaN();
  if (has_step && count_step(point, of)) return;
  last_epoch = point.epoch;
  const bool turns_bad = !std::isfinite(point.loss) && (count == 0 || std::isfinite(previous.loss));
  previous = point;
  hidden += is_hidden;
  nan_gradients_at_end = nan_gradient ? nan_gradients_at_end + 1 : 0;
  if (count++ % stride != 0 && !turns_bad) return;
  if (points.size() >= kMostPoints) keep_half_of_the_points();
  points.push_back(point);
}

bool ColumnCurve::count_step(LogPoint& point, double of) {
  const double step = point.step;
  if (with_step > 0 && step < last_step) restart_steps(point, of);
  last_step = step;
  last_of = of;
  point.step += offset;
  if (count > 0 && previous.step == point.step && previous.epoch == point.epoch &&
      previous.loss == point.loss)
    return true;
  ++with_step;
  return false;
}

void ColumnCurve::restart_steps(const LogPoint& point, double of) {
  const double first = points.empty() ? point.step : points.front().step;
  // Steps start again only if they return to where they began, and not to a checkpoint on the way, or by a
  // few steps, as when several processes write into one log.
  if (point.step > first + 0.05 * last_step || (last_step - point.step <= 2 && point.step > first)) return;
  offset += of > 0 ? std::max(last_of, last_step) : last_step;
  if (point.epoch <= last_epoch && starts.size() < kMostStarts) starts.push_back({point.line, offset});
  ++restarts;
}

void ColumnCurve::keep_half_of_the_points() {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const bool first_bad =
        !std::isfinite(points[i].loss) && i > 0 && kept > 0 && std::isfinite(points[kept - 1].loss);
    if (i % 2 == 0 || first_bad) points[kept++] = points[i];
  }
  points.resize(std::min(kept, kMostPoints * 3 / 4));
  stride *= 2;
}

bool LogEntries::names_loss(std::string_view before, std::string_view name) const {
  if (loss_.empty() || !loss_.ends_with(name)) return false;
  const auto words = comparable(before);
  return words.ends_with(loss_) &&
         (words.size() == loss_.size() || words[words.size() - loss_.size() - 1] == ' ');
}

std::size_t LogEntries::longest_curve() const {
  std::size_t most = 0;
  for (const auto& column : columns_)
    if (loss_.empty() || column.meaning.role == Role::loss) most = std::max(most, column.curve.count);
  return most;
}

std::string LogEntries::column_names() const {
  constexpr std::size_t most = 12;
  std::string names;
  std::size_t shown = 0;
  for (const auto& column : columns_) {
    if (column.name.empty() ||
        (column.curve.count == 0 && column.count == 0 && comparable(column.name) == loss_) ||
        column.meaning.rank == kProgressRank)
      continue;
    if (shown++ == most) return names + ", ...";
    names += (names.empty() ? "" : ", ") + printable(column.name, 40);
  }
  return names;
}

}  // namespace plumbline
