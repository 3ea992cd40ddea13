// A process that was started under limits, as run_child and Conversation have one: for child.cpp.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "harness/system/child.hpp"
#include "harness/system/files.hpp"
#include "harness/system/interruption.hpp"

namespace plumbline {

// A started child and our ends of its pipes.
class Child {
 public:
  // `answering`: it gets a standard input of its own, and only the end of its errors is kept.
  Child(const std::vector<std::string>& arguments, const ChildLimits& limits, const Environment& environment,
        bool answering);
  ~Child() { end(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Waits for something to read or, where `writing`, for room to write, a few milliseconds at most.
  void wait(bool writing);
  void drain_all();
  void end();  // kills the group and reaps the child; what it had written by then is read
  bool running() const { return process_ > 0; }
  bool ended_by_itself() const;
  bool takes_too_much_memory() const;
  std::uint64_t most_bytes() const;  // of memory that it has held at any moment

  Descriptor input;
  ChildResult result;

 private:
  ChildLimits limits_;
  bool answering_;
  Descriptor output_, errors_;
  pid_t process_ = 0;
  std::optional<OnInterruption> on_interruption_;
};

}  // namespace plumbline
