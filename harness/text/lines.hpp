// Reads lines of text files of unknown origin.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "harness/system/files.hpp"

namespace plumbline {

// Reads a file line by line, without line ends and byte order mark, and hashes it on the way. Errors:
// InputError, also for a line of more than 1 GiB.
class Lines {
 public:
  explicit Lines(const std::filesystem::path& path);
  bool next(std::string& line);
  std::size_t number() const { return number_; }  // of the line that was read last, from 1
  std::string sha256() { return hash_.hex(); }    // of the whole file, once it is read

 private:
  InputFile file_;
  std::string buffer_;
  std::size_t begin_ = 0, filled_ = 0, number_ = 0;
  Sha256 hash_;
};

// ASCII letters in lower case.
std::string lowered(std::string_view text);

}  // namespace plumbline
