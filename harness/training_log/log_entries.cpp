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
constexpr std::size_t kMostCurves = 16;
constexpr std::size_t kMostEmpty = 9;
constexpr std::size_t kMostStarts = 4096;

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

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// "Run 3 - train/loss" -> "train/loss".
std::string_view without_run(std::string_view name) {
  const auto run = name.rfind(" - ");
  return run == std::string_view::npos ? name : name.substr(run + 3);
}

}  // namespace

NumberRead number_at(std::string_view text) {
  NumberRead read;
  std::size_t begin = 0;
  if (begin < text.size() && text[begin] == '+') ++begin;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data() + begin, text.data() + text.size(), value);
  if (error == std::errc::invalid_argument) return read;
  read.length = static_cast<std::size_t>(end - text.data());
  if (error == std::errc::result_out_of_range) {
    // Too small or too large for a double.
    const auto written = text.substr(0, read.length);
    value = written.find("e-") != std::string_view::npos || written.find("E-") != std::string_view::npos
                ? 0
                : std::numeric_limits<double>::infinity();
  }
  // As Microsoft's library writes NaN and infinity: "1.#QNAN", "1.#INF".
  if (text.substr(read.length).starts_with('#')) {
    value = text.substr(read.length).starts_with("#INF") ? std::numeric_limits<double>::infinity()
                                                         : std::numeric_limits<double>::quiet_NaN();
    while (read.length < text.size() && (is_word(text[read.length]) || text[read.length] == '#'))
      ++read.length;
  }
  read.value = value;
  // "nancy", "3rd": no numbers.
  read.is_number = read.length == text.size() || !is_word(text[read.length]);
  return read;
}

NumberRead whole_number_of(std::string_view cell) {
  const auto first = cell.find_first_not_of(" \t\"'");
  if (first == std::string_view::npos) return {};
  cell = cell.substr(first, cell.find_last_not_of(" \t\"'") - first + 1);
  auto read = number_at(cell);
  read.is_number = read.is_number && read.length == cell.size();
  return read;
}

LogEntries::LogEntries(std::string loss) : loss_(comparable(loss)) {}

int LogEntries::column(std::string_view name, const Meaning& meaning) {
  const auto found = numbers_.find(name);
  if (found != numbers_.end()) return found->second;
  auto role = meaning;
  if (!loss_.empty()) {
    if (comparable(name) == loss_ || comparable(without_run(name)) == loss_)
      role = {Role::loss, 0};
    else if (may_be_loss(meaning.role) && meaning.role != Role::validation_loss)
      role.role = meaning.role == Role::preference_loss ? Role::preference
                  : meaning.role == Role::reward_loss   ? Role::reward
                                                        : Role::other;
  }
  auto& count = role.role == Role::other ? others_ : may_be_loss(role.role) ? losses_ : known_;
  const auto most = role.role == Role::other ? kMostOthers
                    : may_be_loss(role.role) ? kMostLosses
                                             : kMostColumns;
  if (count == most) return -1;
  ++count;
  columns_.push_back({std::string(name), role, 0, {}});
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

void LogEntries::end_record(std::size_t line) {
  LogPoint point;
  point.line = line;
  const Cell *step = nullptr, *epoch = nullptr;
  // Whether it is of a step of training, and not of an evaluation at the end.
  bool of_training = false, of_other = false;
  bool summary = false, nan_gradient = false, reward = false, preference = false, loss = false;
  const auto rank = [&](const Cell& cell) { return meaning(cell.column).rank; };
  for (auto& cell : record_) {
    ++columns_[static_cast<std::size_t>(cell.column)].count;
    auto role = meaning(cell.column).role;
    if (role == Role::value && !tag_.empty()) {
      cell.column = column(tag_);
      if (cell.column < 0) continue;
      role = meaning(cell.column).role;
    }
    switch (role) {
      case Role::step:
        if (std::isfinite(cell.value) && cell.value >= 0 && (step == nullptr || rank(cell) < rank(*step)))
          step = &cell;
        break;
      case Role::epoch:
        if (epoch == nullptr && std::isfinite(cell.value)) epoch = &cell;
        break;
      case Role::gradient_norm:
        nan_gradient |= std::isnan(cell.value);
        of_training = true;
        break;
      case Role::learning_rate:
        of_training = true;
        break;
      case Role::wall_time:
        break;
      case Role::summary:
        summary = true;
        break;
      case Role::reward:
        reward = true;
        break;
      case Role::preference:
        preference = true;
        break;
      default:
        loss |= may_be_loss(role);
        of_other = true;
        reward |= role == Role::reward_loss;
        preference |= role == Role::preference_loss;
    }
  }
  without_loss_ = loss ? 0 : without_loss_ + nan_gradient;
  if (loss && !summary) {
    if (step != nullptr) point.step = step->value;
    if (epoch != nullptr) point.epoch = epoch->value;
    with_loss_ += 1;
    with_reward_ += reward;
    with_preference_ += preference;
    for (std::size_t i = 0; i < record_.size(); ++i) {
      const auto& cell = record_[i];
      if (cell.column < 0) continue;
      auto& column = columns_[static_cast<std::size_t>(cell.column)];
      if (!may_be_loss(column.meaning.role)) continue;
      // A line that names a loss twice means the first.
      if (std::any_of(record_.begin(), record_.begin() + static_cast<std::ptrdiff_t>(i),
                      [&](const Cell& before) { return before.column == cell.column; }))
        continue;
      point.loss = column.meaning.role == Role::perplexity ? std::log(cell.value) : cell.value;
      add(column, point, step != nullptr, step != nullptr ? step->of : 0, nan_gradient);
    }
  } else if (!summary && (reward || preference)) {
    with_reward_ += reward;
    with_preference_ += preference;
  }
  if (of_training || !of_other)
    for (const int column : empty_) ++columns_[static_cast<std::size_t>(column)].curve.empty_at_end;
  record_.clear();
  empty_.clear();
  tag_.clear();
}

void LogEntries::add(Column& column, LogPoint point, bool has_step, double of, bool nan_gradient) {
  auto& curve = column.curve;
  if (curve.count > 0) curve.most_empty = std::max(curve.most_empty, curve.empty_at_end);
  curve.empty_at_end = 0;
  const bool hidden = point.loss == 0 && nan_gradient;
  if (hidden) point.loss = std::numeric_limits<double>::quiet_NaN();
  if (has_step) {
    const double step = point.step;
    if (curve.with_step > 0 && step < curve.last) {
      const bool same_epoch = point.epoch <= curve.last_epoch;
      const double first = curve.points.empty() ? step : curve.points.front().step;
      // To where it began, and not to a checkpoint on the way, or by a few steps as processes do that write
      // into one log.
      if (step <= first + 0.05 * curve.last && (curve.last - step > 2 || step <= first)) {
        curve.offset += of > 0 ? std::max(curve.last_of, curve.last) : curve.last;
        if (same_epoch && curve.starts.size() < kMostStarts)
          curve.starts.push_back({point.line, curve.offset});
        ++curve.restarts;
      }
    }
    curve.last = step;
    curve.last_of = of;
    point.step += curve.offset;
    ++curve.with_step;
    // Progress bars are drawn again while nothing happens.
    if (curve.count > 0 && curve.previous.step == point.step && curve.previous.epoch == point.epoch &&
        curve.previous.loss == point.loss) {
      --curve.with_step;
      return;
    }
  }
  curve.last_epoch = point.epoch;
  const bool turns_bad =
      !std::isfinite(point.loss) && (curve.count == 0 || std::isfinite(curve.previous.loss));
  curve.previous = point;
  curve.hidden += hidden;
  curve.nan_gradients_at_end = nan_gradient ? curve.nan_gradients_at_end + 1 : 0;
  if (curve.count++ % curve.stride != 0 && !turns_bad) return;
  if (curve.points.size() >= kMostPoints) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < curve.points.size(); ++i) {
      const bool first_bad = !std::isfinite(curve.points[i].loss) && i > 0 && kept > 0 &&
                             std::isfinite(curve.points[kept - 1].loss);
      if (i % 2 == 0 || first_bad) curve.points[kept++] = curve.points[i];
    }
    curve.points.resize(std::min(kept, kMostPoints * 3 / 4));
    curve.stride *= 2;
  }
  curve.points.push_back(point);
}

bool LogEntries::names_loss(std::string_view before, std::string_view name) const {
  if (loss_.empty() || !loss_.ends_with(name)) return false;
  const auto words = comparable(before);
  return words.ends_with(loss_) &&
         (words.size() == loss_.size() || words[words.size() - loss_.size() - 1] == ' ');
}

std::size_t LogEntries::losses() const {
  std::size_t most = 0;
  for (const auto& column : columns_)
    if (loss_.empty() || column.meaning.role == Role::loss) most = std::max(most, column.curve.count);
  return most;
}

std::string LogEntries::seen() const {
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

bool LogEntries::in_bits(const Column& loss) const {
  if (loss.meaning.role != Role::loss || loss.curve.points.empty()) return false;
  const auto& first = loss.curve.points.front();
  for (const auto& column : columns_) {
    if (column.meaning.role != Role::perplexity || column.curve.points.empty()) continue;
    const auto& logarithm = column.curve.points.front();
    if (logarithm.line == first.line && first.loss > 1)
      return std::abs(logarithm.loss / first.loss - std::log(2.0)) < 0.02;
  }
  return false;
}

void LogEntries::give(TrainingLog& log) const {
  // From the surest to the last resort.
  constexpr Role order[] = {Role::loss, Role::preference_loss, Role::reward_loss,
                            Role::bits, Role::validation_loss, Role::perplexity,
                            Role::value};
  const Column* chosen = nullptr;
  for (const auto role : order) {
    std::size_t most = 0;
    for (const auto& column : columns_)
      if (column.meaning.role == role) most = std::max(most, column.curve.count);
    if (most == 0) continue;
    for (const auto& column : columns_) {
      const auto count = column.curve.count;
      if (column.meaning.role != role || count * 2 < most || count == 0) continue;
      if (chosen == nullptr || column.meaning.rank < chosen->meaning.rank ||
          (column.meaning.rank == chosen->meaning.rank && count > chosen->curve.count))
        chosen = &column;
    }
    break;
  }
  if (chosen == nullptr) return;
  const auto role = chosen->meaning.role;
  log.in_bits = role == Role::bits;
  if (role == Role::validation_loss)
    log.notes.emplace_back("only the loss of held-out text is logged: it is judged by that");
  if (role == Role::perplexity)
    log.notes.emplace_back("no loss is logged: it is the logarithm of the perplexity");
  if (role == Role::preference_loss || with_preference_ * 2 >= std::max<std::size_t>(with_loss_, 1))
    log.objective = Objective::preference;
  else if (role == Role::reward_loss || with_reward_ * 2 >= std::max<std::size_t>(with_loss_, 1))
    log.objective = Objective::reward;

  const double unit = in_bits(*chosen) ? std::log(2.0) : 1;
  if (unit != 1) log.notes.emplace_back("its perplexity says that the loss is in bits; it is judged in nats");
  const auto metric = comparable(without_run(chosen->name));
  const bool of_tracker = without_run(chosen->name) != chosen->name;
  for (const auto& column : columns_) {
    const bool beside = of_tracker && column.meaning.role == role &&
                        without_run(column.name) != column.name &&
                        comparable(without_run(column.name)) == metric;
    if ((&column != chosen && !beside) || column.curve.count == 0) continue;
    const auto& curve = column.curve;
    log.entries += curve.count;
    if (curve.stride > 1)
      log.notes.push_back(fmt::format("of {} entries one in {} is judged", curve.count, curve.stride));
    const bool known = curve.with_step == curve.count;
    if (!known)
      log.notes.emplace_back("it does not say its steps; entries are counted instead");
    else if (curve.restarts > 0)
      log.notes.push_back(
          fmt::format("its steps start again {} times; they were counted on", curve.restarts));
    // A run that starts again knows nothing again: another run in the same log.
    std::vector<LogCurve> runs(1);
    double first = std::numeric_limits<double>::quiet_NaN(), least = first;
    std::size_t number = 0, next_start = 0;
    double offset = 0;  // of the run: each counts its steps from its own beginning
    for (std::size_t i = 0; i < curve.points.size(); ++i) {
      auto point = curve.points[i];
      ++number;
      const Start* start = nullptr;
      while (next_start < curve.starts.size() && curve.starts[next_start].line <= point.line)
        start = &curve.starts[next_start++];
      if (known && start != nullptr && least < 0.75 * first && point.loss > 0.85 * first &&
          runs.size() < kMostCurves) {
        runs.emplace_back();
        offset = start->offset;
        first = least = std::numeric_limits<double>::quiet_NaN();
      }
      point.step = known ? point.step - offset : static_cast<double>(number);
      point.loss *= unit;
      if (std::isfinite(point.loss)) {
        if (std::isnan(first)) first = point.loss;
        if (!(least <= point.loss)) least = point.loss;
      }
      runs.back().points.push_back(point);
    }
    for (auto& run : runs) {
      run.column = column.name;
      run.steps_known = known;
    }
    runs.back().nan_gradients_at_end = curve.nan_gradients_at_end + without_loss_;
    // Columns are empty now and then, where others are logged; but not for so long.
    if (curve.empty_at_end > std::max(kMostEmpty, 3 * curve.most_empty))
      runs.back().missing = curve.empty_at_end;
    runs.back().hidden = curve.hidden;
    for (auto& run : runs)
      if (log.curves.size() < kMostCurves) log.curves.push_back(std::move(run));
  }
  if (log.curves.size() > 1)
    log.notes.push_back(fmt::format("it holds {} runs; each is judged", log.curves.size()));
  const Column* validation = nullptr;
  for (const auto& column : columns_)
    if (column.meaning.role == Role::validation_loss && &column != chosen && column.curve.count > 0 &&
        (validation == nullptr || column.curve.count > validation->curve.count))
      validation = &column;
  if (validation != nullptr) log.validation = validation->curve.points;
}

}  // namespace plumbline
