#include "reports/terminal.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "harness/system/visible.hpp"

namespace plumbline::reports {
namespace {

constexpr int usual_width = 100;
constexpr int words_room = 20;  // columns for the least that follows the marks: the time and "16 passed"

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string value = environment(name);
    if (value.empty()) continue;
    std::transform(value.begin(), value.end(), value.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

std::string padded(const std::string& shown, int width) {
  return shown + std::string(static_cast<std::size_t>(std::max(0, width - columns(shown))), ' ');
}

// Leaves out counts that the marks show anyway, where the words would not fit: first how many passed.
Counts shortened(Counts counts, int room) {
  for (int Counts::*member : {&Counts::passed, &Counts::not_applicable}) {
    const bool all = counts.*member == counts.total();
    if (columns(in_words(counts)) > room && !all) counts.*member = 0;
  }
  return counts;
}

}  // namespace

TerminalStyle terminal_style(std::FILE* stream) {
  TerminalStyle style;
  const std::string terminal = environment("TERM");
  const bool able = isatty(fileno(stream)) == 1 && !terminal.empty() && terminal != "dumb";
  style.colour = able && environment("NO_COLOR").empty();
  style.animated = able && environment("CI").empty();
  style.utf8 = locale_is_utf8();
  return style;
}

std::string Paint::with(const char* code, std::string_view shown) const {
  return colour_ && !shown.empty() ? fmt::format("\x1b[{}m{}\x1b[0m", code, shown) : std::string(shown);
}

std::string Paint::text(std::string_view untrusted, std::size_t limit) const {
  const std::string shown = visible(untrusted, limit);
  return utf8_ ? shown : in_ascii(shown);
}

std::string Paint::of(Verdict verdict, std::string_view shown) const {
  switch (verdict) {
    case Verdict::pass:
      return with("32", shown);
    case Verdict::fail:
      return with("1;31", shown);
    case Verdict::error:
      return with("1;35", shown);
    case Verdict::not_assessed:
      return with("33", shown);
    case Verdict::not_applicable:
      return dim(shown);
  }
  return std::string(shown);
}

std::string Paint::of_status(int status, std::string_view shown) const {
  return with(status == 0 ? "1;32" : status == 1 ? "1;31" : status == 3 ? "1;33" : "1;35", shown);
}

std::string Paint::mark(Verdict verdict) const {
  switch (verdict) {
    case Verdict::pass:
      return utf8_ ? "✔" : "+";
    case Verdict::fail:
      return utf8_ ? "✘" : "x";
    case Verdict::error:
      return "!";
    case Verdict::not_assessed:
      return "?";
    case Verdict::not_applicable:
      return utf8_ ? "–" : "-";
  }
  return "!";
}

int Terminal::width() const {
  if (style_.width > 0) return style_.width;
  winsize size{};
  if (ioctl(fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return usual_width;
}

void Terminal::print(const std::string& text) const {
  std::fwrite(text.data(), 1, text.size(), stream_);
  std::fflush(stream_);
}

void Terminal::begin(const Header& header, const TerminalColumns& columns) {
  columns_ = columns;
  std::string facts = fmt::format("plumbline {}", header.plumbline_version);
  const auto add = [&](const std::string& fact) { facts += ", " + fact; };
  if (!header.device.empty()) add(header.device);
  if (!header.dtype.empty()) add(header.dtype);
  if (header.threads > 0) add(counted(header.threads, "thread"));
  add("seed " + std::to_string(header.seed));
  if (!is_whole(header)) add("only " + scope_in_words(header.scope));
  if (header.shard) add(in_words(*header.shard));
  const int room = std::min(width(), usual_width);
  const auto bold = [&](const std::string& name) { return paint_.bold(paint_.text(name, 80)); };
  std::string lines =
      header.baseline
          ? "\nComparing " + bold(header.candidate) + " with " + bold(header.baseline->name) +
                ", both given what " + bold(header.specification) + " takes\n"
          : "\nJudging " + bold(header.candidate) + " against " + bold(header.specification) + "\n";
  for (const std::string& line : wrap(paint_.text(facts), room)) lines += paint_.dim(line) + "\n";
  for (const std::string& note : header.notes) {
    for (const std::string& line : wrap(paint_.text(note), room)) lines += paint_.dim(line) + "\n";
  }
  print(lines + "\n");
}

void Terminal::chapter_begin(const Chapter& chapter, int requirements) {
  if (open_) chapter_end();
  chapter_ = chapter;
  expected_ = std::max(requirements, 0);
  verdicts_.clear();
  seconds_ = 0;
  open_ = true;
  redraw("");
}

void Terminal::requirement_begin(const std::string& id, const std::string& statement) {
  redraw(paint_.text(id, 40) + "  " + paint_.text(statement));
}

void Terminal::requirement_end(const Requirement& requirement) {
  verdicts_.push_back(requirement.verdict);
  if (std::isfinite(requirement.seconds)) seconds_ += requirement.seconds;
  redraw("");
}

std::string Terminal::label() const {
  const int number = width() < usual_width ? 2 : 4;
  const int room = std::max(10, std::min(columns_.title, width() - number - 2));
  return fmt::format("{:>{}} {}", chapter_.number, number,
                     padded(fit(paint_.text(chapter_.title), room, paint_.ellipsis()), room));
}

// A mark a requirement, runs in one colour; nothing where they would leave less than `room` columns.
std::string Terminal::marks(int room) const {
  const int count = std::max(expected_, static_cast<int>(verdicts_.size()));
  const int taken = std::max(count, columns_.marks);
  if (columns(label()) + 2 + taken + 2 + room > width()) return {};
  std::string line;
  for (std::size_t i = 0; i < verdicts_.size();) {
    std::string run;
    const Verdict verdict = verdicts_[i];
    for (; i < verdicts_.size() && verdicts_[i] == verdict; ++i) run += paint_.mark(verdict);
    line += paint_.of(verdict, run);
  }
  const auto pending = static_cast<std::size_t>(count) - verdicts_.size();
  std::string dots;
  for (std::size_t i = 0; i < pending; ++i) dots += style_.utf8 ? "·" : ".";
  return "  " + line + paint_.dim(dots) + std::string(static_cast<std::size_t>(taken - count), ' ');
}

void Terminal::redraw(const std::string& activity) {
  if (!open_ || !style_.animated) return;
  const std::string shown = marks(words_room);
  const int taken =
      shown.empty() ? 0 : 2 + std::max({expected_, static_cast<int>(verdicts_.size()), columns_.marks});
  const int room = width() - 1 - columns(label()) - taken - 2;
  print(fmt::format("\r{}{}  {}\x1b[K", paint_.bold(label()), shown,
                    paint_.dim(fit(activity, room, paint_.ellipsis()))));
}

void Terminal::chapter_end() {
  if (!open_) return;
  open_ = false;
  expected_ = static_cast<int>(verdicts_.size());
  Counts counts;
  for (const Verdict verdict : verdicts_) counts.add(verdict);
  const bool nothing = counts.not_applicable == counts.total();
  const bool calm = counts.failed + counts.errors + counts.not_assessed == 0;
  const std::string shown = marks(words_room);
  const int taken = columns(label()) + (shown.empty() ? 0 : 2 + std::max(expected_, columns_.marks)) + 12;
  const auto shown_counts = parts(shown.empty() ? counts : shortened(counts, width() - taken));
  std::string words;
  for (const auto& [verdict, part] : shown_counts) {
    const bool aligned = words.empty() && part[1] == ' ';  // one digit under two
    words += words.empty() ? (aligned ? " " : "") : ", ";
    words += verdict == Verdict::pass ? part : paint_.of(verdict, part);
  }
  if (words.empty()) words = paint_.dim(in_words(counts));
  const std::string name = nothing ? paint_.dim(label()) : calm ? label() : paint_.bold(label());
  const std::string time = verdicts_.empty() ? "" : fmt::format("{:.1f} s", seconds_);
  const std::string line = name + shown + paint_.dim(fmt::format("  {:>7}", time)) + "  " + words;
  // Erased first: after a line that fills the terminal, erasing to its end would take the last character.
  print(fmt::format("{}{}\n", style_.animated ? "\r\x1b[K" : "", line));
}

void Terminal::end(const Result& result, const std::string& written_to) {
  chapter_end();
  print(closing(result, written_to, paint_, width()));
}

}  // namespace plumbline::reports
