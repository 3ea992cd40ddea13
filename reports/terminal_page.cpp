#include "reports/terminal_page.hpp"

#include <algorithm>

#include "harness/result/words.hpp"

namespace plumbline::reports {

Requirements with(const Result& result, Verdict verdict) {
  Requirements found;
  for (const Requirement& requirement : result.requirements) {
    if (requirement.verdict == verdict) found.push_back(&requirement);
  }
  return found;
}

Failures failures_of(const Result& result) {
  Failures found;
  for (const Requirement* one : with(result, Verdict::fail))
    (waiver_of(result.header, *one) != nullptr ? found.waived
     : one->level == Level::must               ? found.musts
                                               : found.shoulds)
        .push_back(one);
  return found;
}

std::vector<std::string> sentences(const Requirement& requirement) {
  std::vector<std::string> found;
  if (!requirement.reason.empty()) found.push_back(sentence_of(requirement.reason));
  for (const Check* check : failed_checks(requirement)) found.push_back(sentence_of(*check));
  if (found.empty()) found.emplace_back("no finding was recorded");
  return found;
}

std::string short_id(const Requirement& requirement, const Paint& paint) {
  return fit(paint.text(requirement.id, 60), 16, paint.ellipsis());
}

int label_width(const Requirements& requirements, const Paint& paint) {
  int widest_label = 0;
  for (const Requirement* requirement : requirements) {
    widest_label = std::max(widest_label, columns(short_id(*requirement, paint)));
  }
  return widest_label;
}

std::string padded(std::string label, int width) {
  return label + std::string(static_cast<std::size_t>(std::max(0, width - columns(label))), ' ');
}

std::vector<std::pair<Reason, Requirements>> grouped(const Requirements& requirements) {
  std::vector<std::pair<Reason, Requirements>> groups;
  for (const Requirement* requirement : requirements) {
    const auto same = std::find_if(groups.begin(), groups.end(),
                                   [&](const auto& group) { return group.first == requirement->reason; });
    (same == groups.end() ? groups.emplace_back(requirement->reason, Requirements()) : *same)
        .second.push_back(requirement);
  }
  return groups;
}

}  // namespace plumbline::reports
