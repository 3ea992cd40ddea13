// Runs other programs under limits.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace plumbline {

struct ChildLimits {
  std::chrono::milliseconds time{120'000};  // of a run, or of one answer
  std::uint64_t address_space_bytes = 0;    // 0: no limit; importing torch takes several GB
  std::uint64_t resident_bytes = 0;         // of memory in use by its whole process group; 0: no limit
  std::uint64_t file_bytes = 1ull << 30;    // of each file that it writes
  std::uint64_t output_bytes = 1ull << 20;  // kept of each output; the rest is read and discarded
};

struct ChildResult {
  int exit_code = -1;      // -1 when a signal ended it
  int signal = 0;          // 0 when it ended by itself
  bool timed_out = false;  // killed, with its process group, at the time limit
  std::string output;      // of unknown origin: see printable() in files.hpp
  std::string errors;
  bool succeeded() const { return exit_code == 0 && !timed_out; }
};

using Environment = std::vector<std::pair<std::string, std::string>>;

// Runs arguments[0] (looked up in PATH unless it has a slash) without a shell, standard input empty, with our
// environment and the names given in `environment` set. It has a process group of its own, which is killed
// when the time is over, when the program itself has ended but left others running, and when a signal ends us
// (see interruption.hpp; on Linux also SIGKILL, but then only the program itself). No core files. InputError
// if it cannot be started.
ChildResult run_child(const std::vector<std::string>& arguments, const ChildLimits& limits,
                      const Environment& environment = {});

// A child of a Conversation has ended; what() continues a sentence that begins with the child's name.
class ChildEnded : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A child that answers lines. It is started as by run_child, with a pipe for standard input; the destructor
// kills its process group.
class Conversation {
 public:
  Conversation(const std::vector<std::string>& arguments, const ChildLimits& limits,
               const Environment& environment = {});
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;
  ~Conversation();

  // Sends a line and waits for the next line of its output, both without their ends. The child gets
  // limits.time for it. ChildEnded when it ends, closes its output, takes too long or too much memory, or
  // answers a line of more than limits.output_bytes; it has been killed then.
  std::string ask(const std::string& line) { return ask(line, limit()); }
  std::string ask(const std::string& line, std::chrono::milliseconds time);  // with another time limit

  // Closes its input and waits for its end; true if it ended by itself with status 0.
  bool wait_for_end(std::chrono::milliseconds time);

  // Its peak memory in bytes; 0 where the system does not report it, or it has ended.
  std::uint64_t peak_bytes() const;

  // The last part of its standard error, at most 64 KiB; of unknown origin.
  const std::string& errors() const;

 private:
  std::chrono::milliseconds limit() const;

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace plumbline
