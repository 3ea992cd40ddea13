#include "harness/result/musts.hpp"

namespace plumbline::reports {
namespace {

// What waivers there are for this requirement: of a failure, in force or expired; of what has been shown to
// need none.
void look_at_waivers(const Header& header, const Requirement& requirement, Musts& musts) {
  const bool needs_none =
      requirement.verdict == Verdict::pass || requirement.verdict == Verdict::not_applicable;
  for (const Waiver& waiver : header.waivers) {
    if (waiver.requirement != requirement.id) continue;
    const bool failed_must = requirement.verdict == Verdict::fail && requirement.level == Level::must;
    if (needs_none && in_force(waiver, header)) musts.idle.push_back(&waiver);
    if (failed_must) (in_force(waiver, header) ? musts.waived : musts.expired).push_back(&waiver);
  }
}

}  // namespace

Musts musts_of(const Result& result) {
  Musts musts;
  const auto first = [](const Requirement*& place, const Requirement& requirement) {
    if (place == nullptr) place = &requirement;
  };
  for (const Requirement& requirement : result.requirements) {
    look_at_waivers(result.header, requirement, musts);
    if (requirement.level != Level::must) continue;
    if (requirement.reason.left_out()) {
      musts.left_out = true;
      continue;
    }
    if (waiver_of(result.header, requirement) != nullptr) continue;
    musts.counts.add(requirement.verdict);
    if (requirement.verdict == Verdict::fail) first(musts.failed, requirement);
    if (requirement.verdict == Verdict::error) first(musts.error, requirement);
    if (requirement.verdict == Verdict::not_assessed) first(musts.not_assessed, requirement);
  }
  return musts;
}

int status_of(const Header& header, const Musts& musts) {
  if (musts.counts.failed > 0) return 1;
  if (musts.counts.errors > 0 || !musts.idle.empty()) return 2;
  if (musts.counts.not_assessed > 0 || musts.left_out || musts.counts.passed == 0 || header.shard) return 3;
  return 0;
}

}  // namespace plumbline::reports
