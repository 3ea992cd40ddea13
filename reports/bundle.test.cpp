#include "reports/bundle.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <chrono>
#include <fstream>
#include <random>
#include <thread>
#include "harness/system/json.hpp"

#include "harness/result/examples.test.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "reports/check.hpp"
#include "reports/collection.hpp"

using namespace plumbline::reports;
using Catch::Matchers::StartsWith;
using plumbline::InputError;
using plumbline::Json;
using plumbline::parse_json;
using plumbline::read_text;
using plumbline::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

const Examiner examiner{"2026-11-22", "0.1.0", {}, {}};

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> names_of_bundle() {
  std::vector<std::string> names = {manifest_name};
  for (const auto& one : renderings()) names.emplace_back(one.name);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> findings(const fs::path& directory) {
  return examine(directory, examiner).findings;
}

std::vector<Result> several() {
  Result not_finite = examples::failing();
  Check& check = not_finite.requirements[3].checks[1];
  check.worst_difference = std::numeric_limits<double>::quiet_NaN();
  Result huge = examples::failing();
  huge.header.candidate = std::string(10U << 20U, 'a');
  huge.requirements[3].checks[1].note = huge.header.candidate;
  return {examples::passing(),
          examples::failing(),
          examples::incomplete(),
          examples::waived(),
          examples::compared(),
          examples::shard(examples::failing(), 2),
          not_finite,
          huge,
          examples::with_text(examples::hostile())};
}

}  // namespace

TEST_CASE("writing makes the directory and leaves a whole bundle, whatever was found") {
  const TemporaryDirectory directory;
  const fs::path out = directory.path() / "deep" / "out";
  for (const Result& result : several()) {
    write(result, out.string());
    CHECK(names_in(out) == names_of_bundle());
    CHECK(names_in(out.parent_path()) == std::vector<std::string>{"out"});
    for (const auto& one : renderings())
      CHECK(read_text(out / one.name, largest_file) == one.make(from_json(to_json(result), "result.json")));
    // What cannot be is said of the document alone: its renderings are what it makes them.
    for (const std::string& finding : findings(out)) {
      CHECK(result.header.candidate == examples::hostile());
      CHECK(finding.starts_with("result.json: "));
      CHECK(finding.find("as this Plumbline writes it") == std::string::npos);
    }
  }
}

TEST_CASE("a directory's other files and its permissions stay, and an older bundle's files do not") {
  const TemporaryDirectory directory;
  const fs::path out = directory.path() / "out";
  write(examples::passing(), out.string(), {log_of("candidate", "started")});
  CHECK(fs::exists(out / "log-candidate.txt"));
  std::ofstream(out / "mine.txt") << "mine";
  std::ofstream(out / "log-mine.txt") << "mine";
  fs::permissions(out, fs::perms::owner_all);
  for (const bool with_folder : {false, true}) {
    if (with_folder) fs::create_directories(out / "folder" / "below");
    std::ofstream(out / "collection.json") << R"({"format": "plumbline-collection"})";
    write(examples::failing(), out.string());
    CHECK(read_text(out / "mine.txt", 10) == "mine");
    CHECK(read_text(out / "log-mine.txt", 10) == "mine");
    CHECK_FALSE(fs::exists(out / "log-candidate.txt"));
    CHECK_FALSE(fs::exists(out / "collection.json"));
    CHECK(fs::status(out).permissions() == fs::perms::owner_all);
    CHECK(read_text(out / "result.json", largest_file) == to_json(examples::failing()));
    CHECK(names_in(directory.path()) == std::vector<std::string>{"out"});
    CHECK(findings(out).size() == (with_folder ? 3 : 2));  // what is no bundle's is said
  }
  CHECK(fs::exists(out / "folder" / "below"));
}

TEST_CASE("a file that no bundle lists is never replaced, whatever its name") {
  const TemporaryDirectory directory;
  const fs::path out = directory.path() / "out";
  for (const std::string& name : names_of_bundle()) {
    for (const bool with_folder : {false, true}) {
      fs::create_directories(with_folder ? out / "folder" : out);
      std::ofstream(out / name) << R"({"format": "somebody's"})";
      INFO(name);
      CHECK_THROWS_WITH(write(examples::passing(), out.string()),
                        StartsWith((out / name).string() + " would be replaced"));
      CHECK_THROWS_AS(require_room_for_bundle(out), InputError);
      CHECK(read_text(out / name, 100) == R"({"format": "somebody's"})");
      CHECK(names_in(out).size() == (with_folder ? 2 : 1));
      fs::remove_all(out);
    }
  }
  write(examples::passing(), out.string());
  CHECK_NOTHROW(require_room_for_bundle(out));
  std::ofstream(out / "collection.json") << "not listed";
  CHECK_THROWS_AS(write(examples::passing(), out.string()), InputError);
}

TEST_CASE("a manifest that lists what no bundle holds gives it to nobody") {
  const TemporaryDirectory directory;
  const fs::path out = directory.path() / "out";
  fs::create_directory(out);
  std::ofstream(out / "mine.txt") << "mine";
  std::ofstream(out / manifest_name) << to_manifest({{"mine.txt", std::string(64, 'a'), 4}});
  write(examples::passing(), out.string());
  CHECK(read_text(out / "mine.txt", 10) == "mine");
}

TEST_CASE("a swapped directory keeps its group and what it passes on") {
  const TemporaryDirectory directory;
  const fs::path out = directory.path() / "out";
  fs::create_directory(out);
  // Who is root can give it away, others to a group of theirs.
  std::vector<gid_t> groups(256);
  groups.resize(static_cast<std::size_t>(std::max(getgroups(256, groups.data()), 0)));
  const gid_t group = geteuid() == 0 ? 1 : groups.empty() ? getegid() : groups.back();
  const uid_t owner = geteuid() == 0 ? 1 : geteuid();
  REQUIRE(chown(out.c_str(), owner, group) == 0);
  REQUIRE(chmod(out.c_str(), 02775) == 0);
  write(examples::passing(), out.string());
  struct stat status {};
  REQUIRE(stat(out.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 02775);
  CHECK(status.st_uid == owner);
  CHECK(status.st_gid == group);
  REQUIRE(stat((out / "result.json").c_str(), &status) == 0);
  CHECK(status.st_gid == group);
}

// Each again and again, for a while.
TEST_CASE("two that write to one directory at once leave the bundle of one of them") {
  const TemporaryDirectory directory;
  for (const bool with_folder : {false, true}) {
    const fs::path out = directory.path() / (with_folder ? "in place" : "swapped");
    if (with_folder) fs::create_directories(out / "folder");
    std::vector<pid_t> children;
    for (const bool first : {true, false}) {
      children.push_back(fork());
      REQUIRE(children.back() >= 0);
      if (children.back() == 0) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
        do {
          try {
            if (first)
              write(examples::passing(), out.string(), {log_of("first", "one")});
            else
              write(examples::failing(), out.string(), {log_of("second", "two")});
          } catch (...) {
            _exit(1);
          }
        } while (std::chrono::steady_clock::now() < until);
        _exit(0);
      }
    }
    for (const pid_t child : children) {
      int status = 1;
      waitpid(child, &status, 0);
      CHECK(status == 0);
    }
    const auto found = findings(out);
    INFO((found.empty() ? "" : found.front()));
    CHECK(found.size() == (with_folder ? 1 : 0));
    CHECK(names_in(out).size() == names_of_bundle().size() + (with_folder ? 2 : 1));
  }
  CHECK(names_in(directory.path()).size() == 2);
}

TEST_CASE("what a kill left is taken away later, and what may be somebody's only copy is not") {
  const TemporaryDirectory directory;
  const fs::path out = directory.path() / "out", left = directory.path() / ".plumbline-1-0.partial";
  write(examples::passing(), left.string());
  std::ofstream(left / "mine.txt") << "mine";
  fs::create_hard_link(left / "mine.txt", directory.path() / "mine.txt");
  fs::create_directory(out);
  std::ofstream(out / ".plumbline-1-1.partial") << "half";
  std::ofstream(out / ".plumbline-1-2.partial") << "now";
  const auto long_ago = fs::file_time_type::clock::now() - std::chrono::hours(2);
  const auto age = [&] {
    for (const fs::path& path : {left, out / ".plumbline-1-1.partial"})
      if (fs::exists(path)) fs::last_write_time(path, long_ago);
  };
  write(examples::passing(), out.string());
  CHECK(fs::exists(left));  // it may still be written to
  age();
  std::ofstream(left / "only.txt") << "only";
  age();
  write(examples::passing(), out.string());
  CHECK(names_in(left) == std::vector<std::string>{"only.txt"});
  fs::remove(left / "only.txt");
  age();
  write(examples::passing(), out.string());
  CHECK(names_in(directory.path()) == std::vector<std::string>{"mine.txt", "out"});
  CHECK_FALSE(fs::exists(out / ".plumbline-1-1.partial"));
  CHECK(fs::exists(out / ".plumbline-1-2.partial"));
}

TEST_CASE("who stands in the directory still stands in it, and a link to it still leads to it") {
  const TemporaryDirectory directory;
  const fs::path out = directory.path() / "out", before = fs::current_path();
  write(examples::passing(), out.string());
  fs::create_directory_symlink("out", directory.path() / "link");
  write(examples::failing(), (directory.path() / "link").string());
  CHECK(fs::is_symlink(directory.path() / "link"));
  CHECK(findings(out).empty());
  fs::current_path(out);
  write(examples::waived(), ".");
  const bool here = fs::exists("result.json") && fs::equivalent(".", out);
  fs::current_path(before);
  CHECK(here);
  CHECK(findings(out).empty());
}

TEST_CASE("what cannot be written leaves the older bundle as it was") {
  const TemporaryDirectory directory;
  write(examples::passing(), directory.path().string());
  fs::remove(directory.path() / "summary.md");
  fs::create_directory(directory.path() / "summary.md");
  const auto content = [&](const char* name) { return read_text(directory.path() / name, 1U << 24U); };
  const std::string document = content("result.json"), manifest = content("manifest.json");
  CHECK_THROWS_AS(write(examples::failing(), directory.path().string()), InputError);
  CHECK(content("result.json") == document);
  CHECK(content("manifest.json") == manifest);
}

// In microseconds, as this machine is now: a moment to kill at is drawn from them.
std::uint32_t six_writes(const Result& result, const fs::path& out) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 6; ++i) write(result, out.string());
  return static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin)
          .count());
}

// A child that writes one bundle and then another, again and again, until it is killed.
TEST_CASE("killed at any moment, the old bundle or the new one is there, whole") {
  const TemporaryDirectory directory;
  const fs::path out = directory.path() / "out";
  const Result one = examples::passing(), other = examples::failing();
  write(one, out.string());
  std::ofstream(out / "setup.log") << "built";
  std::mt19937 random(1);
  const auto range = six_writes(other, out);
  int ones = 0, others = 0;
  for (int turn = 0; turn < 60; ++turn) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
      for (bool odd = turn % 2 == 1;; odd = !odd) write(odd ? one : other, out.string());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % range));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    INFO("turn " << turn);
    const Examined found = examine(out, examiner);
    CHECK(found.findings.empty());
    CHECK(read_text(out / "setup.log", 10) == "built");
    ++(found.status == 0 ? ones : others);
  }
  CHECK(ones > 0);
  CHECK(others > 0);
}

TEST_CASE("a full disk leaves the old bundle, and nothing beside it") {
  const TemporaryDirectory directory;
  const fs::path out = directory.path() / "out";
  write(examples::passing(), out.string());
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const rlimit small{2000, 2000};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    try {
      write(examples::failing(), out.string());
    } catch (const InputError&) {
      _exit(3);
    }
    _exit(4);
  }
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 3);
  CHECK(examine(out, examiner).findings.empty());
  CHECK(examine(out, examiner).status == 0);
  CHECK(names_in(directory.path()) == std::vector<std::string>{"out"});
}

TEST_CASE("where a bundle cannot be swapped, no kill leaves a mixture") {
  const TemporaryDirectory directory;
  const fs::path out = directory.path() / "out";
  fs::create_directories(out / "folder");
  std::mt19937 random(1);
  const auto range = six_writes(examples::failing(), directory.path() / "elsewhere");
  int whole = 0;
  for (int turn = 0; turn < 40; ++turn) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
      for (;;) {
        write(examples::passing(), out.string());
        write(examples::failing(), out.string());
      }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % range));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    if (!fs::exists(out / "result.json") || examine(out, examiner).verdict.empty()) continue;
    if (findings(out).front().find("was not written to its end") != std::string::npos) continue;
    ++whole;
    for (const std::string& finding : findings(out)) {
      INFO("turn " << turn);
      CHECK((finding.starts_with("folder: ") || finding.starts_with(".plumbline-")));
    }
  }
  CHECK(whole > 0);
  write(examples::passing(), out.string());  // what was left is recognised
  CHECK(read_text(out / "result.json", largest_file) == to_json(examples::passing()));
}

TEST_CASE("a log is shown harmlessly, and its end is kept") {
  const File log = log_of("../my model", "one\n\x1b[31mtwo\r\n\xff three");
  CHECK(log.name == "log-.._my_model.txt");
  CHECK(log.content == "one\n\\x1b[31mtwo\\r\n\ufffd three\n");
  const File large = log_of("a", std::string(3U << 20U, 'x') + "\nlast");
  CHECK(large.content.starts_with("(2097157 bytes before these are left out)\n"));
  CHECK(large.content.ends_with("\nlast\n"));
  const TemporaryDirectory directory;
  write(examples::passing(), directory.path().string(), {log, log});
  CHECK(fs::exists(directory.path() / "log-.._my_model-2.txt"));
  CHECK(findings(directory.path()).empty());
}

TEST_CASE("a manifest that names what is not beside it is refused") {
  const auto read = [](const std::string& name) {
    return from_manifest(to_manifest({{name, std::string(64, 'a'), 1}}), "manifest.json");
  };
  CHECK(read("result.json").size() == 1);
  for (const char* name : {"", "..", "../result.json", "/etc/passwd", "a\\b", "manifest.json"})
    CHECK_THROWS_AS(read(name), InputError);
  CHECK_THROWS_AS(from_manifest(to_manifest({{"a", "", 1}, {"a", "", 1}}), "m"), InputError);
  CHECK_THROWS_AS(from_manifest("{}", "m"), InputError);
}
