// Files as the rest of the house uses them: read within a limit, written whole or not at all, hashed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "harness/system/interruption.hpp"

namespace plumbline {

// An open file descriptor, closed when it goes out of scope.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { close(); }
  int get() const { return number_; }
  bool open() const { return number_ >= 0; }
  int release();
  void close();

 private:
  int number_;
};

// A regular file open for reading from its start. Devices, pipes and directories are refused: InputError.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path);
  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const { return size_; }  // bytes, when it was opened
  // The next bytes, at most `limit` of them; 0 at the end of the file. InputError if reading fails.
  std::uint64_t read_some(char* to, std::uint64_t limit);
  // Exactly the next `count` bytes; InputError if the file ends before, as one does that shrinks while it is
  // read.
  void read_exactly(char* to, std::uint64_t count);

 private:
  std::filesystem::path path_;
  Descriptor descriptor_;
  std::uint64_t size_ = 0;
};

// A name for what is not complete yet, new to this process, and whether a name is such a one.
std::filesystem::path partial_in(const std::filesystem::path& directory);
bool is_partial(const std::filesystem::path& path);

// A file that appears under its name complete, or not at all: written beside it, synchronised, renamed.
// Whatever goes wrong before commit() returns, an interruption too, leaves nothing behind and whatever was
// there before untouched; InputError names the path and the reason. A symbolic link at `path` is replaced;
// what is no regular file is refused.
class AtomicFile {
 public:
  // For whom it is: for whoever comes after a crash, or for another program that runs now, which needs no
  // disk.
  enum class Kept { on_disk, while_running };

  explicit AtomicFile(const std::filesystem::path& path, Kept kept = Kept::on_disk);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();
  void write(std::string_view bytes);
  void commit();

 private:
  [[noreturn]] void fail(int reason) const;

  std::filesystem::path path_;
  Kept kept_;
  std::filesystem::path partial_;  // empty once committed
  Descriptor descriptor_;
  std::optional<OnInterruption> on_interruption_;
};

// A directory of our own (mode 0700) under the system's place for temporary files, removed with all it holds.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::optional<OnInterruption> on_interruption_;
};

// Takes the lock of an open file or directory; false where another has it. File systems without locks give
// all.
bool lock_if_free(const Descriptor& open);

// Keeps a directory to one program at a time, by a file '.lock' in it that ends with whoever holds it.
// Errors: InputError where another has it; `option` begins its message. File systems without locks give none.
class DirectoryLock {
 public:
  DirectoryLock(const std::filesystem::path& directory, const std::string& option);

 private:
  Descriptor held_;
};

// SHA-256 of bytes as they come.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void update(std::string_view bytes);
  std::string hex();  // 64 lower-case digits; ends the computation

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A whole file of at most `limit_bytes`. InputError if it is larger, is missing or cannot be read.
std::string read_text(const std::filesystem::path& path, std::uint64_t limit_bytes);

// Refuses at once what would lose the results of a whole run at its end. `option` begins the InputError's
// message.
void require_writable(const std::filesystem::path& directory, const std::string& option);
// The same of a folder that need not be there yet: makes it.
void make_writable(const std::filesystem::path& directory, const std::string& option);
// Refuses an output that cannot be written, or that is one of the inputs or lies in one. Empty: none is
// wanted. Errors: InputError.
void require_output(const std::string& file, const std::string& option,
                    const std::vector<std::string>& inputs);

// See AtomicFile.
void write_atomically(const std::filesystem::path& path, std::string_view content);

std::string sha256(std::string_view bytes);                     // 64 lower-case hexadecimal digits
std::string sha256_of_file(const std::filesystem::path& path);  // streamed; InputError if it cannot be read

// Text of unknown origin as it may stand in a one-line message: control characters, line separators,
// characters that change the direction of writing and bytes that are not UTF-8 become '?', and what is longer
// than `limit` bytes is cut and ends in "...".
std::string printable(std::string_view text, std::size_t limit = 200);

}  // namespace plumbline
