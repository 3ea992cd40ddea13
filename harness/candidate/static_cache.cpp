#include "harness/candidate/static_cache.hpp"

#include <set>

namespace plumbline {

CacheView show_cache(const KVCache& cache) {
  CacheView view{{}, cache.length, cache.capacity, 0};
  std::set<const void*> counted;
  const auto count = [&](const at::Tensor& tensor) {
    if (counted.insert(tensor.storage().data()).second)
      view.bytes += static_cast<std::int64_t>(tensor.storage().nbytes());
  };
  for (const auto& layer : cache.layers) {
    count(layer.keys);
    count(layer.values);
    view.layers.push_back({layer.keys.narrow(1, 0, cache.length), layer.values.narrow(1, 0, cache.length)});
  }
  return view;
}

void fill_unwritten(KVCache& cache, double value) {
  for (auto& layer : cache.layers)
    for (auto& kept : {layer.keys, layer.values})
      kept.narrow(1, cache.length, cache.capacity - cache.length).fill_(value);
}

}  // namespace plumbline
