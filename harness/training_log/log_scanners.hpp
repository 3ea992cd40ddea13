// Scanners of logs as lines of text, tables and JSON. Each reads a file once, with no more in memory than a
// line or an object, and adds records.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "harness/training_log/log_entries.hpp"
#include "harness/training_log/unpacked_file.hpp"

namespace plumbline {

// Lines end with \n, \r (progress bars) or backspaces. Codes that colour a terminal are left out; longer
// lines than 64 KiB are cut.
class LogLines {
 public:
  explicit LogLines(UnpackedFile& file) : file_(file) {}
  // The next line that is not empty, valid until the next call.
  bool next(std::string_view& line);
  // From 1. Each line that a progress bar draws over itself counts; "\r\n" is one end.
  std::size_t number() const { return number_; }

 private:
  UnpackedFile& file_;
  std::string_view part_;
  std::string line_, plain_;
  std::size_t number_ = 0;
  bool after_return_ = false;
};

void scan_text(UnpackedFile& file, LogEntries& entries);

// The separator of the table that begins with these lines; 0: it is no table.
char separator_of_table(std::string_view first_lines);
void scan_table(UnpackedFile& file, char separator, LogEntries& entries);

// Whether a file that begins with this text is JSON.
bool begins_as_json(std::string_view first);
// Reads objects: one a line, in an array, or nested in others; also columns as arrays. Accepts NaN, which
// JSON has not. After broken input it goes on with the next line. Returns whether the file is JSON lines.
bool scan_json(UnpackedFile& file, LogEntries& entries);

}  // namespace plumbline
