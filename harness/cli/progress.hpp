// Shows the progress of long operations on standard error.
#pragma once

#include <chrono>
#include <string>

namespace plumbline {

// A bar on a terminal, else a line for each tenth of a long operation.
class Progress {
 public:
  ~Progress();
  // `done` of 1; `words` follow the percentage: " of at most 640 tokens, 90 a second".
  void tell(double done, const std::string& words);
  double seconds() const;  // since the constructor

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now(), told_ = begin_;
  int tenth_ = 0;
  bool shown_ = false;
};

}  // namespace plumbline
