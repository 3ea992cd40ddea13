#include "harness/comparison/pair.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "harness/candidate/void_parameters.hpp"
#include "harness/evidence/relation.hpp"
#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/words.hpp"
#include "harness/system/files.hpp"

namespace plumbline {

reports::Check compare_two(const std::string& what, const at::Tensor& other, const at::Tensor& one,
                           const Tolerance& tolerance) {
  if (!same_bits(one, other) || one.numel() == 0) {
    const bool comparable = one.sizes() == other.sizes() && at::isFloatingType(one.scalar_type()) &&
                            at::isFloatingType(other.scalar_type());
    const auto both_nan = comparable ? one.isnan() & other.isnan() : at::Tensor();
    const auto without_nan = [&](const at::Tensor& x) { return comparable ? x.masked_fill(both_nan, 0) : x; };
    auto check = compare(what, without_nan(other), without_nan(one), tolerance);
    check.identical = false;
    if (comparable) check.elements -= both_nan.sum().item<std::int64_t>();
    check.of_two = true;
    return check;
  }
  reports::Check check;
  check.what = what;
  check.within = true;
  check.identical = true;
  check.elements = one.numel();
  check.worst_difference = 0;
  check.expected = check.actual = "the same bits";
  check.form = reports::Form::same_bits;
  check.of_two = true;
  check.tolerance = 0;
  check.tolerance_reason = "bit for bit";
  return check;
}

bool same_value(const Json& a, const Json& b) {
  return a.is_number() && b.is_number() ? a.get<double>() == b.get<double>() : a == b;
}

void CandidatePair::record(reports::Check check) {
  check.of_two = true;
  if (check.identical) ++compared, identical += *check.identical ? 1 : 0;
  if (check.tolerance && *check.tolerance > 0 && check.worst_difference)
    if (const double share = *check.worst_difference / *check.tolerance; share > nearest)
      nearest = share, nearest_what = check.what;
  one.recorder().add(std::move(check));
}

void CandidatePair::expect_text(const std::string& what, const std::string& second,
                                const std::string& first) {
  auto check = compare_text(what, second, first);
  record(std::move(check));
}

void CandidatePair::require_both(const std::string& capability, const std::string& words) {
  if (const auto* who = alone(capability))
    not_assessed(fmt::format("only {} has {}, and {} has nothing to compare them with", name(*who), words,
                             name(who == &one ? *other : one)));
}

void CandidatePair::record_summary() {
  if (compared == 0) return;
  if (rounding_share > 0)
    one.recorder().finding(
        fmt::format("differences below {} of the largest logit count as rounding", number(rounding_share)));
  one.recorder().finding(
      compared == identical
          ? fmt::format("bit for bit in all of {}", reports::counted(compared, "comparison"))
          : fmt::format("bit for bit in {} of {}{}", identical, reports::counted(compared, "comparison"),
                        nearest < 0 ? ""
                                    : fmt::format("; nearest to its tolerance: {}, {} of what is allowed",
                                                  nearest_what, number(nearest))));
}

void CandidatePair::share_weights() {
  if (other == nullptr || shared) return;
  if (both_can_load()) {
    auto lacking = one.missing_parameters();
    lacking.insert(other->missing_parameters().begin(), other->missing_parameters().end());
    if (!lacking.empty())
      for (auto* subject : {&one, other}) subject->use_weights(make_void(subject->weights(), lacking));
    shared = true;
    return;
  }
  if (!one.can("load") && !other->can("load")) {
    if (!weights_agree) weights_agree = weights_are_equal();
    if (!*weights_agree) throw NotShown("their weights differ, and neither of the two can be given others");
    return;
  }
  auto& fixed = one.can("load") ? *other : one;
  (one.can("load") ? one : *other).use_weights(convert(fixed.candidate().weights(), at::kFloat, at::kCPU));
  shared = true;
}

void CandidatePair::measure_rounding() {
  const auto& weights = one.weights();
  for (const auto& parameter : one.specification().parameters()) {
    const auto found = weights.find(parameter.name);
    if (found != weights.end() && found->second.sizes() == at::IntArrayRef(parameter.shape)) continue;
    one.use_weights_for_rounding(discriminating_weights(one.specification().parameters(), one.probes().seed));
    return;
  }
}

bool CandidatePair::weights_are_equal() {
  const auto &first = one.candidate().weights(), &second = other->candidate().weights();
  if (first.size() != second.size()) return false;
  return std::all_of(first.begin(), first.end(), [&](const auto& entry) {
    const auto found = second.find(entry.first);
    return found != second.end() && same_bits(entry.second, found->second);
  });
}

reports::Check CandidatePair::with_weights(const std::string& what, const Weights& weights) {
  reports::Check check;
  check.within = other == nullptr;  // so that block_by_block asks about every block
  const auto logits_with = [&](Subject& subject) {
    at::Tensor logits;
    subject.with_weights(weights, [&](Candidate& candidate) {
      logits = candidate.forward(standard_probe(subject), {}).to(at::kCPU);
    });
    return logits;
  };
  compare_answers(logits_with, [&](const at::Tensor& first, const at::Tensor& second) {
    check = compare_two(what, second, first, one.noise("logits", first));
  });
  return check;
}

}  // namespace plumbline
