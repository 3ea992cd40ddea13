// Cleanup of children and temporary files when a signal ends the program.
#pragma once

#include <functional>
#include <mutex>

namespace plumbline {

// During its lifetime, `undo` is called when SIGINT, SIGHUP or SIGTERM ends the program; the latest first.
class OnInterruption {
 public:
  explicit OnInterruption(std::function<void()> undo);
  OnInterruption(const OnInterruption&) = delete;
  OnInterruption& operator=(const OnInterruption&) = delete;
  ~OnInterruption();
};

// During its lifetime, signals that would end the program wait: for critical sections such as creating
// something and registering its cleanup. May be nested.
class Uninterrupted {
 public:
  Uninterrupted();

 private:
  std::unique_lock<std::recursive_mutex> lock_;
};

// Has to be called once, before the program has threads. A separate thread then receives signals, runs the
// pending cleanup and lets the signal end the program as usual, SIGPIPE included (status 141 in a shell).
// Ignored signals stay ignored.
void clean_up_when_interrupted();

// Does not return while a closed pipe ends the program, so that resulting errors are not reported.
void wait_if_ending();

}  // namespace plumbline
