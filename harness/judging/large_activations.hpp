// Weights with which activations and scores come near 65504, the largest number of float16. What acts on
// large values alone, an additive mask that is too weak, clipping, max_norm, then shows.
#pragma once

#include "harness/judging/subject.hpp"

namespace plumbline {

struct LargeActivations {
  Weights weights;      // weights() of the subject, some of them scaled
  double residual = 0;  // the largest coordinate of the embedding, about
  double scores = 0;    // the largest score of the standard probe, about
};

// Scores grow in float32 alone: in bfloat16 their rounding would decide which token is attended to.
LargeActivations large_activations(Subject& subject);

}  // namespace plumbline
