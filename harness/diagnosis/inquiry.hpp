// The same questions to a candidate and to hypotheses about it, and how far their answers are apart.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/diagnosis/hypothesis.hpp"
#include "harness/diagnosis/observations.hpp"

namespace plumbline {

// A question that the candidate has answered.
struct Seen {
  Observation observation;
  Weights answer;
  Weights right;                                   // by the specification, exactly
  mutable std::optional<Weights> right_near = {};  // and with the candidate's rounding, once it matters
  bool differs = false;
  double seconds = 0;  // that the specification's own model takes
};

// Seconds that the specification's own model takes to answer.
constexpr double kQuick = 0.05;

class Inquiry {
 public:
  // On the weights that the candidate was given; where none fit it, it can be asked for its shapes and for
  // what it states alone.
  explicit Inquiry(Subject& candidate);

  bool runs() const { return runs_; }
  // Whether it answers a question twice alike: of one that does not, nothing else can be compared.
  bool steady() const { return steady_; }
  // The weights, in float64 and in the candidate's own type.
  const Weights& exact() const { return exact_; }
  const Weights& near() const { return near_; }

  // Asks all that the candidate can be asked; for text of its own only where `own_loop` is in doubt, or where
  // nothing else differs.
  void ask_everything(bool own_loop);
  // One question more; nullptr where it is not answered.
  const Seen* ask(const Observation& observation);

  const std::vector<Seen>& seen() const { return seen_; }  // the quickest first
  // What tells apart those that explain all else.
  const std::vector<Seen>& inside() const { return inside_; }
  // What ends in an error, and by the specification would not.
  const std::vector<Observation>& raised() const { return raised_; }
  // So many answers are not as the specification has them, errors among them.
  std::int64_t differing() const;
  // So many more were answered, and nothing can be said of how: it is not steady.
  std::int64_t uncompared() const { return uncompared_; }
  std::size_t hypotheses() const { return residuals_.size() - 1; }  // that were tried

  // How far the hypothesis is from what was seen: 1 or less is rounding.
  double residual_of(const Names& names, const Seen& one);
  // The same in no unit, to find the nearest of many.
  double distance_of(const Names& names, const Seen& one);
  // Whether the hypothesis answers a question in two ways, where the candidate does not.
  bool unsteady(const Names& names);
  bool answers(const Names& names, const Observation& observation);
  // Whether the defect changes what is asked there.
  bool moves(const std::string& name, const Seen& one);
  // Whether one of them rounds so much that much else is within it.
  bool is_loud(const Names& names);
  // Whether the reference with this defect answers everything as the right one does.
  bool shows_nothing_of(const std::string& name);
  // Whether one of these would answer otherwise than the first.
  bool tells_apart(const Observation& observation, const std::vector<Names>& hypotheses);

 private:
  double roundoff() const;
  Hypothesis stand(const Names& names, bool exact);
  Weights answer_of(const Hypothesis& stand, const Observation& observation);
  double residual_of(const Seen& one, const Weights& exact, const Weights& near);
  const Weights& rounded(const Seen& one);
  Weights prediction(const Hypothesis& stand, const Seen& one);
  double worth_measuring(const Names& names, const Seen& one);
  double loudness(const std::string& name, const Seen& one);

  Subject& subject_;
  Weights exact_, near_;
  bool runs_ = true, steady_ = true;
  std::int64_t uncompared_ = 0;
  std::vector<Seen> seen_, inside_;  // not changed after ask_everything
  std::vector<Observation> raised_;
  std::deque<Seen> further_;
  std::map<Names, std::map<const Seen*, double>> residuals_;
  std::map<std::string, std::map<const Seen*, double>> loudness_;
  std::map<std::string, std::map<const Seen*, bool>> moves_;
};

}  // namespace plumbline
