// Departures that hold in a layer or in some passes alone.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "harness/model/model.hpp"

namespace plumbline {

// A part of what a model computes: a layer, or what is before and after the layers where none is given, in
// some passes. What is not given is any.
struct ModelPart {
  std::optional<std::int64_t> layer;
  std::optional<bool> training, cached;

  bool operator==(const ModelPart&) const = default;
};

// The first part that fits decides.
class LocalDepartures : public LocalRules {
 public:
  explicit LocalDepartures(std::vector<std::pair<ModelPart, Rules>> parts) : parts_(std::move(parts)) {}
  const Rules* in(std::optional<std::int64_t> layer, bool training, bool cached) const override;

 private:
  std::vector<std::pair<ModelPart, Rules>> parts_;
};

}  // namespace plumbline
