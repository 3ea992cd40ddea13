// The requirements that decide a verdict.
#pragma once

#include <vector>

#include "harness/result/result.hpp"
#include "harness/result/words.hpp"

namespace plumbline::reports {

// The musts that apply, apart from those that --only or a shard leaves out. What is waived is not among the
// failed. Pointers lead into the result.
struct Musts {
  Counts counts;
  bool left_out = false;
  std::vector<const Waiver*> waived;
  std::vector<const Waiver*> expired;  // of musts that failed
  std::vector<const Waiver*> idle;     // in force, of what did not fail
  const Requirement *failed = nullptr, *error = nullptr, *not_assessed = nullptr;  // the first of each

  int asked() const { return counts.total() - counts.not_applicable + static_cast<int>(waived.size()); }
};

Musts musts_of(const Result& result);

// The exit status that follows from them: see conclude().
int status_of(const Header& header, const Musts& musts);

}  // namespace plumbline::reports
