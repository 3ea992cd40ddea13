// CacheView of the reference's static caches.
#pragma once

#include "harness/candidate/candidate.hpp"

namespace plumbline {

// The written slots as views, and the bytes of distinct storage.
CacheView show_cache(const KVCache& cache);

void fill_unwritten(KVCache& cache, double value);

}  // namespace plumbline
