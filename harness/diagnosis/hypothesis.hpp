// The reference with known defects, as a hypothesis about a candidate: on the candidate's weights, and on
// what the candidate shows inside.
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness/judging/run_modes.hpp"

namespace plumbline {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// Of defects that are there together, as parse_departure reads them.
using Names = std::vector<std::string>;

struct Hypothesis {
  std::unique_ptr<Candidate> candidate;
  std::unique_ptr<Subject> subject;
};
// On these weights, of which it takes type and device. `shown`: stages that a pass goes on with in the place
// of what it computes, where they are of its shape. Errors: InputError for no possible model.
Hypothesis make_hypothesis(Subject& about, const Names& names, const Weights& weights,
                           const Stages* shown = nullptr);

// Defects together may round so many times as much as each by itself says, multiplied.
constexpr double kCompounded = 10;

// How far the two are apart, relative to the largest value.
double noise_of(const Weights& one, const Weights& other, const std::string& key);

// The difference of two answers in terms of what is allowed: 1 or less is rounding. `near` is `exact` with
// the candidate's rounding; empty: not measured. `right`, `right_near`: the same of the specification's
// model.
double residual(const Weights& seen, const Weights& exact, const Weights& near, const Weights& right,
                const Weights& right_near, double roundoff, double slack);

// One full pass of a candidate, stage by stage: each as the candidate's own values before it call for, so
// that what one stage does is told without what others did.
class StagesApart {
 public:
  // `exact`, `near`: the candidate's weights in float64 and in its own type.
  StagesApart(Subject& candidate, const StageRun& pass, const Weights& exact, const Weights& near);

  // By kind of stage ("scores"), the worst of all layers: 1 or less is rounding.
  const std::map<std::string, double>& residuals(const Names& names);
  // The first kind that the hypothesis leaves wrong; empty: none.
  std::string first_wrong(const Names& names);
  // How far from what was shown there, in no unit.
  double distance(const Names& names, const std::string& kind);
  // Whether it changes what is computed there.
  bool changes(const std::string& name, const std::string& kind);

 private:
  // One defect, as it is catalogued.
  struct Alone {
    Weights made;
    double loudness = 1;  // how many times as much rounding as the right model's
  };
  const Alone& alone(const std::string& name);
  double roundoff() const;
  Weights show(const Names& names, bool exact);
  Weights hidden_alike(const Stages& stages) const;

  Subject& subject_;
  StageRun pass_;
  const Weights &exact_, &near_;
  Stages shown_;
  std::vector<std::string> kinds_;       // in execution order
  std::map<std::string, Weights> seen_;  // by kind
  Weights right_, right_near_;           // what the specification makes of it, exactly and with rounding
  std::map<Names, std::map<std::string, double>> residuals_;
  std::map<std::string, Alone> alone_;
};

}  // namespace plumbline
