// What the end of the terminal's view is made of.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "harness/system/visible.hpp"
#include "reports/terminal.hpp"

namespace plumbline::reports {

using Requirements = std::vector<const Requirement*>;

// Lines of text within a width.
struct TerminalPage {
  const Paint& paint;
  int width;
  std::string written_to;
  std::string lines = {};

  // Lines at `indent`, those after the first further in; coloured one by one, so that no colour runs into a
  // margin.
  template <typename Colour>
  void paragraph(const std::string& text, int indent, Colour colour, int further = 0) {
    std::string margin(static_cast<std::size_t>(indent), ' ');
    for (const std::string& line : wrap(text, width - indent - further)) {
      lines += margin + colour(line) + "\n";
      margin.resize(static_cast<std::size_t>(indent + further), ' ');
    }
  }

  void plain(const std::string& text, int indent) {
    paragraph(
        text, indent, [](const std::string& line) { return line; }, 2);
  }
  void dim(const std::string& text, int indent) {
    paragraph(text, indent, [&](const std::string& line) { return paint.dim(line); });
  }

  // `label`, then `text` beside it with its lines under one another.
  template <typename Colour>
  void beside(const std::string& label, const std::string& shown_label, const std::string& text, int indent,
              Colour colour) {
    const std::size_t start = lines.size() + static_cast<std::size_t>(indent);
    const int inner = indent + columns(label) + 2;
    paragraph(text, inner, colour);
    lines.replace(start, static_cast<std::size_t>(columns(label)), shown_label);
  }

  std::string elsewhere() const {
    return written_to.empty() ? std::string() : " in " + paint.text(written_to + "/result.json");
  }
};

// Of so many columns, with spaces behind.
std::string padded(std::string text, int width);

Requirements with(const Result& result, Verdict verdict);

// The musts that failed, those of them that somebody answers for apart, and the shoulds.
struct Failures {
  Requirements musts, waived, shoulds;
};
Failures failures_of(const Result& result);

// Why it has no verdict, and each check that failed; one sentence at least.
std::vector<std::string> sentences(const Requirement& requirement);

std::string short_id(const Requirement& requirement, const Paint& paint);

int label_width(const Requirements& requirements, const Paint& paint);

// By reason, in order of first appearance: sixty requirements that lack the same thing are one line to read.
std::vector<std::pair<Reason, Requirements>> grouped(const Requirements& requirements);

// Everything that was found, after the first screen.
void add_details(TerminalPage& page, const Result& result);

}  // namespace plumbline::reports
