#include "harness/training_log/unpacked_file.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "harness/system/error.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kBuffer = std::size_t{1} << 18;
constexpr std::uint64_t kMostUnpacked = std::uint64_t{2} << 30;

// The first bytes of files that are no plain text.
struct Archive {
  std::string_view begins, what, advice;
};
constexpr Archive kArchives[] = {
    {"PK\x03\x04", "a zip archive", "unpack it first"},
    {"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it first: zstd -d"},
    {"\xfd"
     "7zXZ",
     "compressed by xz", "unpack it first: xz -d"},
    {"BZh", "compressed by bzip2", "unpack it first: bzip2 -d"},
    {"\x89HDF", "an HDF5 file", "export the curve as CSV"},
    {"SQLite format 3", "a database", "export the curve as CSV"},
};

void append_utf8(std::string& out, char32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

}  // namespace

UnpackedFile::UnpackedFile(const std::filesystem::path& path) : file_(path), raw_(kBuffer, '\0') {}

UnpackedFile::~UnpackedFile() {
  if (is_gzip_) inflateEnd(&stream_);
}

bool UnpackedFile::read_raw() {
  raw_begin_ = 0;
  raw_end_ = file_.read_some(raw_.data(), raw_.size());
  hash_.update({raw_.data(), raw_end_});
  return raw_end_ > 0;
}

std::string_view UnpackedFile::unpacked() {
  if (!is_gzip_) {
    if (raw_begin_ == raw_end_ && !read_raw()) return {};
    const std::string_view part(raw_.data() + raw_begin_, raw_end_ - raw_begin_);
    raw_begin_ = raw_end_;
    return part;
  }
  while (!finished_) {
    if (raw_begin_ == raw_end_ && !read_raw()) {
      ends_early_ = finished_ = true;
      break;
    }
    stream_.next_in = reinterpret_cast<Bytef*>(raw_.data() + raw_begin_);  // zlib's interface is from C
    stream_.avail_in = static_cast<uInt>(raw_end_ - raw_begin_);
    stream_.next_out = reinterpret_cast<Bytef*>(plain_.data());
    stream_.avail_out = static_cast<uInt>(plain_.size());
    const int result = inflate(&stream_, Z_NO_FLUSH);
    raw_begin_ = raw_end_ - stream_.avail_in;
    const auto unpacked_size = plain_.size() - stream_.avail_out;
    unpacked_bytes_ += unpacked_size;
    if (unpacked_bytes_ > kMostUnpacked)
      throw InputError(fmt::format("{}: unpacks to more than {} bytes; unpack it first, if you trust it",
                                   printable(file_.path().string()), kMostUnpacked));
    if (result == Z_STREAM_END) {
      // Another member may follow, as in logs that were appended to each other.
      if (raw_begin_ == raw_end_ && !read_raw()) finished_ = true;
      if (!finished_ && inflateReset(&stream_) != Z_OK) finished_ = true;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      ends_early_ = finished_ = true;
    }
    if (unpacked_size > 0) return {plain_.data(), unpacked_size};
  }
  // The hash covers the whole file, also what follows the compressed data.
  while (read_raw()) {
  }
  return {};
}

void UnpackedFile::find_encoding(std::string_view first) {
  if (first.starts_with("\xff\xfe"))
    encoding_ = Encoding::utf16_little;
  else if (first.starts_with("\xfe\xff"))
    encoding_ = Encoding::utf16_big;
  else {
    // UTF-16 without a byte order mark: every second byte of ASCII text is 0.
    std::size_t even = 0, odd = 0;
    const auto looked_at = std::min<std::size_t>(first.size(), 64) / 2 * 2;
    for (std::size_t i = 0; i < looked_at; ++i)
      if (first[i] == '\0') ++(i % 2 == 0 ? even : odd);
    const auto many = looked_at * 2 / 5;
    encoding_ = many > 0 && odd >= many && even == 0   ? Encoding::utf16_little
                : many > 0 && even >= many && odd == 0 ? Encoding::utf16_big
                                                       : Encoding::utf8;
  }
}

void UnpackedFile::convert(std::string_view utf16) {
  converted_.clear();
  std::size_t at = 0;
  const auto unit = [&](char first, char second) {
    const auto first_byte = static_cast<unsigned char>(first),
               second_byte = static_cast<unsigned char>(second);
    const char32_t code =
        encoding_ == Encoding::utf16_little ? second_byte << 8 | first_byte : first_byte << 8 | second_byte;
    if (code == 0xfeff) return;
    if (code >= 0xd800 && code < 0xdc00) {
      high_ = code;
    } else if (code >= 0xdc00 && code < 0xe000) {
      if (high_ != 0) append_utf8(converted_, 0x10000 + ((high_ - 0xd800) << 10 | (code - 0xdc00)));
      high_ = 0;
    } else {
      append_utf8(converted_, code);
      high_ = 0;
    }
  };
  if (!half_.empty() && !utf16.empty()) {
    unit(half_[0], utf16[0]);
    half_.clear();
    at = 1;
  }
  for (; at + 1 < utf16.size(); at += 2) unit(utf16[at], utf16[at + 1]);
  if (at < utf16.size()) half_ = utf16.substr(at);
}

std::string_view UnpackedFile::next_part() {
  if (!begun_) {
    begun_ = true;
    if (!read_raw()) return {};
    const std::string_view first(raw_.data(), raw_end_);
    if (first.starts_with("\x1f\x8b")) {
      constexpr int gzip_alone = 16;
      if (inflateInit2(&stream_, gzip_alone + MAX_WBITS) != Z_OK)
        throw InputError(fmt::format("{}: cannot be unpacked", printable(file_.path().string())));
      is_gzip_ = true;
      plain_.resize(kBuffer);
    }
    for (const auto& archive : kArchives)
      if (first.starts_with(archive.begins))
        throw InputError(
            fmt::format("{}: is {}; {}", printable(file_.path().string()), archive.what, archive.advice));
    if (file_.path().filename().string().starts_with("events.out.tfevents"))
      throw InputError(
          fmt::format("{}: is TensorBoard's own format; download the curve from TensorBoard as CSV or JSON",
                      printable(file_.path().string())));
  }
  while (true) {
    auto part = unpacked();
    if (part.empty()) return {};
    if (encoding_ == Encoding::not_known) {
      find_encoding(part);
      if (encoding_ == Encoding::utf8 && part.starts_with("\xef\xbb\xbf")) part.remove_prefix(3);
    }
    if (encoding_ == Encoding::utf8) {
      if (!part.empty()) return part;
      continue;
    }
    convert(part);
    if (!converted_.empty()) return converted_;
  }
}

std::string UnpackedFile::sha256() {
  while (read_raw()) {
  }
  return hash_.hex();
}

}  // namespace plumbline
