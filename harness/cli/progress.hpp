// How far something is that takes a while, on standard error.
#pragma once

#include <chrono>
#include <string>

namespace plumbline {

// A bar where somebody looks, else a line for each tenth that takes a while.
class Progress {
 public:
  ~Progress();
  // `done` of 1; `words` follow the percentage: " of at most 640 tokens, 90 a second".
  void tell(double done, const std::string& words);
  double seconds() const;  // since it was made

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now(), told_ = begin_;
  int tenth_ = 0;
  bool shown_ = false;
};

}  // namespace plumbline
