#include "harness/system/interruption.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <random>
#include <string>
#include <thread>

#include "harness/system/files.hpp"

using namespace plumbline;
namespace fs = std::filesystem;

namespace {

// Not a TemporaryDirectory: a child would inherit that it has to go.
struct Place {
  Place() : path((fs::temp_directory_path() / "plumbline-test-XXXXXX").string()) {
    REQUIRE(::mkdtemp(path.data()) != nullptr);
  }
  ~Place() { fs::remove_all(path); }
  fs::path operator/(const char* name) const { return fs::path(path) / name; }

  std::string path;
};

// Runs `work` over and over in a process of its own that SIGTERM ends after the given time.
template <typename Work>
void interrupted(std::chrono::microseconds after, const Work& work) {
  // Blocked from the beginning: what comes before it is waited for is the test framework's to handle.
  sigset_t ending, before;
  ::sigemptyset(&ending);
  ::sigaddset(&ending, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &ending, &before);
  const pid_t child = ::fork();
  if (child != 0) ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  REQUIRE(child >= 0);
  if (child == 0) {
    try {
      clean_up_when_interrupted();
      while (true) work();
    } catch (...) {
      ::_exit(1);
    }
  }
  std::this_thread::sleep_for(after);
  ::kill(child, SIGTERM);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(WTERMSIG(status) == SIGTERM);
}

}  // namespace

TEST_CASE("interruption: no moment leaves a file behind that was being made", "[system][interruption]") {
  const Place place;
  std::mt19937 numbers(1);
  for (int turn = 0; turn < 200; ++turn) {
    const std::chrono::microseconds moment(5000 + numbers() % 2000);
    CAPTURE(turn, moment.count());
    interrupted(moment, [&] { AtomicFile(place / "result.json").write("{}"); });
    REQUIRE(fs::is_empty(place.path));
  }
}

TEST_CASE("interruption: files that belong together are all there or none", "[system][interruption]") {
  const Place place;
  std::mt19937 numbers(2);
  for (int turn = 0; turn < 100; ++turn) {
    const std::chrono::microseconds moment(5000 + numbers() % 2000);
    CAPTURE(turn, moment.count());
    interrupted(moment, [&] {
      const Uninterrupted whole;
      fs::remove(place / "one");
      fs::remove(place / "two");
      write_atomically(place / "one", "1");
      write_atomically(place / "two", "2");
    });
    REQUIRE(fs::exists(place / "one") == fs::exists(place / "two"));
  }
}
