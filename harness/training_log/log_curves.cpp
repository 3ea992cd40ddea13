// Which of the columns of a training log is its loss, and the runs that it holds.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/training_log/log_entries.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostCurves = 16;
constexpr std::size_t kMostEmpty = 9;

// From the surest to the last resort.
constexpr Role kLosses[] = {Role::loss, Role::preference_loss, Role::reward_loss,
                            Role::bits, Role::validation_loss, Role::perplexity,
                            Role::value};

// The column of the loss. Of the first role in kLosses that any column has, it takes the lowest rank, among
// columns with at least half as many entries as the longest. Null: there is none.
const LogColumn* loss_column(const std::vector<LogColumn>& columns) {
  for (const auto role : kLosses) {
    std::size_t most = 0;
    for (const auto& column : columns)
      if (column.meaning.role == role) most = std::max(most, column.curve.count);
    if (most == 0) continue;
    const LogColumn* chosen = nullptr;
    for (const auto& column : columns) {
      const auto count = column.curve.count;
      if (column.meaning.role != role || count * 2 < most || count == 0) continue;
      if (chosen == nullptr || column.meaning.rank < chosen->meaning.rank ||
          (column.meaning.rank == chosen->meaning.rank && count > chosen->curve.count))
        chosen = &column;
    }
    return chosen;
  }
  return nullptr;
}

const LogColumn* validation_column(const std::vector<LogColumn>& columns, const LogColumn& loss) {
  const LogColumn* validation = nullptr;
  for (const auto& column : columns)
    if (column.meaning.role == Role::validation_loss && &column != &loss && column.curve.count > 0 &&
        (validation == nullptr || column.curve.count > validation->curve.count))
      validation = &column;
  return validation;
}

Objective objective_of(Role loss, const RecordCounts& counts, Objective fallback) {
  const auto losses = std::max<std::size_t>(counts.with_loss, 1);
  if (loss == Role::preference_loss || counts.with_preference * 2 >= losses) return Objective::preference;
  if (loss == Role::reward_loss || counts.with_reward * 2 >= losses) return Objective::reward;
  return fallback;
}

// Whether the perplexity beside the loss is a power of 2 and not of e.
bool is_in_bits(const LogColumn& loss, const std::vector<LogColumn>& columns) {
  if (loss.meaning.role != Role::loss || loss.curve.points.empty()) return false;
  const auto& first = loss.curve.points.front();
  for (const auto& column : columns) {
    if (column.meaning.role != Role::perplexity || column.curve.points.empty()) continue;
    const auto& logarithm = column.curve.points.front();
    if (logarithm.line == first.line && first.loss > 1)
      return std::abs(logarithm.loss / first.loss - std::log(2.0)) < 0.02;
  }
  return false;
}

// Whether a tracker has exported the same loss of another run into this column.
bool is_same_loss_of_another_run(const LogColumn& column, const LogColumn& loss) {
  const auto is_of_a_run = [](const LogColumn& one) { return without_run(one.name) != one.name; };
  return is_of_a_run(loss) && is_of_a_run(column) && column.meaning.role == loss.meaning.role &&
         comparable(without_run(column.name)) == comparable(without_run(loss.name));
}

// The points of each run. Where the steps start again and the loss is back near its first value, another run
// begins.
std::vector<LogCurve> runs_of(const ColumnCurve& curve, bool steps_known, double unit) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  std::vector<LogCurve> runs(1);
  double first = kNone, least = kNone;
  std::size_t number = 0, next_start = 0;
  double offset = 0;  // of the run: each counts its steps from its own beginning
  for (auto point : curve.points) {
    ++number;
    const StepRestart* start = nullptr;
    while (next_start < curve.starts.size() && curve.starts[next_start].line <= point.line)
      start = &curve.starts[next_start++];
    if (steps_known && start != nullptr && least < 0.75 * first && point.loss > 0.85 * first &&
        runs.size() < kMostCurves) {
      runs.emplace_back();
      offset = start->offset;
      first = least = kNone;
    }
    point.step = steps_known ? point.step - offset : static_cast<double>(number);
    point.loss *= unit;
    if (std::isfinite(point.loss)) {
      if (std::isnan(first)) first = point.loss;
      if (!(least <= point.loss)) least = point.loss;
    }
    runs.back().points.push_back(point);
  }
  return runs;
}

void add_runs(const LogColumn& column, double unit, std::size_t without_loss_at_end, TrainingLog& log) {
  const auto& curve = column.curve;
  log.entries += curve.count;
  if (curve.stride > 1)
    log.notes.push_back(fmt::format("of {} entries one in {} is judged", curve.count, curve.stride));
  const bool steps_known = curve.with_step == curve.count;
  if (!steps_known)
    log.notes.emplace_back("the log does not give its steps; entries are counted instead");
  else if (curve.restarts > 0)
    log.notes.push_back(
        fmt::format("its steps start again {} times; they are numbered on as one run", curve.restarts));
  auto runs = runs_of(curve, steps_known, unit);
  auto& last = runs.back();
  last.nan_gradients_at_end = curve.nan_gradients_at_end + without_loss_at_end;
  // A column may be empty where others are logged, but not for so long.
  if (curve.empty_at_end > std::max(kMostEmpty, 3 * curve.most_empty)) last.missing = curve.empty_at_end;
  last.hidden = curve.hidden;
  for (auto& run : runs) {
    run.column = column.name;
    run.steps_known = steps_known;
    if (log.curves.size() < kMostCurves) log.curves.push_back(std::move(run));
  }
}

}  // namespace

void choose_curves(const LogEntries& entries, TrainingLog& log) {
  const auto& columns = entries.columns();
  const auto* loss = loss_column(columns);
  if (loss == nullptr) return;
  const auto role = loss->meaning.role;
  log.in_bits = role == Role::bits;
  if (role == Role::validation_loss)
    log.notes.emplace_back("only the loss of held-out text is logged: it is judged by that");
  if (role == Role::perplexity)
    log.notes.emplace_back("no loss is logged: it is the logarithm of the perplexity");
  log.objective = objective_of(role, entries.counts(), log.objective);
  const double unit = is_in_bits(*loss, columns) ? std::log(2.0) : 1;
  if (unit != 1) log.notes.emplace_back("its perplexity says that the loss is in bits; it is judged in nats");
  for (const auto& column : columns)
    if (column.curve.count > 0 && (&column == loss || is_same_loss_of_another_run(column, *loss)))
      add_runs(column, unit, entries.counts().without_loss_at_end, log);
  if (log.curves.size() > 1)
    log.notes.push_back(fmt::format("it holds {} runs; each is judged", log.curves.size()));
  if (const auto* validation = validation_column(columns, *loss); validation != nullptr)
    log.validation = validation->curve.points;
}

}  // namespace plumbline
