#include "harness/diagnosis/hypothesis.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/candidate/reference.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
Hypothesis make_hypothesis(Subject& about, const Names& names, const Weights& weights, const Stages* shown) {
  auto departed = names.empty()
                      ? DepartedModel{about.specification(), {}}
                      : apply_departures(about.specification(), fmt::format("{}", fmt::join(names, "+")));
  Replacement replacement;
  if (shown != nullptr)
    replacement = [shown](const Stage& stage, const at::Tensor& value) {
      const auto found = shown->find(stage);
      return found == shown->end() || found->second.sizes() != value.sizes()
                 ? value
                 : found->second.to(value.options());
    };
  const auto& any = weights.begin()->second;
  Hypothesis made;
  made.candidate = make_reference("hypothesis", std::move(departed), any.scalar_type(), any.device());
  made.subject = std::make_unique<Subject>(*made.candidate, about.specification(), std::nullopt,
                                           about.fixtures(), about.recorder(), about.probes());
  made.subject->use_weights(weights);
  made.subject->replace_stages(std::move(replacement));
  return made;
}

namespace {

// What is not finite costs more to look at, and is rare.
double largest_finite(const at::Tensor& x) {
  const double all = largest(x);
  return std::isfinite(all) ? all : largest(finite(x));
}

// Infinite where one has a NaN and the other has none.
double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  const double all = largest(a - b);
  if (std::isfinite(all)) return all;
  if (!a.isnan().equal(b.isnan())) return kInfinite;
  return largest((a - b).masked_fill((a == b) | a.isnan(), 0));
}

}  // namespace

double noise_of(const Weights& one, const Weights& other, const std::string& key) {
  const auto a = one.find(key), b = other.find(key);
  if (a == one.end() || b == other.end() || a->second.sizes() != b->second.sizes()) return 0;
  const auto size = largest_finite(a->second);
  if (size == 0) return 0;
  const double off = largest(a->second.to(at::kDouble) - b->second.to(at::kDouble));
  return (std::isfinite(off) ? off : largest(finite(a->second) - finite(b->second))) / size;
}

double residual(const Weights& seen, const Weights& exact, const Weights& near, const Weights& right,
                const Weights& right_near, double roundoff, double slack) {
  double worst = 0;
  std::int64_t compared = 0;
  for (const auto& [key, value] : seen) {
    const auto found = exact.find(key);
    const bool counts = !at::isFloatingType(value.scalar_type());
    if (found == exact.end()) {
      if (counts) return kInfinite;
      continue;
    }
    // What the specification does not have at all, such as a layer more, holds whatever it held.
    if (!counts && !right.contains(key)) continue;
    if (found->second.sizes() != value.sizes()) return kInfinite;
    ++compared;
    if (counts) {
      if (!found->second.equal(value)) return kInfinite;
      continue;
    }
    const auto a = value.to(at::kCPU, at::kDouble), b = found->second.to(at::kCPU, at::kDouble);
    const double off = largest_difference(a, b);
    if (off == kInfinite) return kInfinite;
    const double relative =
        std::max({noise_of(exact, near, key), noise_of(right, right_near, key), roundoff});
    const double allowed = kNoiseFactor * relative * largest_finite(b) + slack;
    worst = std::max(worst, off == 0 ? 0 : allowed > 0 ? off / allowed : kInfinite);
  }
  for (const auto& [key, value] : exact)
    if (!at::isFloatingType(value.scalar_type()) && !seen.contains(key)) return kInfinite;
  return compared == 0 ? kInfinite : worst;
}

StagesApart::StagesApart(Subject& candidate, const StageRun& pass, const Weights& exact, const Weights& near)
    : subject_(candidate), pass_(pass), exact_(exact), near_(near) {
  shown_ = pass_.show(subject_, pass_.tokens);
  const auto seen = hidden_alike(shown_);
  for (const auto& stage : stages_in_order(subject_.specification().num_hidden_layers))
    if (const auto found = seen.find(to_string(stage)); found != seen.end()) {
      if (!seen_.contains(stage.kind)) kinds_.push_back(stage.kind);
      seen_[stage.kind].insert(*found);
    }
  right_ = show({}, true);
  right_near_ = show({}, false);
}

const std::map<std::string, double>& StagesApart::residuals(const Names& names) {
  const auto [known, unknown] = residuals_.try_emplace(names);
  if (!unknown) return known->second;
  Weights exact, near;
  try {
    near = show(names, false);
  } catch (const std::exception&) {  // no possible model, or no possible pass
  }
  double loud = kCompounded;
  for (const auto& name : names) loud *= alone(parse_departure(name).name).loudness;
  for (const auto& kind : kinds_) {
    const auto& seen = seen_.at(kind);
    double& off = known->second[kind] = residual(seen, near, {}, right_, right_near_, roundoff(), 0);
    if (!(off > 1 && off < loud)) continue;
    if (exact.empty()) exact = show(names, true);
    off = residual(seen, exact, near, right_, right_near_, roundoff(), 0);
  }
  return known->second;
}

std::string StagesApart::first_wrong(const Names& names) {
  const auto& residual = residuals(names);
  const auto found = std::find_if(kinds_.begin(), kinds_.end(),
                                  [&](const std::string& kind) { return !(residual.at(kind) <= 1); });
  return found == kinds_.end() ? "" : *found;
}

double StagesApart::distance(const Names& names, const std::string& kind) {
  try {
    const auto made = show(names, true);
    double worst = 0;
    for (const auto& [stage, value] : seen_.at(kind)) {
      const auto found = made.find(stage);
      if (found == made.end() || found->second.sizes() != value.sizes()) return kInfinite;
      const auto a = value.to(at::kDouble), b = found->second.to(at::kDouble);
      worst = std::max(worst, largest((a - b).masked_fill(a == b, 0)));
    }
    return std::isnan(worst) ? kInfinite : worst;
  } catch (const std::exception&) {
    return kInfinite;
  }
}

bool StagesApart::changes(const std::string& name, const std::string& kind) {
  const auto& made = alone(name).made;
  return !made.empty() && std::any_of(seen_.at(kind).begin(), seen_.at(kind).end(), [&](const auto& one) {
    return residual({{one.first, right_.at(one.first)}}, made, {}, right_, right_near_, roundoff(), 0) > 1;
  });
}

const StagesApart::Alone& StagesApart::alone(const std::string& name) {
  const auto [known, unknown] = alone_.try_emplace(name);
  auto& [made, loudness] = known->second;
  if (!unknown) return known->second;
  try {
    made = show({name}, true);
    const auto near = show({name}, false);
    for (const auto& [stage, value] : made)
      loudness = std::max(
          loudness, noise_of(made, near, stage) / std::max(noise_of(right_, right_near_, stage), roundoff()));
  } catch (const std::exception&) {  // no possible model alone
  }
  return known->second;
}

double StagesApart::roundoff() const {
  return unit_roundoff(near_.begin()->second.scalar_type());
}

Weights StagesApart::show(const Names& names, bool exact) {
  auto hypothesis = make_hypothesis(subject_, names, exact ? exact_ : near_, &shown_);
  return hidden_alike(pass_.show(*hypothesis.subject, pass_.tokens));
}

// What hides a key may be any score so low that nothing is left of it.
Weights StagesApart::hidden_alike(const Stages& stages) const {
  Weights all;
  for (const auto& [stage, value] : stages)
    all[to_string(stage)] = stage.kind == "scores" && value.size(-1) == pass_.tokens.ids.size(1)
                                ? hidden_as_infinity(value, causal_mask_of(pass_.tokens))
                                : value;
  return all;
}

}  // namespace plumbline
