// Reads the text of files of unknown origin, compressed or in other encodings.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "harness/system/files.hpp"

namespace plumbline {

// The text of a file as UTF-8 without a byte order mark: gzip is unpacked, UTF-16 of both byte orders
// is converted, anything else comes as it is. In memory there is never more than a few buffers, whatever the
// file declares. Errors: InputError, also for other archives (which it names), and for more than 2 GiB that
// come out of a gzip file.
class UnpackedFile {
 public:
  explicit UnpackedFile(const std::filesystem::path& path);
  UnpackedFile(const UnpackedFile&) = delete;
  UnpackedFile& operator=(const UnpackedFile&) = delete;
  ~UnpackedFile();

  // The next part, valid until the next call; empty at the end.
  std::string_view next_part();
  bool ends_early() const { return ends_early_; }  // gzip that was cut or damaged; the parts before are valid
  std::string sha256();                            // of the file itself, once it is read

 private:
  enum class Encoding { not_known, utf8, utf16_little, utf16_big };

  bool read_raw();
  std::string_view unpacked();
  void find_encoding(std::string_view first);
  void convert(std::string_view utf16);

  InputFile file_;
  Sha256 hash_;
  std::string raw_, plain_, converted_;
  std::size_t raw_begin_ = 0, raw_end_ = 0;
  std::uint64_t unpacked_bytes_ = 0;
  bool begun_ = false, is_gzip_ = false, ends_early_ = false, finished_ = false;
  Encoding encoding_ = Encoding::not_known;
  std::string half_;   // of a character of UTF-16, where a part ends within it
  char32_t high_ = 0;  // the first half of a surrogate pair
  z_stream stream_{};
};

}  // namespace plumbline
