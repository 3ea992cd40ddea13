#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <regex>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"
#include "harness/text/lines.hpp"
#include "harness/text/training_log.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostPoints = 10'000'000;
// libstdc++ matches regular expressions recursively.
constexpr std::size_t kLongestMatched = 4096;
constexpr std::array kLossNames{"loss",    "train_loss", "train/loss", "training_loss",
                                "lm_loss", "lm loss",    "train loss", "loss/train"};
constexpr std::array kStepNames{"step", "global_step", "iter", "iteration", "update", "batch"};

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// The number that a text begins with: decimal, nan or inf.
std::optional<double> number_at(std::string_view text) {
  while (!text.empty() && text.front() == '+') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) return std::numeric_limits<double>::infinity();
  if (error != std::errc()) return std::nullopt;
  const auto rest = static_cast<std::size_t>(end - text.data());
  // "nancy", "3rd": no numbers.
  if (rest < text.size() && is_word(text[rest])) return std::nullopt;
  return value;
}

std::string_view without(std::string_view text, std::string_view characters) {
  const auto first = text.find_first_not_of(characters);
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

// What stands before a word and belongs to its name: "val " of "val loss", "eval_" of "eval_loss".
bool of_validation(std::string_view line, std::size_t at) {
  auto begin = at;
  while (begin > 0 && (is_word(line[begin - 1]) || line[begin - 1] == '/' || line[begin - 1] == '.')) --begin;
  if (begin == at && begin > 0 && line[begin - 1] == ' ') {
    --begin;
    while (begin > 0 && is_word(line[begin - 1])) --begin;
  }
  const auto before = line.substr(begin, at - begin);
  for (const auto* word : {"val", "test", "dev"})  // "valid", "eval"
    if (before.find(word) != std::string_view::npos) return true;
  return false;
}

// The first loss of a line of text.
std::optional<double> loss_in(const std::string& line) {
  for (auto at = line.find("loss"); at != std::string::npos; at = line.find("loss", at + 1)) {
    if (of_validation(line, at)) continue;
    auto rest = std::string_view(line).substr(at + 4);
    if (rest.starts_with("/train")) rest.remove_prefix(6);
    if (!rest.empty() && is_word(rest.front())) continue;  // "losses", "loss_scale"
    if (const auto value = number_at(without(rest, "'\" \t:=(["))) return value;
  }
  return std::nullopt;
}

struct StepFound {
  double step = 0, of = 0;  // of: how many there are, as in 100/2000; 0: not said
};

std::optional<StepFound> step_in(const std::string& line) {
  for (const auto* name : kStepNames)
    for (auto at = line.find(name); at != std::string::npos; at = line.find(name, at + 1)) {
      if (at > 0 && is_word(line[at - 1]) && !std::string_view(line).substr(0, at).ends_with("_")) continue;
      if (at > 0 && line[at - 1] == '/') continue;  // "ms/batch 120"
      auto rest = std::string_view(line).substr(at + std::string_view(name).size());
      while (!rest.empty() && rest.front() >= 'a' && rest.front() <= 'z') rest.remove_prefix(1);
      rest = without(rest, "'\" \t:=#([");
      const auto digits = rest.substr(0, rest.find_first_not_of("0123456789"));
      if (digits.empty()) continue;
      StepFound found{std::strtod(std::string(digits).c_str(), nullptr), 0};
      if (const auto after = rest.substr(digits.size()); after.starts_with("/"))
        found.of = number_at(after.substr(1, after.find_first_not_of("0123456789", 1) - 1)).value_or(0);
      return found;
    }
  // "Epoch:[1/2](100/44160)": the last pair before the loss.
  static const std::regex pair(R"(\(\s*(\d{1,12})\s*/\s*(\d{1,12})\s*\))");
  std::smatch match;
  const auto head = line.substr(0, std::min(line.find("loss"), kLongestMatched));
  if (std::regex_search(head, match, pair)) return StepFound{std::stod(match[1]), std::stod(match[2])};
  return std::nullopt;
}

class Reader {
 public:
  Reader(const std::filesystem::path& file, const LogReading& reading) : path_(file), reading_(reading) {
    log_.file = file.string();
  }

  TrainingLog read() {
    const auto& name = log_.file;
    if (!reading_.pattern.empty())
      matched();
    else if (name.ends_with(".csv") || name.ends_with(".tsv"))
      table();
    else if (name.ends_with(".json"))
      history();
    else
      lines(name.ends_with(".jsonl"));
    if (log_.points.empty())
      throw InputError(fmt::format(
          "{}: no loss was found; looked for {}; name it with --column or --pattern", printable(name),
          !reading_.pattern.empty()  ? "the given pattern"
          : !reading_.column.empty() ? fmt::format("'{}'", printable(reading_.column, 60))
                                     : fmt::format("{}", fmt::join(kLossNames, ", "))));
    log_.steps_known = with_step_ == log_.points.size();
    if (!log_.steps_known)
      for (std::size_t i = 0; i < log_.points.size(); ++i) log_.points[i].step = static_cast<double>(i + 1);
    if (!log_.steps_known) log_.notes.push_back("it does not say its steps; entries are counted instead");
    if (restarts_ > 0 && log_.steps_known)
      log_.notes.push_back(fmt::format("its steps start again {} times; they were counted on", restarts_));
    return std::move(log_);
  }

 private:
  void add(std::size_t line, double loss, const std::optional<StepFound>& step) {
    if (log_.points.size() == kMostPoints)
      throw InputError(fmt::format("{}: more than {} losses", printable(log_.file), kMostPoints));
    double at = 0;
    if (step) {
      if (with_step_ > 0 && step->step < last_) {
        offset_ += step->of > 0 ? std::max(last_of_, last_) : last_;
        ++restarts_;
      }
      last_ = step->step;
      last_of_ = step->of;
      at = offset_ + step->step;
      ++with_step_;
    }
    log_.points.push_back({line, at, loss});
  }

  static std::optional<double> value_of(const Json& value) {
    if (value.is_number()) return value.get<double>();
    if (value.is_string()) return number_at(lowered(value.get<std::string>()));
    return std::nullopt;
  }

  bool object(const Json& entry, std::size_t line) {
    const auto one_of = [&](const auto& names) -> std::optional<double> {
      for (const auto& name : names)
        if (const auto found = entry.find(name); found != nullptr)
          if (const auto value = value_of(*found)) return value;
      return std::nullopt;
    };
    const auto loss = reading_.column.empty() ? one_of(kLossNames) : one_of(std::array{reading_.column});
    if (!loss) return false;
    const auto step = one_of(kStepNames);
    add(line, *loss, step ? std::optional(StepFound{*step, 0}) : std::nullopt);
    return true;
  }

  void lines(bool objects) {
    log_.read_as = objects ? "JSON lines" : "text";
    Lines lines(path_);
    std::string line;
    while (lines.next(line)) {
      if (objects) {
        // A logger in Python writes NaN, which is no JSON: such a line is read as text.
        try {
          const auto entry = parse_json(line, "");
          if (entry.is_object()) object(entry, lines.number());
          continue;
        } catch (const InputError&) {
        }
      }
      const auto low = lowered(std::string_view(line).substr(0, 1 << 16));
      if (const auto loss = loss_in(low)) add(lines.number(), *loss, step_in(low));
    }
    log_.sha256 = lines.sha256();
  }

  void history() {
    log_.read_as = "JSON";
    const auto text = read_text(path_, 256ull << 20);
    log_.sha256 = plumbline::sha256(text);
    Json whole;
    try {
      whole = parse_json(text, log_.file);
    } catch (const InputError&) {
      return lines(true);  // lines of JSON by another name, or NaN in it
    }
    if (whole.is_object() && whole.contains("log_history")) whole = whole["log_history"];
    if (whole.is_object()) whole = Json::array({whole});
    if (!whole.is_array())
      throw InputError(fmt::format("{}: expected entries with a loss", printable(log_.file)));
    std::size_t number = 0;
    for (const auto& entry : whole) {
      ++number;
      if (entry.is_object()) object(entry, number);
    }
    log_.notes.push_back("line numbers are those of entries");
  }

  void table() {
    log_.read_as = "CSV";
    Lines lines(path_);
    std::string line;
    if (!lines.next(line)) throw InputError(fmt::format("{}: is empty", printable(log_.file)));
    const char separator = line.find('\t') != std::string::npos  ? '\t'
                           : line.find(';') != std::string::npos ? ';'
                                                                 : ',';
    const auto cells = [&](const std::string& row) {
      std::vector<std::string> all(1);
      bool quoted = false;
      for (const char c : row) {
        if (c == '"')
          quoted = !quoted;
        else if (c == separator && !quoted)
          all.emplace_back();
        else
          all.back() += c;
      }
      for (auto& cell : all) {
        cell.erase(0, std::min(cell.find_first_not_of(" \t"), cell.size()));
        cell.erase(cell.find_last_not_of(" \t") + 1);
      }
      return all;
    };
    const auto header = cells(line);
    const auto column = [&](const auto& names) -> std::optional<std::size_t> {
      for (const auto& name : names)
        for (std::size_t i = 0; i < header.size(); ++i)
          if (lowered(header[i]) == lowered(name)) return i;
      return std::nullopt;
    };
    const auto loss = reading_.column.empty() ? column(kLossNames) : column(std::array{reading_.column});
    const auto step = column(kStepNames);
    if (!loss) return;  // said by read()
    while (lines.next(line)) {
      const auto row = cells(line);
      if (*loss >= row.size()) continue;
      const auto value = number_at(lowered(row[*loss]));
      if (!value) continue;
      const auto at = step && *step < row.size() ? number_at(row[*step]) : std::nullopt;
      add(lines.number(), *value, at ? std::optional(StepFound{*at, 0}) : std::nullopt);
    }
    log_.sha256 = lines.sha256();
  }

  void matched() {
    log_.read_as = "text, by a pattern";
    std::regex pattern;
    try {
      pattern = std::regex(reading_.pattern, std::regex::ECMAScript);
    } catch (const std::regex_error& error) {
      throw InputError(fmt::format("--pattern: is no regular expression: {}", error.what()));
    }
    if (pattern.mark_count() < 1 || pattern.mark_count() > 2)
      throw InputError("--pattern: expected one group in parentheses, the loss, or two, step and loss");
    Lines lines(path_);
    std::string line;
    while (lines.next(line)) {
      std::smatch match;
      line.resize(std::min(line.size(), kLongestMatched));
      if (!std::regex_search(line, match, pattern)) continue;
      const auto value = number_at(lowered(match[match.size() - 1].str()));
      if (!value) continue;
      const auto step = match.size() == 3 ? number_at(match[1].str()) : std::nullopt;
      add(lines.number(), *value, step ? std::optional(StepFound{*step, 0}) : std::nullopt);
    }
    log_.sha256 = lines.sha256();
  }

  std::filesystem::path path_;
  LogReading reading_;
  TrainingLog log_;
  std::size_t with_step_ = 0, restarts_ = 0;
  double last_ = 0, last_of_ = 0, offset_ = 0;
};

}  // namespace

TrainingLog read_training_log(const std::filesystem::path& file, const LogReading& reading) {
  return Reader(file, reading).read();
}

}  // namespace plumbline
