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
