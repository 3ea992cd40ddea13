// The campaign: runs every known defect and every correct variant against the suites, to measure missed
// defects and false alarms.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>
#include "harness/system/json.hpp"

namespace plumbline {

// One run of the program.
struct CampaignCase {
  std::string candidate;       // "defect:mask-none", "variant:fused"
  std::string specification;   // "tiny"
  bool full_size = false;      // runs at full size
  bool decides = true;         // a defect that fails a "must"
  std::int64_t longest = 604;  // tokens of the longest pass
  bool defect() const { return candidate.starts_with("defect:"); }
};

struct CampaignOptions {
  std::filesystem::path program, fixtures, out;
  std::vector<CampaignCase> cases;
  int jobs = 1;  // runs at a time, each with one thread
  bool diagnosing = true;
  std::uint32_t seed = 1;  // of the probes
};

// All defects and variants, a few of them also at full size; or those with these names, "mask-none" or
// "variant:fused". Errors: InputError for an unknown name.
std::vector<CampaignCase> plan_campaign(const std::filesystem::path& fixtures,
                                        const std::vector<std::string>& names, bool full_size);

// Runs the cases and calls `progress` after each. Returns the document of
// harness/campaign/campaign.schema.json without its conclusion. Errors: InputError where a run could not be
// started or wrote no result.
Json run_campaign(const CampaignOptions& options,
                  const std::function<void(std::size_t done, std::size_t all)>& progress);

// The passed requirement that came nearest to its tolerance, or null; without those of `by_chance`, which
// depend on chance.
Json nearest_to_tolerance(const Json& run, const Json& by_chance);

// Whether each entry of a list of the conclusion has a reason.
bool all_have_reasons(const Json& list);

// Adds what follows from the runs: "conclusion", with the status to exit with.
void conclude_campaign(Json& document, const Json& settings);

// The lines of the terminal; the report in Markdown; the matrix as a picture in SVG.
std::string campaign_summary(const Json& document);
std::string campaign_report(const Json& document);
std::string campaign_matrix(const Json& document);

}  // namespace plumbline
