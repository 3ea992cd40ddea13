// What a signal that ends the program must not leave behind: children, temporary files.
#pragma once

#include <functional>
#include <mutex>

namespace plumbline {

// While it lives, `undo` is run when an interrupt, hang-up or termination ends the program; the youngest
// first.
class OnInterruption {
 public:
  explicit OnInterruption(std::function<void()> undo);
  OnInterruption(const OnInterruption&) = delete;
  OnInterruption& operator=(const OnInterruption&) = delete;
  ~OnInterruption();
};

// While it lives, a signal that would end the program waits. For what must not be cut in two: making
// something and saying how to undo it, files that belong together. May be nested.
class Uninterrupted {
 public:
  Uninterrupted();

 private:
  std::unique_lock<std::recursive_mutex> lock_;
};

// To be called once, before the program has threads: signals are then taken by a thread of their own, which
// may do what a signal handler must not. It undoes what is pending and lets the signal end the program as it
// would have, that of a closed pipe too (status 141 in a shell). A signal that was ignored stays so.
void clean_up_when_interrupted();

// Where a closed pipe is ending the program, does not return: what fails because of it is not to be said.
void wait_if_ending();

}  // namespace plumbline
