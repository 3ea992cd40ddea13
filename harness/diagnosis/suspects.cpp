#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "harness/diagnosis/diagnostician.hpp"

namespace plumbline {
void Diagnostician::find_suspects() {
  std::set<std::string> failed;
  for (const auto& requirement : subject_.recorder().requirements())
    if (requirement.verdict == reports::Verdict::fail) failed.insert(requirement.id);
  const std::set<std::string> about_logits{"TXT-1", "TXT-2"};
  // One that could not be told apart from what its passes do wrong may be wrong all the same.
  for (const auto& requirement : subject_.recorder().requirements())
    failed_own_loop_ =
        failed_own_loop_ ||
        (requirement.id.starts_with("TXT-") && !about_logits.contains(requirement.id) &&
         (requirement.verdict == reports::Verdict::fail ||
          (requirement.verdict == reports::Verdict::not_assessed && !requirement.reason.left_out())));
  for (const auto& defect : catalogue_)
    if (std::any_of(defect.seen_by.begin(), defect.seen_by.end(),
                    [&](const std::string& id) { return failed.contains(id); }))
      suspected_.insert(defect.name);
  in_order_ = names_;
  std::stable_partition(in_order_.begin(), in_order_.end(),
                        [&](const std::string& name) { return suspected_.contains(name); });
}

void Diagnostician::read_localisation(const std::optional<reports::Localisation>& localisation) {
  if (!localisation) return;
  // Of a pass with a cache, stages are put together of many.
  for (const auto& pass : stage_runs(subject_))
    if (pass.name == localisation->mode && pass.needs != "cache") pass_ = pass;
  for (const auto& one : localisation->stages) {
    if (!one.local || one.local->within) continue;
    if (wrong_.empty()) first_wrong_ = one.stage.kind;
    auto& layers = wrong_[one.stage.kind];
    if (one.stage.layer) layers.insert(*one.stage.layer);
  }
  // Between an embedding that is right and its first norm nothing is shown.
  if (first_wrong_ == "attention_norm" && wrong_[first_wrong_] == std::set<std::int64_t>{0}) {
    first_wrong_ = "embedding";
    wrong_[first_wrong_];  // in no layer
  }
}

}  // namespace plumbline
