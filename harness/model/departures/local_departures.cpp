#include "harness/model/departures/local_departures.hpp"

#include <algorithm>

namespace plumbline {

const Rules* LocalDepartures::find(std::optional<std::int64_t> layer, bool training, bool cached) const {
  const auto found = std::find_if(parts_.begin(), parts_.end(), [&](const auto& entry) {
    const ModelPart& part = entry.first;
    return (!part.layer || part.layer == layer) && part.training.value_or(training) == training &&
           part.cached.value_or(cached) == cached;
  });
  return found == parts_.end() ? nullptr : &found->second;
}

}  // namespace plumbline
