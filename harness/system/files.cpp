#include "harness/system/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "harness/system/error.hpp"

namespace plumbline {
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t chunk_bytes = 1u << 20;

std::string reason_of(int number) {
  return std::generic_category().message(number);
}

int open_again_if_interrupted(const char* path, int flags, mode_t mode = 0) {
  int number = -1;
  do {
    number = ::open(path, flags | O_CLOEXEC, mode);
  } while (number < 0 && errno == EINTR);
  return number;
}

void synchronise(int descriptor, const fs::path& path) {
  int status = 0;
  do {
    status = ::fsync(descriptor);
  } while (status != 0 && errno == EINTR);
  // EINVAL: the file system has nothing to synchronise, which some do not have for directories.
  if (status != 0 && errno != EINVAL) {
    throw InputError(
        fmt::format("{}: cannot be written to the disk: {}", printable(path.string()), reason_of(errno)));
  }
}

// Bytes of the UTF-8 sequence that starts here, and its character; 0 bytes if it is none.
std::pair<std::size_t, char32_t> decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {1, first};
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return {0, 0};
  char32_t character = first & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {0, 0};
    character = (character << 6) | (byte(i) & 0x3fu);
  }
  const bool overlong = (length == 3 && character < 0x800) || (length == 4 && character < 0x10000);
  const bool surrogate = character >= 0xd800 && character <= 0xdfff;
  if (overlong || surrogate || character > 0x10ffff) return {0, 0};
  return {length, character};
}

bool is_plain(char32_t c) {
  if (c < 0x20 || (c >= 0x7f && c <= 0x9f)) return false;
  const bool turns_writing = c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
                             (c >= 0x2066 && c <= 0x2069);
  return !turns_writing && c != 0x2028 && c != 0x2029 && c != 0xfeff;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    close();
    number_ = other.release();
  }
  return *this;
}

int Descriptor::release() {
  const int number = number_;
  number_ = -1;
  return number;
}

void Descriptor::close() {
  if (is_open()) ::close(release());
}

// Non-blocking, since opening a pipe without a writer would block.
InputFile::InputFile(const fs::path& path)
    : path_(path), descriptor_(open_again_if_interrupted(path.c_str(), O_RDONLY | O_NONBLOCK)) {
  struct stat status {};
  if (!descriptor_.is_open() || ::fstat(descriptor_.get(), &status) != 0) {
    throw InputError(fmt::format("{}: cannot be read: {}", printable(path_.string()), reason_of(errno)));
  }
  if (!S_ISREG(status.st_mode)) {
    throw InputError(fmt::format("{}: is {}, expected a regular file", printable(path_.string()),
                                 S_ISDIR(status.st_mode) ? "a directory" : "a device, pipe or socket"));
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

std::uint64_t InputFile::read_some(char* to, std::uint64_t limit) {
  ssize_t count = 0;
  do {
    // One call never reads more than 2 GiB, on any system.
    count = ::read(descriptor_.get(), to, std::min<std::uint64_t>(limit, 1u << 30));
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    throw InputError(fmt::format("{}: cannot be read: {}", printable(path_.string()), reason_of(errno)));
  }
  return static_cast<std::uint64_t>(count);
}

void InputFile::read_exactly(char* to, std::uint64_t count) {
  for (std::uint64_t done = 0; done < count;) {
    const std::uint64_t more = read_some(to + done, count - done);
    if (more == 0) {
      throw InputError(fmt::format("{}: ended {} bytes early: it shrank while it was read",
                                   printable(path_.string()), count - done));
    }
    done += more;
  }
}

fs::path partial_in(const fs::path& directory) {
  static std::atomic<unsigned> counter{0};
  return directory / fmt::format(".plumbline-{}-{}.partial", ::getpid(), counter++);
}

bool is_partial(const fs::path& path) {
  return path.filename().string().starts_with(".plumbline-") && path.extension() == ".partial";
}

AtomicFile::AtomicFile(const fs::path& path, Durability durability) : path_(path), durability_(durability) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path_, ignored);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    throw InputError(fmt::format("{}: cannot be written: something other than a regular file is there",
                                 printable(path_.string())));
  }
  const Uninterrupted whole;
  // Not mkstemp: that would keep the file from everyone else's eyes, against the user's umask.
  do {
    partial_ = partial_in(path_.parent_path());
    descriptor_ = Descriptor(open_again_if_interrupted(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0666));
  } while (!descriptor_.is_open() && errno == EEXIST);
  if (!descriptor_.is_open()) {
    const int reason = errno;
    partial_.clear();
    fail(reason);
  }
  on_interruption_.emplace([partial = partial_] { ::unlink(partial.c_str()); });
}

AtomicFile::~AtomicFile() {
  if (!partial_.empty()) ::unlink(partial_.c_str());
}

void AtomicFile::fail(int reason) const {
  throw InputError(fmt::format("{}: cannot be written: {}", printable(path_.string()), reason_of(reason)));
}

void AtomicFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count =
        ::write(descriptor_.get(), bytes.data(), std::min<std::size_t>(bytes.size(), 1u << 30));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(count < 0 ? errno : EIO);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

void AtomicFile::commit() {
  if (durability_ == Durability::on_disk) synchronise(descriptor_.get(), path_);
  // Some network file systems report a failed write only here.
  if (::close(descriptor_.release()) != 0 && errno != EINTR) fail(errno);
  if (::rename(partial_.c_str(), path_.c_str()) != 0) fail(errno);
  on_interruption_.reset();
  partial_.clear();
  if (durability_ != Durability::on_disk) return;
  const fs::path parent = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  const Descriptor directory(open_again_if_interrupted(parent.c_str(), O_RDONLY | O_DIRECTORY));
  // A directory that may be written but not read cannot be synchronised; the file is there all the same.
  if (directory.is_open()) synchronise(directory.get(), path_);
}

namespace {

// A child that was killed a moment ago may still finish the file that it was making.
void remove_with_all(const fs::path& path) {
  std::error_code error;
  for (int attempt = 0; attempt < 100; ++attempt) {
    fs::remove_all(path, error);
    if (!fs::exists(fs::symlink_status(path, error))) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::error_code error;
  const fs::path parent = fs::temp_directory_path(error);
  const Uninterrupted whole;
  std::string name = (parent / "plumbline-XXXXXX").string();
  if (error || ::mkdtemp(name.data()) == nullptr) {
    throw InputError(fmt::format("no temporary directory can be made in {} (TMPDIR): {}",
                                 printable(parent.string()), error ? error.message() : reason_of(errno)));
  }
  path_ = name;
  on_interruption_.emplace([path = path_] { remove_with_all(path); });
}

TemporaryDirectory::~TemporaryDirectory() {
  remove_with_all(path_);
}

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("OpenSSL offers no SHA-256 here");
  }
}

Sha256::~Sha256() = default;

void Sha256::update(std::string_view bytes) {
  if (EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) != 1) {
    throw std::runtime_error("OpenSSL's SHA-256 failed");
  }
}

std::string Sha256::hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(state_->context, digest, &length) != 1) {
    throw std::runtime_error("OpenSSL's SHA-256 failed");
  }
  std::string text;
  for (unsigned int i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string read_text(const fs::path& path, std::uint64_t limit_bytes) {
  InputFile file(path);
  std::string text;
  // The size is only a hint: some files have none, and others grow.
  text.reserve(std::min(file.size(), limit_bytes));
  std::vector<char> chunk(limit_bytes < chunk_bytes ? limit_bytes + 1 : chunk_bytes);
  while (const std::uint64_t count = file.read_some(chunk.data(), chunk.size())) {
    if (text.size() + count > limit_bytes) {
      throw InputError(fmt::format("{}: is larger than {} bytes, the most that is read of a file of its kind",
                                   printable(path.string()), limit_bytes));
    }
    text.append(chunk.data(), count);
  }
  return text;
}

void require_writable(const std::filesystem::path& out, const std::string& option) {
  if (out.empty()) throw InputError(fmt::format("{}: is empty; name a directory", option));
  std::error_code ignored;
  auto nearest = std::filesystem::absolute(out);
  while (!std::filesystem::exists(nearest, ignored) && nearest.has_relative_path())
    nearest = nearest.parent_path();
  if (!std::filesystem::is_directory(nearest, ignored))
    throw InputError(fmt::format("{} {}: {} exists already and is no directory", option,
                                 printable(out.string()), printable(nearest.string())));
  if (access(nearest.c_str(), W_OK | X_OK) != 0)
    throw InputError(fmt::format("{} {}: {} cannot be written to", option, printable(out.string()),
                                 printable(nearest.string())));
}

void make_writable(const std::filesystem::path& directory, const std::string& option) {
  std::error_code why;
  std::filesystem::create_directories(directory, why);
  if (why && !directory.empty())
    throw InputError(
        fmt::format("{} {}: cannot be made: {}", option, printable(directory.string()), why.message()));
  require_writable(directory, option);
}

bool try_lock(const Descriptor& open) {
  return ::flock(open.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

DirectoryLock::DirectoryLock(const fs::path& directory, const std::string& option)
    : held_(::open((directory / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) {
  if (held_.is_open() && !try_lock(held_))
    throw InputError(fmt::format(
        "{} {}: another call is at work there; wait until it has ended, or name another directory", option,
        printable(directory.string())));
}

void write_atomically(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

std::string sha256(std::string_view bytes) {
  Sha256 sum;
  sum.update(bytes);
  return sum.hex();
}

std::string sha256_of_file(const fs::path& path) {
  InputFile file(path);
  Sha256 sum;
  std::vector<char> chunk(chunk_bytes);
  while (const std::uint64_t count = file.read_some(chunk.data(), chunk.size()))
    sum.update({chunk.data(), count});
  return sum.hex();
}

void require_output(const std::string& file, const std::string& option,
                    const std::vector<std::string>& inputs) {
  if (file.empty()) return;
  std::error_code ignored;
  if (fs::is_directory(file, ignored))
    throw InputError(fmt::format("{} {}: is a directory; name a file", option, printable(file)));
  const auto place = fs::weakly_canonical(file, ignored);
  for (const auto& input : inputs) {
    if (input.empty()) continue;
    const auto given = fs::weakly_canonical(input, ignored);
    if (given == place || fs::equivalent(input, file, ignored))
      throw InputError(
          fmt::format("{} {}: is {} itself; name another file", option, printable(file), printable(input)));
    if (fs::is_directory(input, ignored) && place.parent_path() == given)
      throw InputError(fmt::format("{} {}: lies among the files of {}; name another place", option,
                                   printable(file), printable(input)));
  }
  require_writable(fs::absolute(file).parent_path(), option);
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string result;
  while (!text.empty()) {
    const auto [length, character] = decode(text);
    const std::string_view shown = length > 0 && is_plain(character) ? text.substr(0, length) : "?";
    if (result.size() + shown.size() > limit) return result + "...";
    result += shown;
    text.remove_prefix(length > 0 ? length : 1);
  }
  return result;
}

}  // namespace plumbline
