// Files: read within limits, written atomically, hashed.
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
  bool is_open() const { return number_ >= 0; }
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

// A name for an incomplete file, unique within this process; is_partial recognises such names.
std::filesystem::path partial_in(const std::filesystem::path& directory);
bool is_partial(const std::filesystem::path& path);

// A file that appears complete or not at all: it is written beside its name, synchronised and renamed. An
// error or interruption before commit() returns leaves no file behind and an existing one unchanged. A
// symbolic link at `path` is replaced; anything else than a regular file is refused. Errors: InputError
// naming the path and the reason.
class AtomicFile {
 public:
  // Whether it has to survive a crash, or is for another running program, which needs no synchronisation.
  enum class Durability { on_disk, while_running };

  explicit AtomicFile(const std::filesystem::path& path, Durability durability = Durability::on_disk);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();
  void write(std::string_view bytes);
  void commit();

 private:
  [[noreturn]] void fail(int reason) const;

  std::filesystem::path path_;
  Durability durability_;
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

// Locks an open file or directory; false where another process has the lock. True on file systems without
// locks.
bool try_lock(const Descriptor& open);

// Locks a directory for this process by a file '.lock' in it; the lock ends with the process. Does nothing on
// file systems without locks. Errors: InputError where another process has it; `option` begins the message.
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

// Checks early that results can be written at the end of a run. Errors: InputError; `option` begins the
// message.
void require_writable(const std::filesystem::path& directory, const std::string& option);
// The same; makes the directory where it does not exist.
void make_writable(const std::filesystem::path& directory, const std::string& option);
// Checks that an output can be written and is not one of the inputs, nor in one. `file` may be empty: no
// output. Errors: InputError.
void require_output(const std::string& file, const std::string& option,
                    const std::vector<std::string>& inputs);

// See AtomicFile.
void write_atomically(const std::filesystem::path& path, std::string_view content);

std::string sha256(std::string_view bytes);                     // 64 lower-case hexadecimal digits
std::string sha256_of_file(const std::filesystem::path& path);  // streamed; InputError if it cannot be read

// Makes text of unknown origin safe for a one-line message: control characters, line separators,
// characters that change the direction of writing and bytes that are not UTF-8 become '?', and what is longer
// than `limit` bytes is cut and ends in "...".
std::string printable(std::string_view text, std::size_t limit = 200);

}  // namespace plumbline
