// What our own static caches show of themselves.
#pragma once

#include "harness/candidate/candidate.hpp"

namespace plumbline {

// The written slots, as views, and the bytes of the distinct storage held.
CacheView view_of(const KVCache& cache);

void fill_unwritten(KVCache& cache, double value);

}  // namespace plumbline
