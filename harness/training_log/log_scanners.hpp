// Scanners of logs as lines of text, tables and JSON. Each reads a file once, with no more in memory than a
// line or an object, and adds records.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "harness/training_log/log_entries.hpp"
#include "harness/training_log/unpacked_file.hpp"

namespace plumbline {

// Lines end with \n, \r (progress bars) or backspaces. Without the signs that colour a terminal; what is
// longer than 64 KiB is cut.
class LogLines {
 public:
  explicit LogLines(UnpackedFile& file) : file_(file) {}
  // The next line that is not empty, valid until the next call.
  bool next(std::string_view& line);
  // From 1. What a progress bar draws over itself counts each time; "\r\n" is one end.
  std::size_t number() const { return number_; }

 private:
  UnpackedFile& file_;
  std::string_view part_;
  std::string line_, plain_;
  std::size_t number_ = 0;
  bool after_return_ = false;
};

void scan_text(UnpackedFile& file, LogEntries& entries);

// The sign between the cells of a table whose first lines these are; 0: it is none.
char separator_of_table(std::string_view first_lines);
void scan_table(UnpackedFile& file, char separator, LogEntries& entries);

// Whether a file that begins so is JSON.
bool begins_as_json(std::string_view first);
// Objects in an array, in a line each, or nested in others; columns as arrays; also with NaN, which is no
// JSON. What is broken is left out up to the end of its line. Returns whether it is lines.
bool scan_json(UnpackedFile& file, LogEntries& entries);

}  // namespace plumbline
