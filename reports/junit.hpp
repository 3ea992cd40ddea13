#pragma once

#include <string>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// A result among several in one JUnit file; its suites' names begin with `prefix`.
struct JunitPart {
  std::string prefix;
  const Result* result;
};

std::string to_junit(const std::vector<JunitPart>& parts);

}  // namespace plumbline::reports
