#include "harness/model/departures/local_departures.hpp"

#include <algorithm>

namespace plumbline {

const Rules* LocalDepartures::find(std::optional<std::int64_t> layer, const PassKind& pass) const {
  const auto found = std::find_if(parts_.begin(), parts_.end(), [&](const auto& entry) {
    const ModelPart& part = entry.first;
    return (!part.layer || part.layer == layer) && part.training.value_or(pass.training) == pass.training &&
           part.cached.value_or(pass.cached) == pass.cached &&
           part.padded.value_or(pass.padded) == pass.padded;
  });
  return found == parts_.end() ? nullptr : &found->second;
}

}  // namespace plumbline
