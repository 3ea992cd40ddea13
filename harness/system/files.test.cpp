#include "harness/system/files.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <csignal>
#include <fstream>
#include <limits>

#include "harness/system/error.hpp"

using namespace plumbline;
namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

constexpr std::uint64_t no_limit = std::numeric_limits<std::uint64_t>::max();

std::size_t entries_in(const fs::path& directory) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

auto says(const std::string& part) {
  return MessageMatches(ContainsSubstring(part));
}

}  // namespace

TEST_CASE("files: what is written atomically reads back, and nothing else is left", "[system][files]") {
  const TemporaryDirectory place;
  const fs::path path = place.path() / "text";
  for (const std::string& content :
       {std::string(), std::string("one\0two\n", 8), std::string(3'000'000, 'x')}) {
    write_atomically(path, content);
    CHECK(read_text(path, no_limit) == content);
    CHECK(read_text(path, content.size()) == content);
    CHECK(sha256_of_file(path) == sha256(content));
  }
  CHECK(entries_in(place.path()) == 1);
}

TEST_CASE("files: a file keeps the permissions that the user's umask gives", "[system][files]") {
  const TemporaryDirectory place;
  const mode_t before = ::umask(027);
  write_atomically(place.path() / "text", "x");
  ::umask(before);
  struct stat status {};
  REQUIRE(::stat((place.path() / "text").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0640);
}

TEST_CASE("files: a write that fails half way leaves the old file and no partial one", "[system][files]") {
  const TemporaryDirectory place;
  const fs::path path = place.path() / "text";
  write_atomically(path, "before");
  struct rlimit old {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = old;
  small.rlim_cur = 4096;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string message;
  try {
    write_atomically(path, std::string(100'000, 'x'));
  } catch (const InputError& error) {
    message = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  CHECK_THAT(message, ContainsSubstring(path.string()) && ContainsSubstring("File too large"));
  CHECK(read_text(path, 100) == "before");
  CHECK(entries_in(place.path()) == 1);
}

TEST_CASE("files: what cannot be written is refused with the path and the reason", "[system][files]") {
  const TemporaryDirectory place;
  CHECK_THROWS_MATCHES(write_atomically(place.path() / "no" / "text", "x"), InputError, says("No such file"));
  CHECK_THROWS_MATCHES(write_atomically(place.path(), "x"), InputError, says("regular file"));
  CHECK_THROWS_MATCHES(write_atomically("/dev/null", "x"), InputError, says("regular file"));
  {
    AtomicFile abandoned(place.path() / "text");
    abandoned.write("half");
  }
  CHECK(entries_in(place.path()) == 0);
}

TEST_CASE("files: what cannot be read is refused with the path and the reason", "[system][files]") {
  const TemporaryDirectory place;
  const fs::path path = place.path() / "text";
  CHECK_THROWS_MATCHES(read_text(path, 10), InputError,
                       says(path.string() + ": cannot be read: No such file"));
  CHECK_THROWS_MATCHES(read_text(place.path(), 10), InputError,
                       says("is a directory, expected a regular file"));
  CHECK_THROWS_MATCHES(read_text("/dev/zero", 10), InputError, says("is a device"));
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  CHECK_THROWS_MATCHES(read_text(path, 10), InputError, says("pipe"));
}

TEST_CASE("files: a file larger than the limit is refused, also one that has no size", "[system][files]") {
  const TemporaryDirectory place;
  write_atomically(place.path() / "text", "12345");
  CHECK_THROWS_MATCHES(read_text(place.path() / "text", 4), InputError, says("larger than 4 bytes"));
  CHECK_THROWS_MATCHES(read_text(place.path() / "text", 0), InputError, says("larger than 0 bytes"));
  if (fs::exists("/proc/self/maps")) {
    CHECK(fs::file_size("/proc/self/maps") == 0);
    CHECK_THROWS_MATCHES(read_text("/proc/self/maps", 100), InputError, says("larger than 100 bytes"));
  }
}

TEST_CASE("files: a file that shrinks while it is read is refused", "[system][files]") {
  const TemporaryDirectory place;
  write_atomically(place.path() / "text", std::string(100, 'x'));
  InputFile file(place.path() / "text");
  fs::resize_file(place.path() / "text", 60);
  std::string bytes(100, '\0');
  CHECK_THROWS_MATCHES(file.read_exactly(bytes.data(), 100), InputError, says("ended 40 bytes early"));
}

TEST_CASE("files: a temporary directory is ours alone and is gone afterwards", "[system][files]") {
  fs::path path;
  {
    const TemporaryDirectory place;
    path = place.path();
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0700);
    fs::create_directories(path / "a" / "b");
    write_atomically(path / "a" / "b" / "c", "x");
  }
  CHECK_FALSE(fs::exists(path));
}

TEST_CASE("files: SHA-256 is that of FIPS 180-4, in one piece or in several", "[system][files]") {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 sum;
  sum.update("a");
  sum.update("");
  sum.update("bc");
  CHECK(sum.hex() == sha256("abc"));
}

TEST_CASE("files: text of unknown origin becomes one harmless line", "[system][files]") {
  CHECK(printable("plain, é, 日本, 🙂") == "plain, é, 日本, 🙂");
  CHECK(printable("a\nb\x1b[31mc\x7f\r\t") == "a?b?[31mc???");
  CHECK(printable("\xc2\x85|\xe2\x80\xae|\xe2\x80\xa8|\xef\xbb\xbf") == "?|?|?|?");
  // Cut short, overlong, a surrogate, beyond the last character.
  CHECK(printable("\xe6\x97") == "??");
  CHECK(printable("\xc0\xaf|\xe0\x80\xaf|\xed\xa0\x80|\xf4\x90\x80\x80") == "??|???|???|????");
  CHECK(printable("0123456789", 4) == "0123...");
  CHECK(printable("012é", 4) == "012...");
  CHECK(printable(std::string_view("\0", 1)) == "?");
}

TEST_CASE("files: a directory is one call's at a time", "[system][files]") {
  const TemporaryDirectory directory;
  {
    const DirectoryLock first(directory.path(), "--out");
    CHECK_THROWS_WITH(DirectoryLock(directory.path(), "--out"),
                      Catch::Matchers::StartsWith("--out " + directory.path().string()) &&
                          Catch::Matchers::ContainsSubstring("another call"));
  }
  CHECK_NOTHROW(DirectoryLock(directory.path(), "--out"));
}

TEST_CASE("files: a descriptor that is moved is closed once", "[system][files]") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  Descriptor first(ends[0]), second(ends[1]);
  first = std::move(second);
  CHECK_FALSE(second.is_open());
  CHECK(first.get() == ends[1]);
  CHECK(::fcntl(ends[0], F_GETFD) == -1);
  first.close();
  CHECK(::fcntl(ends[1], F_GETFD) == -1);
}
