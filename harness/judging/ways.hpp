// Ways to run a model. A way is a value on each of several axes that know nothing of each other; ways() thins
// their product until any two values still meet in some way, so that a new axis meets all others.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "harness/judging/covering.hpp"
#include "harness/judging/passes.hpp"

namespace plumbline {

struct AxisValue {
  std::string words;           // in the name of a way; empty: not said
  std::string needs;           // the capability that it takes; empty: none
  std::int64_t positions = 0;  // how many a model has to have
};
struct Axis {
  std::string name;
  std::vector<AxisValue> values;  // the first may stand beside every value of every other axis
};
const std::vector<Axis>& axes();

struct Way {
  CoveringRow values;  // on each of axes()

  std::string name() const;   // "training mode, padding on the left, in a batch, 24 tokens"
  std::string needs() const;  // the rarest capability that it takes
  bool is_simple() const;     // a plain pass but for at most one of pass, mask, cache, rows and length
  bool shows_loss() const;    // its answer is the loss and its gradients, not logits
  bool uses_cache() const;
  bool pads() const;            // on either side
  PassOptions options() const;  // of a full pass
  std::int64_t tokens() const;  // of the sequence that is looked at
};

// The pairwise covering of what a candidate with so many positions can do.
std::vector<Way> ways(const std::function<bool(const std::string& capability)>& can, std::int64_t positions);
std::vector<Way> ways(Subject& subject);

// A plain pass, and those that differ from it in mode, mask or cache alone.
std::vector<Way> simple_ways(const std::function<bool(const std::string& capability)>& can);

// The sequence that is looked at: (1, T), without padding.
Tokens sequence_of(Subject& subject, const Way& way);
// What is given at once: the sequence alone or among others, padded or not: (B, S).
Tokens batch_of(Subject& subject, const Way& way, const Tokens& sequence);
// The logits of the sequence in that way: (1, T, V).
at::Tensor run_way(Subject& subject, const Way& way, const Tokens& sequence);
// What is left of a way in which a model is wrong when each axis has its first value for which it still is:
// the values that have to meet. `wrong`: whether it is wrong in a way.
Way smallest_wrong(const Way& way, const std::function<bool(const Way&)>& wrong);
// Labels for a batch (B, S): its real tokens but for each row's first, which nothing predicts, and two that
// are ignored; three are what tokenizers pad, begin and end with.
at::Tensor labels_of(const Tokens& batch);

}  // namespace plumbline
