// Departures that are confined to a layer or to some passes.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "harness/model/model.hpp"

namespace plumbline {

// A part of what a model computes. A member that is empty restricts nothing.
struct ModelPart {
  std::optional<std::int64_t> layer = {};
  std::optional<bool> training = {}, cached = {}, padded = {};

  bool operator==(const ModelPart&) const = default;
};

// Applies the rules of the first part that matches.
class LocalDepartures : public LocalOverrides {
 public:
  explicit LocalDepartures(std::vector<std::pair<ModelPart, Rules>> parts) : parts_(std::move(parts)) {}
  const Rules* find(std::optional<std::int64_t> layer, const PassKind& pass) const override;

 private:
  std::vector<std::pair<ModelPart, Rules>> parts_;
};

}  // namespace plumbline
