// The error for users: bad usage, unreadable or impossible input, broken evidence.
#pragma once

#include <stdexcept>
#include <string>

namespace plumbline {

// Nothing can be judged. The message is one line: what was wrong, where (file, object, index), what was
// expected, what to do next. The program prints it and ends with status 2; it never carries a stack trace.
class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace plumbline
