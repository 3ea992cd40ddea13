#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "harness/diagnosis/diagnostician.hpp"
#include "harness/diagnosis/fitting.hpp"

namespace plumbline {
namespace {

constexpr double kAround = 1.02;  // a number read once is looked for again so near
constexpr int kMostReadings = 3;  // of how many observations a number is read that turns

}  // namespace

void Diagnostician::try_other_forms(const Names& base) {
  const auto* quickest = first_unexplained(base);
  if (quickest == nullptr) return;
  const auto any_with = [&](auto attempts) {
    for (const auto& name : in_order_) {
      if (late() || any_complete()) return;
      attempts(name);
    }
  };
  const auto attempt_with = [&](const ParsedDeparture& departure) {
    consider_in_time(with_defect(base, format_departure(departure)), *quickest);
  };
  any_with([&](const std::string& name) {
    for (const double number : likely_numbers(name)) attempt_with({name, number, {}});
  });
  if (!subject_.can("code") || !inquiry_.runs()) return;
  any_with([&](const std::string& name) {
    if (const auto* number = departure_parameter(name);
        number != nullptr && number->continuous && (suspected_.contains(name) || shaped_))
      fit(base, name);
  });
  any_with([&](const std::string& name) {
    for (const auto& place : parts_for(name)) attempt_with({name, {}, place});
  });
}

std::vector<ModelPart> Diagnostician::parts_for(const std::string& name) const {
  std::vector<ModelPart> parts;
  if (!defect_of(name).stage.layer) return parts;
  for (const auto layer : layers_for(name)) parts.push_back({layer, {}, {}});
  for (const bool yes : {true, false}) {
    parts.push_back({{}, yes, {}});
    parts.push_back({{}, {}, yes});
  }
  return parts;
}

std::vector<double> Diagnostician::likely_numbers(const std::string& name) const {
  const auto* number = departure_parameter(name);
  if (number == nullptr) return {};
  auto numbers = number->other_values;
  const auto& stated = subject_.description().configuration;
  if (number->setting != nullptr)
    if (const auto found = stated.find(number->setting);
        found != stated.end() && found->second.value.is_number())
      numbers.insert(numbers.begin(), found->second.value.get<double>());
  return numbers;
}

std::vector<double> Diagnostician::range_of(const std::string& name) const {
  auto numbers = likely_numbers(name);
  numbers.push_back(departure_parameter(name)->default_value(subject_.specification()));
  std::erase_if(numbers, [](double value) { return value <= 0; });
  return numbers;
}

const Defect& Diagnostician::defect_of(const std::string& name) const {
  return defect_named(name, catalogue_);
}

std::vector<std::int64_t> Diagnostician::layers_for(const std::string& name) const {
  const auto& stage = defect_of(name).stage;
  if (!stage.layer) return {};
  std::set<std::int64_t> layers;
  if (const auto found = wrong_.find(stage.kind); found != wrong_.end())
    layers = found->second;
  else
    for (const auto& [other, there] : wrong_) layers.insert(there.begin(), there.end());
  if (layers.size() > 1) return {};
  if (wrong_.empty())
    for (std::int64_t layer = 0; layer < subject_.specification().num_hidden_layers; ++layer)
      layers.insert(layer);
  return {layers.begin(), layers.end()};
}

void Diagnostician::fit(const Names& base, const std::string& name) {
  auto numbers = range_of(name);
  double step = departure_parameter(name)->periodic ? kFine : kCoarse;
  const auto written = [&](double value) { return with_defect(base, format_departure({name, value, {}})); };
  // Far from the start of a text, what turns has turned too often to show the way: another may.
  int asked = 0;
  for (const auto& one : inquiry_.seen()) {
    if (late() || asked == (departure_parameter(name)->periodic ? kMostReadings : 1) || one.seconds > kQuick)
      return;
    if (!one.differs || inquiry_.residual_of(base, one) <= 1 || !inquiry_.moves(name, one)) continue;
    ++asked;
    const double found = fitting_best([&](double value) { return inquiry_.distance_of(written(value), one); },
                                      numbers, step, [&] { return late(); });
    for (const double round : rounder_than(found)) {
      consider_in_time(written(round), one);
      if (any_complete()) return;
    }
    // What a short text allows, a longer one tells to more digits.
    if (late() || inquiry_.residual_of(written(found), one) > 1) continue;
    numbers = {found / kAround, found * kAround};
    step = std::log(kAround) / 10;
  }
}

}  // namespace plumbline
