// How much work a pass of the reference is, for WorkClock.
#pragma once

#include <ATen/ATen.h>

#include <chrono>

#include "harness/model/specification.hpp"

namespace plumbline {

using Work = std::chrono::duration<double>;  // seconds of one core; see WorkClock

// Of a pass over so many new tokens, of all rows together, each of which attends to so many keys.
Work pass_work(const Specification& specification, std::int64_t tokens, std::int64_t keys,
               at::ScalarType type);
// Of a step of an optimiser, without its gradients.
Work step_work(const Specification& specification);

}  // namespace plumbline
