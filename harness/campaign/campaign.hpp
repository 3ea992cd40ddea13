// The campaign: every known defect and every honest variant against the suites. What a verification is worth
// is what it sees, and whom it leaves in peace.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>
#include "harness/system/json.hpp"

namespace plumbline {

// One run of the program.
struct CampaignCase {
  std::string candidate;      // "defect:mask-none", "variant:fused"
  std::string specification;  // "tiny"
  bool full_size = false;     // one of the few that run at full size
  bool decides = true;        // a defect that a "must" sees
  bool defect() const { return candidate.starts_with("defect:"); }
};

struct CampaignOptions {
  std::filesystem::path program, fixtures, out;
  std::vector<CampaignCase> cases;
  int jobs = 1;  // runs at a time, each with one thread
  bool diagnosing = true;
};

// All defects and variants, and of each so many a few at full size too; or those that are named, "mask-none"
// or "variant:fused". Errors: InputError for a name that is neither.
std::vector<CampaignCase> plan_campaign(const std::filesystem::path& fixtures,
                                        const std::vector<std::string>& names, bool full_size);

// Runs them; `done` of `all` is told after each. The document: harness/campaign/campaign.schema.json, as far
// as runs make it. Errors: InputError where a run could not be started or wrote no result.
Json run_campaign(const CampaignOptions& options,
                  const std::function<void(std::size_t done, std::size_t all)>& progress);

// The requirement of a run that passed and came nearest to its tolerance, null where none did; but for those
// of `by_chance`, where chance decides how near.
Json nearest_to_tolerance(const Json& run, const Json& by_chance);

// Whether each entry of a list of the conclusion states why it is as it is.
bool all_have_reasons(const Json& list);

// Adds what follows from the runs: "conclusion", with the status to exit with.
void conclude_campaign(Json& document, const Json& settings);

// The lines of the terminal; the report in Markdown; the matrix as a picture in SVG.
std::string campaign_summary(const Json& document);
std::string campaign_report(const Json& document);
std::string campaign_matrix(const Json& document);

}  // namespace plumbline
