// Compares two candidates with each other, on the same weights, without judging either.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/judging/subject.hpp"

namespace plumbline {

struct CandidatePair;

// The requirements are those of fixtures/comparison.json. Both subjects record with the same recorder.
class Comparison {
 public:
  // `other` is compared with `one`. Null: `one` is asked everything and nothing is compared, so that a
  // recording has all answers.
  Comparison(Subject& one, Subject* other);
  ~Comparison();

  // Excludes requirements that cannot be compared; to be called before look(). Returns sentences on the
  // capabilities that only one of the two has. Errors: as look().
  std::vector<std::string> prepare();
  // Compares for one requirement. Errors: NotShown, CandidateFailed and InputError, as the candidates throw
  // them.
  void look(const std::string& requirement);
  // Locates the first difference of two candidates whose code was run.
  reports::Localisation localise();
  // Asks `one` everything that look() and localise() might ask; its errors are answers, too.
  void ask_everything();

 private:
  struct Entry;
  static const std::vector<Entry>& entries();
  std::unique_ptr<CandidatePair> pair_;
};

}  // namespace plumbline
