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

void Terminal::begin(const Header& header) {
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
  print(lines);
}

void Terminal::chapter_begin(const Chapter& chapter, int requirements) {
  if (open_) chapter_end();
  chapter_ = chapter;
  expected_ = std::max(requirements, 0);
  verdicts_.clear();
  open_ = true;
  redraw("");
}

void Terminal::requirement_begin(const std::string& id, const std::string& statement) {
  redraw(paint_.text(id, 40) + "  " + paint_.text(statement));
}

void Terminal::requirement_end(const Requirement& requirement) {
  verdicts_.push_back(requirement.verdict);
  redraw("");
}

// A mark a requirement, runs in one colour.
std::string Terminal::marks() const {
  std::string line;
  for (std::size_t i = 0; i < verdicts_.size();) {
    std::string run;
    const Verdict verdict = verdicts_[i];
    for (; i < verdicts_.size() && verdicts_[i] == verdict; ++i) run += paint_.mark(verdict);
    line += paint_.of(verdict, run);
  }
  std::string dots;
  for (auto i = static_cast<int>(verdicts_.size()); i < expected_; ++i) dots += style_.utf8 ? "·" : ".";
  return line + paint_.dim(dots);
}

void Terminal::redraw(const std::string& activity) {
  if (!open_ || !style_.animated) return;
  const int shown = std::max(expected_, static_cast<int>(verdicts_.size()));
  const std::string name =
      fit(fmt::format("{} {}", chapter_.number, paint_.text(chapter_.title)), 36, paint_.ellipsis());
  const int room = width() - 1 - columns(name) - 2;
  if (room < shown + 2) {
    print(fmt::format("\r{}\x1b[K", paint_.bold(fit(name, std::max(1, width() - 1), paint_.ellipsis()))));
    return;
  }
  print(fmt::format("\r{}  {}  {}\x1b[K", paint_.bold(name), marks(),
                    paint_.dim(fit(activity, room - shown - 2, paint_.ellipsis()))));
}

// On a terminal the line is erased at the end; elsewhere a mark a chapter shows that it goes on.
void Terminal::chapter_end() {
  if (!open_) return;
  open_ = false;
  if (style_.animated) return;
  const auto worst = std::max_element(verdicts_.begin(), verdicts_.end());
  print(fmt::format("{}{} {}", started_ ? "  " : "Chapters: ", chapter_.number,
                    worst == verdicts_.end() ? paint_.ellipsis() : paint_.mark(*worst)));
  started_ = true;
}

void Terminal::activity(const std::string& what) {
  if (style_.animated) {
    print(fmt::format("\r{}\x1b[K", fit(paint_.text(what), std::max(1, width() - 1), paint_.ellipsis())));
  } else {
    print((started_ ? "; " : "") + paint_.text(what));
    started_ = true;
  }
}

void Terminal::end(const Result& result, const std::string& written_to, bool verbose) {
  chapter_end();
  if (style_.animated)
    print("\r\x1b[K");
  else if (started_)
    print("\n");
  print(closing(result, written_to, paint_, width(), verbose));
}

}  // namespace plumbline::reports
