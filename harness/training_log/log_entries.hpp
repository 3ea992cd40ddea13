// The content of a training log by columns, with curves of those that may be the loss.
#pragma once

#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "harness/training_log/log_columns.hpp"
#include "harness/training_log/training_log.hpp"

namespace plumbline {

// Where steps start again in the same epoch, and what is added to them from there on.
struct StepRestart {
  std::size_t line;
  double offset;
};

// The values of a column that may be the loss.
struct ColumnCurve {
  // `of`: how many steps there are, 0: not said; `nan_gradient`: the record's gradient is no number.
  void add(LogPoint point, bool has_step, double of, bool nan_gradient);

  std::vector<LogPoint> points;
  std::size_t count = 0, stride = 1, with_step = 0, hidden = 0, restarts = 0;
  double last_step = 0, last_of = 0, offset = 0, last_epoch = 0;
  std::size_t nan_gradients_at_end = 0;
  std::size_t empty_at_end = 0, most_empty = 0;  // cells in a row, at the end and before
  std::vector<StepRestart> starts;
  LogPoint previous;

 private:
  // Continues counting where steps restart. Returns whether the point repeats the previous entry, as progress
  // bars do.
  bool count_step(LogPoint& point, double of);
  void restart_steps(const LogPoint& point, double of);
  void keep_half_of_the_points();
};

struct LogColumn {
  std::string name;
  Meaning meaning;
  std::size_t count = 0;
  ColumnCurve curve;
};

// Numbers of records with a loss, and with rewards or preferences.
struct RecordCounts {
  std::size_t with_loss = 0, with_reward = 0, with_preference = 0;
  std::size_t without_loss_at_end = 0;  // whose gradient is NaN
};

// Whether a column of this role may be the loss.
bool may_be_loss(Role role);

// Collects a log record by record (a line of text, a row, an object). Each curve has at most half a million
// entries, evenly spread.
class LogEntries {
 public:
  // `loss`: the name of the loss; empty: one of the usual names.
  explicit LogEntries(std::string loss);

  // The number of a column, by which its cells are added. Negative: there are too many, it is left out.
  int column(std::string_view name, const Meaning& meaning);
  int column(std::string_view name) { return column(name, meaning_of_name(name)); }
  const Meaning& meaning(int column) const { return columns_[static_cast<std::size_t>(column)].meaning; }

  // `of`: how many there are, as in 100/2000; 0: not said.
  void cell(int column, double value, double of = 0);
  // A cell without a value: null, None, n/a.
  void empty_cell(int column);
  // The name of the record's value, in a table that holds several metrics in one column.
  void tag(std::string_view name);
  void end_record(std::size_t line);

  // Whether the text before a number in a line ends with loss_name(). `name`: the part of that text that is a
  // name by itself.
  bool names_loss(std::string_view before, std::string_view name) const;
  const std::string& loss_name() const { return loss_; }

  // The number of entries of the longest curve that may be the loss.
  std::size_t longest_curve() const;
  // "step, lr, perte": the columns that were seen.
  std::string column_names() const;
  const std::vector<LogColumn>& columns() const { return columns_; }
  const RecordCounts& counts() const { return counts_; }

 private:
  struct Cell {
    int column;
    double value, of;
  };
  // The roles of a record's cells.
  struct Record {
    const Cell *step = nullptr, *epoch = nullptr;
    // Whether the record is of a training step, and not of an evaluation at the end.
    bool of_training = false, of_other = false;
    bool summary = false, nan_gradient = false, reward = false, preference = false, loss = false;
  };

  // Lets a name be looked up without a copy of it.
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
  };

  Record read_cells();
  void read_cell(const Cell& cell, Role role, Record& record) const;
  void add_losses(const Record& record, std::size_t line);
  LogColumn& column_of(int column) { return columns_[static_cast<std::size_t>(column)]; }

  std::string loss_;
  std::vector<LogColumn> columns_;
  std::unordered_map<std::string, int, Hash, std::equal_to<>> numbers_;
  std::vector<Cell> record_;
  std::vector<int> empty_;  // the record's columns that hold nothing
  std::string tag_;
  std::size_t others_ = 0, losses_ = 0, known_ = 0;  // how many columns
  RecordCounts counts_;
};

// Puts the curves to be judged into the log: of the column that is most surely the loss, and of the same loss
// of other runs beside it.
void choose_curves(const LogEntries& entries, TrainingLog& log);

// "Run 3 - train/loss" -> "train/loss".
std::string_view without_run(std::string_view name);

// A number read from text: decimal, nan or inf. Where there is none, NaN, and `is_number` is false.
struct ParsedNumber {
  double value = std::numeric_limits<double>::quiet_NaN();
  bool is_number = false;
  std::size_t length = 0;  // characters that were read
};
// The number that the text begins with, or the number that is the whole cell.
ParsedNumber parse_number(std::string_view text);
ParsedNumber parse_cell(std::string_view cell);

}  // namespace plumbline
