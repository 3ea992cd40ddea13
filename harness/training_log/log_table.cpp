#include <algorithm>
#include <optional>
#include <vector>

#include "harness/training_log/log_scanners.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostCells = 4096;
constexpr char kTwoSpaces = '\x1f';  // or more, where names have spaces within

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  return first == std::string_view::npos ? std::string_view()
                                         : text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string_view unquoted(std::string_view cell) {
  cell = trimmed(cell);
  if (cell.size() >= 2 && (cell.front() == '"' || cell.front() == '\'') && cell.back() == cell.front())
    cell = cell.substr(1, cell.size() - 2);
  return trimmed(cell);
}

void split(std::string_view row, char separator, std::vector<std::string_view>& cells) {
  cells.clear();
  row = trimmed(row);
  if (separator == '|' && row.starts_with('|')) row.remove_prefix(1);
  if (separator == '|' && row.ends_with('|')) row.remove_suffix(1);
  std::size_t begin = 0;
  if (separator == kTwoSpaces) {
    for (auto end = row.find("  "); end != std::string_view::npos && cells.size() < kMostCells;
         end = row.find("  ", begin)) {
      cells.push_back(unquoted(row.substr(begin, end - begin)));
      begin = std::min(row.find_first_not_of(' ', end), row.size());
    }
    cells.push_back(unquoted(row.substr(begin)));
    return;
  }
  bool quoted = false;
  for (std::size_t i = 0; i < row.size() && cells.size() < kMostCells; ++i) {
    if (row[i] == '"') quoted = !quoted;
    if (row[i] != separator || quoted) continue;
    const bool again = separator == ' ' && i == begin;  // columns that are aligned by spaces
    if (!again) cells.push_back(unquoted(row.substr(begin, i - begin)));
    begin = i + 1;
  }
  cells.push_back(unquoted(row.substr(begin)));
}

// "# step, loss" -> "step, loss"
std::string_view header_of(std::string_view line) {
  line = trimmed(line);
  while (line.starts_with('#')) line = trimmed(line.substr(1));
  return line;
}

// The number in a cell. It may have a decimal comma where commas do not separate cells.
std::optional<double> number_in(std::string_view cell, char separator) {
  auto parsed = parse_cell(cell);
  if (parsed.is_number) return parsed.value;
  if (separator == ',' || cell.size() > 40 || cell.find(',') == std::string_view::npos) return std::nullopt;
  std::string point(cell);
  point[point.find(',')] = '.';
  parsed = parse_cell(point);
  return parsed.is_number ? std::optional(parsed.value) : std::nullopt;
}

bool is_preamble(std::string_view line) {
  return header_of(line).empty() || line.starts_with("sep=");
}

}  // namespace

char separator_of_table(std::string_view first_lines) {
  std::string_view header, row;
  while (!first_lines.empty() && row.empty()) {
    const auto end = std::min(first_lines.find_first_of("\r\n"), first_lines.size());
    const auto line = first_lines.substr(0, end);
    const bool whole = end < first_lines.size();
    first_lines.remove_prefix(std::min(end + 1, first_lines.size()));
    const bool is_rule = header_of(line).find_first_not_of("-+|=: \t") == std::string_view::npos;
    if (is_preamble(line) || (is_rule && !header.empty())) continue;
    if (header.empty())
      header = header_of(line);
    else if (whole || first_lines.empty())
      row = line;
  }
  std::vector<std::string_view> names, cells;
  for (const char separator : {'\t', ';', ',', '|', ' ', kTwoSpaces}) {
    split(header, separator, names);
    split(row, separator, cells);
    if (names.size() < 2 || (names.size() != cells.size() && separator != ',')) continue;
    const auto is_number = [&](std::string_view cell) { return number_in(cell, separator).has_value(); };
    if (names.size() == cells.size() && std::all_of(names.begin(), names.end(), is_number) &&
        std::all_of(cells.begin(), cells.end(), is_number))
      return separator;  // without a header
    if (std::any_of(names.begin(), names.end(), is_number)) continue;
    // A sentence is no header.
    if ((separator == ' ' || separator == kTwoSpaces) && !std::all_of(cells.begin(), cells.end(), is_number))
      continue;
    if (names.size() == cells.size() && std::any_of(cells.begin(), cells.end(), is_number) &&
        std::all_of(cells.begin(), cells.end(),
                    [](std::string_view cell) { return cell.find(": ") == std::string_view::npos; }))
      return separator;
  }
  return 0;
}

void scan_table(UnpackedFile& file, char separator, LogEntries& entries) {
  LogLines lines(file);
  std::string_view line;
  do {
    if (!lines.next(line)) return;
  } while (is_preamble(line));
  std::vector<std::string_view> cells;
  split(header_of(line), separator, cells);
  std::vector<int> columns;
  std::optional<std::size_t> tag;
  bool has_value = false;
  const bool has_header = std::none_of(cells.begin(), cells.end(), [&](std::string_view cell) {
    return number_in(cell, separator).has_value();
  });
  const auto has_column = [&](std::string_view name) {
    return std::find(cells.begin(), cells.end(), name) != cells.end();
  };
  for (std::size_t i = 0; i < cells.size(); ++i) {
    // SwanLab writes "loss", "loss_step" and "loss_timestamp": the second one holds steps.
    constexpr std::string_view step = "_step";
    if (cells[i].ends_with(step)) {
      const std::string metric(cells[i].substr(0, cells[i].size() - step.size()));
      if (has_column(metric) && has_column(metric + "_timestamp")) {
        columns.push_back(entries.column(cells[i], {Role::step, kProgressRank - 1}));
        continue;
      }
    }
    columns.push_back(has_header ? entries.column(cells[i])
                                 : entries.column("column " + std::to_string(i + 1), {}));
    if (columns.back() < 0) continue;
    const auto role = entries.meaning(columns.back()).role;
    if (role == Role::tag && !tag) tag = i;
    has_value |= role == Role::value;
  }
  const auto add_record = [&] {
    for (std::size_t i = 0; i < std::min(cells.size(), columns.size()); ++i) {
      if (tag == i && has_value) entries.tag(cells[i]);
      if (columns[i] < 0) continue;
      if (const auto value = number_in(cells[i], separator))
        entries.cell(columns[i], *value);
      else
        entries.empty_cell(columns[i]);
    }
    entries.end_record(lines.number());
  };
  if (!has_header) add_record();
  while (lines.next(line)) {
    split(line, separator, cells);
    add_record();
  }
}

}  // namespace plumbline
