// The process of run_child and Conversation, for child.cpp.
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
  // `answering`: with a pipe for standard input, and only the end of standard error kept.
  Child(const std::vector<std::string>& arguments, const ChildLimits& limits, const Environment& environment,
        bool answering);
  ~Child() { end(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Waits at most a few milliseconds for output or, where `writing`, until input can be written.
  void wait(bool writing);
  void drain_all();
  void end();  // kills the group, reads the remaining output and reaps the child
  bool running() const { return process_ > 0; }
  bool ended_by_itself() const;
  bool takes_too_much_memory() const;
  std::uint64_t peak_bytes() const;  // of memory

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
