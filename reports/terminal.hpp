// What a person sees while a verification runs, and at its end.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "harness/result/result.hpp"
#include "harness/result/words.hpp"

namespace plumbline::reports {

struct TerminalStyle {
  bool colour = false;
  bool animated = false;  // the line of progress is redrawn, and erased at the end
  bool utf8 = false;
  int width = 0;  // columns; 0 asks the terminal each time, and takes 100 where there is none
};

// What `stream` can show: colour and animation on a terminal that is not "dumb"; no colour with NO_COLOR, no
// animation with CI; UTF-8 as LC_ALL, LC_CTYPE or LANG says.
TerminalStyle terminal_style(std::FILE* stream);

// Text in a colour or none, in UTF-8 or ASCII; all of it made visible first.
class Paint {
 public:
  explicit Paint(const TerminalStyle& style) : colour_(style.colour), utf8_(style.utf8) {}

  std::string text(std::string_view untrusted, std::size_t limit = 300) const;
  // `shown` came from text(): the codes are put around it, so widths have to be measured before.
  std::string bold(std::string_view shown) const { return with("1", shown); }
  std::string dim(std::string_view shown) const { return with("2", shown); }
  std::string of(Verdict verdict, std::string_view shown) const;
  std::string of_status(int status, std::string_view shown) const;
  std::string mark(Verdict verdict) const;
  std::string ellipsis() const { return utf8_ ? "…" : "..."; }

 private:
  std::string with(const char* code, std::string_view shown) const;

  bool colour_;
  bool utf8_;
};

// Calls come in the order begin, then for each chapter chapter_begin, requirement_begin and _end,
// chapter_end; then end. A call out of order prints something odd and breaks nothing.
class Terminal {
 public:
  explicit Terminal(std::FILE* stream) : Terminal(stream, terminal_style(stream)) {}
  Terminal(std::FILE* stream, const TerminalStyle& style) : stream_(stream), style_(style), paint_(style) {}

  void begin(const Header& header);
  void chapter_begin(const Chapter& chapter, int requirements);
  void requirement_begin(const std::string& id, const std::string& statement);
  void requirement_end(const Requirement& requirement);
  void chapter_end();
  // What is done after the chapters.
  void activity(const std::string& what);
  // `written_to` is the directory that holds the documents; empty where none were written. `verbose`:
  // everything that was found, after the first screen.
  void end(const Result& result, const std::string& written_to, bool verbose = false);

 private:
  int width() const;
  std::string marks() const;
  void redraw(const std::string& activity);
  void print(const std::string& text) const;

  std::FILE* stream_;
  TerminalStyle style_;
  Paint paint_;
  Chapter chapter_;
  int expected_ = 0;
  std::vector<Verdict> verdicts_;
  bool open_ = false;     // a chapter is
  bool started_ = false;  // the line of progress is
};

// The end of the terminal's view: the verdict, where, why, what to do, and the chapters, in forty lines; with
// `verbose`, everything that was found.
std::string closing(const Result& result, const std::string& written_to, const Paint& paint, int width,
                    bool verbose = false);

}  // namespace plumbline::reports
