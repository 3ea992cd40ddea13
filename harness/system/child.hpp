// Other programs, run under limits.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace plumbline {

struct ChildLimits {
  std::chrono::milliseconds time{120'000};
  std::uint64_t address_space_bytes = 0;    // 0: no limit; importing torch takes several GB
  std::uint64_t file_bytes = 1ull << 30;    // of any one file that it writes
  std::uint64_t output_bytes = 1ull << 20;  // kept of each of its two outputs; the rest is read and dropped
};

struct ChildResult {
  int exit_code = -1;      // -1 when a signal ended it
  int signal = 0;          // 0 when it ended by itself
  bool timed_out = false;  // it was killed, with its whole process group, when the time was over
  std::string output;      // of unknown origin: see printable() in files.hpp
  std::string errors;
  bool succeeded() const { return exit_code == 0 && !timed_out; }
};

// Runs arguments[0] (looked up in PATH unless it has a slash) without a shell, standard input empty, with our
// environment and the names given in `environment` set. It has a process group of its own, which is killed
// when the time is over, when an interrupt, hang-up or termination reaches us, and when the program itself
// has ended but left others running. No core files. One child at a time: a second caller waits for the first.
// InputError if it cannot be started.
ChildResult run_child(const std::vector<std::string>& arguments, const ChildLimits& limits,
                      const std::vector<std::pair<std::string, std::string>>& environment = {});

}  // namespace plumbline
