#include <fmt/format.h>

#include <regex>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/training_log/log_scanners.hpp"
#include "harness/training_log/training_log.hpp"

namespace plumbline {
namespace {

// libstdc++ matches regular expressions recursively.
constexpr std::size_t kLongestMatched = 4096;
constexpr std::size_t kEnough = 10;  // entries: with as many, no other shape is tried
constexpr std::size_t kLooksAt = std::size_t{1} << 14;

enum class Shape { json, table, text, pattern };

// The file's first kLooksAt bytes.
std::string beginning_of(const std::filesystem::path& path) {
  UnpackedFile file(path);
  std::string first;
  while (first.size() < kLooksAt) {
    const auto part = file.next_part();
    if (part.empty()) break;
    first.append(part.substr(0, kLooksAt - first.size()));
  }
  if (first.empty() && file.ends_early())
    throw InputError(
        fmt::format("{}: is a gzip file that is damaged from its beginning on", printable(path.string())));
  return first;
}

void scan_pattern(UnpackedFile& file, const std::string& expression, LogEntries& entries) {
  std::regex pattern;
  try {
    pattern = std::regex(expression, std::regex::ECMAScript);
  } catch (const std::regex_error& error) {
    throw InputError(fmt::format("--pattern: is no regular expression: {}", error.what()));
  }
  if (pattern.mark_count() < 1 || pattern.mark_count() > 2)
    throw InputError("--pattern: expected one group in parentheses, the loss, or two, step and loss");
  const int loss = entries.column("loss", {Role::loss, 0}), step = entries.column("step", {Role::step, 0});
  LogLines lines(file);
  std::string_view line;
  while (lines.next(line)) {
    std::match_results<std::string_view::const_iterator> match;
    line = line.substr(0, kLongestMatched);
    if (!std::regex_search(line.begin(), line.end(), match, pattern)) continue;
    const auto value = parse_cell(match[match.size() - 1].str());
    if (!value.is_number) continue;
    entries.cell(loss, value.value);
    if (match.size() == 3)
      if (const auto at = parse_cell(match[1].str()); at.is_number) entries.cell(step, at.value);
    entries.end_record(lines.number());
  }
}

// The first lines, for a message: "'a' / 'b'".
std::string shown_beginning(std::string_view text) {
  constexpr std::size_t lines = 3, width = 100;
  std::string shown;
  for (std::size_t i = 0; i < lines && !text.empty();) {
    const auto end = std::min(text.find_first_of("\r\n"), text.size());
    if (const auto line = text.substr(0, end); line.find_first_not_of(" \t") != std::string_view::npos) {
      shown += fmt::format("{}'{}'", shown.empty() ? "" : " / ", printable(line, width));
      ++i;
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return shown;
}

[[noreturn]] void refuse(const std::string& file, const LogReading& reading, const std::string& seen,
                         const std::string& beginning) {
  auto words = fmt::format("{}: no loss was found", printable(file));
  if (beginning.empty()) throw InputError(words + "; it is empty");
  if (!reading.pattern.empty())
    words += "; no line matches the pattern";
  else if (!reading.column.empty())
    words += fmt::format("; no column is called '{}'", printable(reading.column, 60));
  if (!seen.empty()) words += fmt::format("; its columns: {}", seen);
  throw InputError(fmt::format("{}; it begins {}; name the loss: --loss COLUMN, or --pattern REGEX for text",
                               words, shown_beginning(beginning)));
}

}  // namespace

TrainingLog read_training_log(const std::filesystem::path& path, const LogReading& reading) {
  const auto beginning = beginning_of(path);
  const char separator = separator_of_table(beginning);
  std::vector<Shape> shapes;
  if (!reading.pattern.empty()) {
    shapes = {Shape::pattern};
  } else {
    if (begins_as_json(beginning)) shapes.push_back(Shape::json);
    if (separator != 0) shapes.push_back(Shape::table);
    shapes.push_back(Shape::text);
  }
  TrainingLog best;
  std::string columns_seen;
  for (const auto shape : shapes) {
    UnpackedFile file(path);
    LogEntries entries(reading.column);
    TrainingLog log;
    log.file = path.string();
    switch (shape) {
      case Shape::json:
        log.read_as = scan_json(file, entries) ? "JSON lines" : "JSON";
        break;
      case Shape::table:
        log.read_as = "CSV";
        scan_table(file, separator, entries);
        break;
      case Shape::text:
        log.read_as = "text";
        scan_text(file, entries);
        break;
      case Shape::pattern:
        log.read_as = "text, by a pattern";
        scan_pattern(file, reading.pattern, entries);
    }
    if (columns_seen.empty()) columns_seen = entries.column_names();
    if (entries.longest_curve() > best.entries) {
      choose_curves(entries, log);
      if (file.ends_early())
        log.notes.emplace_back("the gzip file is cut or damaged; what comes before is judged");
      log.sha256 = file.sha256();
      best = std::move(log);
    }
    // A file that looks like JSON or a table may be text: a log that begins with its settings, in JSON.
    if (best.entries >= kEnough) break;
  }
  if (best.curves.empty()) refuse(path.string(), reading, columns_seen, beginning);
  return best;
}

}  // namespace plumbline
