// A clock of the work that the reference model did in this thread.
#pragma once

#include <chrono>

namespace plumbline {

// It counts in seconds that one core of a server of 2024 takes for that work (docs/diagnosis.md), so that a
// search that it limits tries the same on every machine, however slow or busy.
class WorkClock {
 public:
  using duration = std::chrono::duration<double>;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<WorkClock>;
  static constexpr bool is_steady = true;

  static time_point now() { return time_point(done_); }
  static void add(duration work) { done_ += work; }

 private:
  inline static thread_local duration done_{0};
};

}  // namespace plumbline
