// A line of somebody's code.
#pragma once

#include <string>

namespace plumbline {

struct SourceLine {
  std::string where;  // "attention.py:55"
  std::string code;   // what stands there; empty where it is not known
};

}  // namespace plumbline
