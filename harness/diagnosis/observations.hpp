// What can be seen of a candidate in one way, and what the same way shows of a hypothesis about it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "harness/judging/subject.hpp"

namespace plumbline {

// Observations of which the same is active. Each builds on those before it: what explains a pass in
// evaluation explains a part of each other.
enum class Group {
  settings,    // names, shapes, what is stated, how it begins
  operations,  // one operation by itself
  passes,      // whole passes in evaluation, without padding
  training,
  padding,
  padding_in_training,
  cache,
  padding_in_cache,
  gradients,
  steps,    // of AdamW
  weights,  // other weights than the first
  text,     // of its own loop
};
constexpr Group kLastGroup = Group::text;
std::string to_string(Group group);  // "padded passes"

struct Observation {
  std::string name, needs;  // needs: what a candidate has to declare; empty: nothing
  // On the CPU. Whole numbers are facts, to be the same; floating ones may differ by
  // rounding. Errors: as the candidate throws them.
  std::function<Weights(Subject&)> ask;
  enum class Kind {
    judged,
    stated,  // a candidate may rightly say what the specification says, whatever its code does
    inner,   // where in a block something is done otherwise: nobody has to do it there to come to the same
  } kind = Kind::judged;
  double allowed = 0;      // floating answers may differ by this much more than rounding makes
  Sampling sampling = {};  // that was asked for, of text
  bool computes = true;    // by passes, and so otherwise every time where a model draws numbers in them
  Group group = Group::passes;
};

// For a subject, of whose specification the probes are; what it can show decides which of its text there are.
std::vector<Observation> observations(Subject& subject);
// Passes over other tokens, in every way to run it: of hypotheses that explain all the others, one may be
// wrong of these.
std::vector<Observation> further_observations(Subject& subject);
// Those of text that it writes by itself.
std::vector<Observation> observations_of_own_text(Subject& subject);

// For the files that list them: the same observations, of that group; a truth as a whole number.
std::vector<Observation> in_group(Group group, std::vector<Observation> all);
at::Tensor truth(bool holds);

}  // namespace plumbline
