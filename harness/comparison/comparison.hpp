// Whether two candidates do the same: asked the same questions, on the same weights, and neither of them
// judged.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/judging/subject.hpp"

namespace plumbline {

struct Pair;

// The requirements are those of fixtures/comparison.json. Both subjects record with the same recorder.
class Comparison {
 public:
  // `other` is compared with `one`. Null: everything is asked of `one` and nothing is judged, so that a
  // recording has it.
  Comparison(Subject& one, Subject* other);
  ~Comparison();

  // Excludes what cannot be compared, with the reason; before the first look. Returns what one of the two
  // alone can do, a sentence for each of them. Errors: as look().
  std::vector<std::string> prepare();
  // Looks at one requirement. Errors: NotShown, CandidateFailed and InputError, as the candidates throw them.
  void look(const std::string& requirement);
  // Where they first differ, of two whose code was run.
  reports::Localisation localise();
  // Without another: everything that look() and localise() might ask. Errors of the candidate are answers,
  // too.
  void ask_everything();

 private:
  struct Entry;
  static const std::vector<Entry>& entries();
  std::unique_ptr<Pair> pair_;
};

}  // namespace plumbline
