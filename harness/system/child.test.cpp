#include "harness/system/child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <thread>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/interruption.hpp"

using namespace plumbline;
using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

ChildResult shell(const std::string& script, const ChildLimits& limits = {}) {
  return run_child({"sh", "-c", script}, limits);
}

ChildLimits within(std::chrono::milliseconds time) {
  ChildLimits limits;
  limits.time = time;
  return limits;
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (int number = 0; number < 1024; ++number) count += ::fcntl(number, F_GETFD) != -1;
  return count;
}

// Whether the process still runs; one that has ended and waits to be reaped does not.
bool runs(pid_t process) {
  std::string stat;
  try {
    stat = read_text("/proc/" + std::to_string(process) + "/stat", 4096);
  } catch (const InputError&) {
    return false;
  }
  return stat.find(") Z ") == std::string::npos;
}

bool ends_soon(pid_t process) {
  for (int i = 0; i < 200 && runs(process); ++i) std::this_thread::sleep_for(10ms);
  return !runs(process);
}

pid_t number_in(const std::filesystem::path& file) {
  for (int i = 0; i < 500; ++i) {
    if (std::filesystem::exists(file)) {
      const std::string text = read_text(file, 100);
      if (text.ends_with('\n')) return std::stoi(text);
    }
    std::this_thread::sleep_for(10ms);
  }
  FAIL("the child wrote no number");
  return 0;
}

}  // namespace

TEST_CASE("child: both outputs and the status come back", "[system][child]") {
  const ChildResult result = shell("echo out; echo err >&2; exit 7");
  CHECK(result.output == "out\n");
  CHECK(result.errors == "err\n");
  CHECK(result.exit_code == 7);
  CHECK(result.signal == 0);
  CHECK_FALSE(result.timed_out);
  CHECK_FALSE(result.succeeded());
  CHECK(shell("true").succeeded());
}

TEST_CASE("child: arguments arrive as they are, and no shell reads them", "[system][child]") {
  CHECK(run_child({"printf", "%s|", "a b", "$HOME", "; echo x", ""}, {}).output == "a b|$HOME|; echo x||");
}

TEST_CASE("child: standard input is empty", "[system][child]") {
  CHECK(shell("cat; echo end").output == "end\n");
}

TEST_CASE("child: names are set in its environment, and the rest is ours", "[system][child]") {
  ::setenv("PLUMBLINE_CHILD_TEST", "ours", 1);
  const std::vector<std::string> print{"sh", "-c", "echo $PLUMBLINE_CHILD_TEST ${PATH:+path}"};
  CHECK(run_child(print, {}).output == "ours path\n");
  CHECK(run_child(print, {}, {{"PLUMBLINE_CHILD_TEST", "theirs"}}).output == "theirs path\n");
  ::unsetenv("PLUMBLINE_CHILD_TEST");
}

TEST_CASE("child: the signal that ended it is told", "[system][child]") {
  const ChildResult result = shell("kill -SEGV $$");
  CHECK(result.signal == SIGSEGV);
  CHECK(result.exit_code == -1);
}

TEST_CASE("child: what cannot be run is refused by name", "[system][child]") {
  const auto says = [](const char* part) { return MessageMatches(ContainsSubstring(part)); };
  CHECK_THROWS_MATCHES(run_child({"no-such-program"}, {}), InputError,
                       says("no-such-program: cannot be run: No such"));
  CHECK_THROWS_MATCHES(run_child({"/no/such"}, {}), InputError,
                       says("/no/such: cannot be run: No such file"));
  CHECK_THROWS_MATCHES(run_child({"/"}, {}), InputError, says("/: cannot be run"));
  CHECK_THROWS_MATCHES(run_child({""}, {}), InputError, says("cannot be run"));
  CHECK_THROWS_MATCHES(run_child({}, {}), InputError, says("cannot be run"));
}

TEST_CASE("child: one that hangs is killed in time with all it started", "[system][child]") {
  const TemporaryDirectory place;
  const std::string file = (place.path() / "pid").string();
  const auto start = std::chrono::steady_clock::now();
  const ChildResult result =
      shell("echo begun; sleep 60 & echo $! > " + file + "; trap '' TERM INT; wait", within(500ms));
  CHECK(result.timed_out);
  CHECK_FALSE(result.succeeded());
  CHECK(result.output == "begun\n");
  CHECK(std::chrono::steady_clock::now() - start < 5s);
  CHECK(ends_soon(number_in(file)));
}

TEST_CASE("child: one that closes its outputs and goes on is still timed", "[system][child]") {
  CHECK(shell("exec >&- 2>&-; sleep 60", within(300ms)).timed_out);
}

TEST_CASE("child: what it leaves running behind it is killed", "[system][child]") {
  const auto start = std::chrono::steady_clock::now();
  const ChildResult result = shell("sleep 60 & echo $!", within(30s));
  CHECK(result.succeeded());
  CHECK(std::chrono::steady_clock::now() - start < 10s);
  CHECK(ends_soon(std::stoi(result.output)));
}

TEST_CASE("child: endless output is cut and does not block", "[system][child]") {
  ChildLimits limits = within(700ms);
  limits.output_bytes = 1000;
  const ChildResult endless = shell("yes", limits);
  CHECK(endless.timed_out);
  CHECK(endless.output.size() == 1000);
  const ChildResult large = shell("head -c 5000000 /dev/zero; echo end >&2",
                                  {.time = 30s, .file_bytes = 1 << 20, .output_bytes = 3'000'000});
  CHECK(large.succeeded());
  CHECK(large.output == std::string(3'000'000, '\0'));
  CHECK(large.errors == "end\n");
}

TEST_CASE("child: memory, file size and core files are limited", "[system][child]") {
  const TemporaryDirectory place;
  ChildLimits limits;
  limits.address_space_bytes = 512ull << 20;
  limits.file_bytes = 10'240;
  CHECK(shell("ulimit -v; ulimit -c", limits).output == "524288\n0\n");
  const ChildResult written = shell("head -c 100000 /dev/zero > " + (place.path() / "f").string(), limits);
  CHECK_FALSE(written.succeeded());
  CHECK(std::filesystem::file_size(place.path() / "f") == 10'240);
  const ChildResult large = run_child({PLUMBLINE_PYTHON, "-S", "-c", "x = bytearray(1 << 30)"}, limits);
  CHECK(large.exit_code == 1);
  CHECK_THAT(large.errors, ContainsSubstring("MemoryError"));
}

TEST_CASE("child: nothing of ours stays open, in it or in us", "[system][child]") {
  const std::size_t before = open_descriptors();
  const int careless = ::open("/dev/null", O_RDONLY);
  REQUIRE(careless >= 0);
  const ChildResult result = run_child({"ls", "-1", "/proc/self/fd"}, {});
  ::close(careless);
  // Three standard ones, and the directory that is being listed.
  CHECK(result.output == "0\n1\n2\n3\n");
  for (int i = 0; i < 20; ++i) shell("exit 3");
  CHECK_THROWS(run_child({"/"}, {}));
  CHECK(open_descriptors() == before);
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
}

TEST_CASE("child: its outputs are told apart also where our own standard input is closed",
          "[system][child]") {
  const int saved = ::dup(STDIN_FILENO);
  ::close(STDIN_FILENO);
  const ChildResult result = shell("cat; echo out; echo err >&2");
  if (saved >= 0) {
    ::dup2(saved, STDIN_FILENO);
    ::close(saved);
  }
  CHECK(result.output == "out\n");
  CHECK(result.errors == "err\n");
}

TEST_CASE("child: when a signal ends us, it ends with us", "[system][child]") {
  for (const int number : {SIGINT, SIGTERM, SIGKILL}) {
    INFO("signal " << number);
    const TemporaryDirectory place;
    const std::filesystem::path file = place.path() / "pid";
    const pid_t parent = ::fork();
    if (parent == 0) {
      // Catch2's handler would report a failed test.
      for (const int ending : {SIGINT, SIGTERM}) ::signal(ending, SIG_DFL);
      clean_up_when_interrupted();
      run_child({"sh", "-c", "echo $$ > " + file.string() + "; exec sleep 60"}, {});
      ::_exit(0);
    }
    const pid_t child = number_in(file);
    ::kill(parent, number);
    int status = 0;
    REQUIRE(::waitpid(parent, &status, 0) == parent);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == number);
    CHECK(ends_soon(child));
  }
}

TEST_CASE("child: several threads may each have one", "[system][child]") {
  std::vector<std::string> outputs(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    threads.emplace_back(
        [&outputs, i] { outputs[i] = shell("sleep 0.05; echo " + std::to_string(i)).output; });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(outputs == std::vector<std::string>{"0\n", "1\n", "2\n", "3\n"});
}

TEST_CASE("child: in a conversation each line gets the next line of its output", "[system][child]") {
  Conversation talk({"sh", "-c", "while read -r line; do echo \"<$line>\"; echo noted >&2; done"}, {});
  CHECK(talk.ask("one") == "<one>");
  CHECK(talk.ask("") == "<>");
  const std::string large(300'000, 'x');  // more than a pipe holds, either way
  CHECK(talk.ask(large) == "<" + large + ">");
  CHECK(talk.wait_for_end(5s));
  CHECK(talk.errors() == "noted\nnoted\nnoted\n");
  CHECK_THROWS_MATCHES(talk.ask("more"), ChildEnded, MessageMatches(ContainsSubstring("is not running")));
}

TEST_CASE("child: a conversation says how it ended", "[system][child]") {
  const auto ending = [](const std::string& script, ChildLimits limits = {}) -> std::string {
    limits.time = std::min<std::chrono::milliseconds>(limits.time, 10s);
    Conversation talk({"sh", "-c", script}, limits);
    try {
      const auto first = talk.ask("x");
      std::this_thread::sleep_for(200ms);
      return fmt::format("answered {}, {}", first, talk.ask("y"));
    } catch (const ChildEnded& ended) {
      return ended.what();
    }
  };
  CHECK(ending("read -r x; echo a; echo b; read -r x; echo c") == "wrote 'b?' without being asked");
  CHECK(ending("read -r x; exit 3") == "ended with status 3 instead of answering");
  CHECK(ending("exit 0") == "ended with status 0 instead of answering");
  CHECK_THAT(ending("read -r x; kill -SEGV $$"), ContainsSubstring("was stopped by signal 11"));
  CHECK(ending("read -r x; exec >&-; sleep 60", within(1s)) == "gave no answer within 1 s");
  CHECK(ending("read -r x; printf half; sleep 60", within(1s)) == "gave no answer within 1 s");
  ChildLimits limits;
  limits.output_bytes = 1000;
  CHECK(ending("read -r x; head -c 2000 /dev/zero | tr '\\0' x; sleep 60", limits) ==
        "answered more than 1000 bytes in one line");
  CHECK(ending("read -r x; yes | tr -d '\\n'", limits) == "answered more than 1000 bytes in one line");
}

TEST_CASE("child: one that takes too much memory in a conversation is stopped, with all it started",
          "[system][child]") {
  ChildLimits limits;
  limits.resident_bytes = 200ull << 20;
  const TemporaryDirectory place;
  const std::string file = (place.path() / "pid").string();
  Conversation talk({"sh", "-c",
                     "read -r x; echo $$ > " + file + "; " + PLUMBLINE_PYTHON +
                         " -S -c 'x = bytearray(b\"x\") * (400 << 20); import time; time.sleep(60)' & wait"},
                    limits);
  CHECK_THROWS_MATCHES(talk.ask("x"), ChildEnded,
                       MessageMatches(ContainsSubstring("took more than 200 MiB")));
  CHECK(ends_soon(number_in(file)));
}

TEST_CASE("child: the most memory that it held is told, of all that it started", "[system][child]") {
  const std::string holder =
      " -S -c 'x = bytearray(b\"x\") * (120 << 20); del x; input(); print(2); input()'";
  Conversation talk({"sh", "-c", std::string("read -r x; echo 1; ") + PLUMBLINE_PYTHON + holder}, {});
  CHECK(talk.ask("x") == "1");
  const auto before = talk.peak_bytes();
  CHECK(before > 0);
  CHECK(before < 100u << 20);
  CHECK(talk.ask("x") == "2");
  CHECK(talk.peak_bytes() > 120u << 20);  // although it holds it no more
  CHECK(talk.peak_bytes() < 250u << 20);
}

TEST_CASE("child: a conversation that nobody ends leaves no process behind", "[system][child]") {
  const TemporaryDirectory place;
  const std::string file = (place.path() / "pid").string();
  {
    Conversation talk(
        {"sh", "-c", "sleep 60 & echo $! > " + file + "; read -r x; echo y; trap '' TERM; sleep 60"}, {});
    CHECK(talk.ask("x") == "y");
  }
  CHECK(ends_soon(number_in(file)));
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
}
