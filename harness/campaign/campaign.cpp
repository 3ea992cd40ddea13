#include "harness/campaign/campaign.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <set>
#include <thread>

#include "harness/candidate/variants.hpp"
#include "harness/catalogue/defect_catalogue.hpp"
#include "harness/result/conclusion_of_diagnosis.hpp"
#include "harness/result/contradictions.hpp"
#include "harness/result/result.hpp"
#include "harness/result/sentences.hpp"
#include "harness/system/child.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;
// How far what failed is over its tolerance, or what passed below it: the worst of a requirement's checks,
// null where what was compared is the same or not (a name, a count).
Json ratio_of(const reports::Requirement& requirement, bool failing) {
  Json worst;
  bool fact = false;
  for (const auto& check : requirement.checks) {
    if (failing == check.within) continue;
    if (!check.tolerance || !check.worst_difference || !(*check.tolerance > 0)) {
      fact = fact || failing;
      continue;
    }
    const double ratio = *check.worst_difference / *check.tolerance;
    if (!std::isfinite(ratio))
      fact = true;
    else if (worst.is_null() || worst.get<double>() < ratio)
      worst = ratio;
  }
  return fact ? Json() : worst;
}

Json told(const reports::Result& result) {
  Json failed = Json::array(), passed = Json::array(), others = Json::array();
  for (const auto& requirement : result.requirements) {
    const auto id = requirement.id;
    if (requirement.verdict == reports::Verdict::fail)
      failed.push_back({{"id", id},
                        {"margin", ratio_of(requirement, true)},
                        {"decides", requirement.level == reports::Level::must}});
    else if (requirement.verdict == reports::Verdict::pass)
      passed.push_back({{"id", id}, {"share", ratio_of(requirement, false)}});
    else
      others.push_back({{"id", id},
                        {"verdict", to_string(requirement.verdict)},
                        {"reason", reports::sentence_of(requirement.reason)}});
  }
  Json all{{"status", result.footer.status}, {"failed", failed}, {"passed", passed}, {"others", others}};
  if (result.localisation)
    if (const auto* stage = reports::first_locally_wrong(*result.localisation))
      all["stage"] = to_string(stage->stage);
  if (result.diagnosis) {
    Json named = Json::array();
    for (const auto& one : result.diagnosis->explanations)
      if (one.complete) named.push_back(one.defects);
    all["diagnosis"] = {{"named", named}, {"conclusion", reports::sentence_of(*result.diagnosis)}};
  }
  return all;
}

Json run_case(const CampaignOptions& options, const CampaignCase& one) {
  auto folder = one.candidate.substr(one.candidate.find(':') + 1);
  const auto out =
      options.out / "runs" / one.specification / (one.defect() ? "defects" : "variants") / folder;
  std::error_code ignored;
  fs::remove(out / "result.json", ignored);  // of an earlier campaign
  std::vector<std::string> command{options.program.string(),
                                   "verify",
                                   one.candidate,
                                   "--spec",
                                   one.specification,
                                   "--threads",
                                   "1",
                                   "--seed",
                                   std::to_string(options.seed),
                                   "--longest",
                                   std::to_string(one.longest),
                                   "--out",
                                   out.string()};
  if (!options.diagnosing || one.full_size) command.emplace_back("--no-diagnosis");
  ChildLimits limits;
  limits.time = std::chrono::minutes(20);
  const auto run = run_child(command, limits);
  const auto file = out / "result.json";
  if (run.timed_out || run.exit_code < 0 || !fs::exists(file))
    throw InputError(fmt::format(
        "{} on {}: the run {} and wrote no result: {}", one.candidate, one.specification,
        run.timed_out ? "took longer than 20 minutes"
                      : fmt::format("ended with {}", run.signal != 0 ? fmt::format("signal {}", run.signal)
                                                                     : fmt::to_string(run.exit_code)),
        printable(run.errors, 300)));
  const auto result = reports::from_json(read_text(file, 64 << 20), file.string());
  if (const auto wrong = reports::contradictions(result); !wrong.empty())
    throw InputError(fmt::format("{}: its document contradicts itself: {}", file.string(), wrong.front()));
  Json entry{{"candidate", one.candidate},
             {"specification", one.specification},
             {"full_size", one.full_size},
             {"decides", one.decides},
             {"seconds", result.footer.seconds}};
  entry.update(told(result));
  return entry;
}

}  // namespace

std::vector<CampaignCase> plan_campaign(const fs::path& fixtures, const std::vector<std::string>& names,
                                        bool full_size) {
  const auto settings = parse_json(read_text(fixtures / "campaign.json", 1 << 20), "fixtures/campaign.json");
  std::vector<std::string> candidates;
  for (const auto& defect : read_catalogue(fixtures)) candidates.push_back("defect:" + defect.name);
  for (const auto& [name, what] : variants()) candidates.push_back("variant:" + name);
  if (!names.empty()) {
    std::vector<std::string> chosen;
    for (const auto& name : names) {
      const auto wanted = name.find(':') == std::string::npos ? "defect:" + name : name;
      if (std::find(candidates.begin(), candidates.end(), wanted) == candidates.end())
        throw InputError(fmt::format(
            "campaign {}: no such defect or variant; `plumbline defects` lists them (variant:NAME)",
            printable(name, 60)));
      chosen.push_back(wanted);
    }
    candidates = std::move(chosen);
  }
  std::map<std::string, CampaignCase> by_candidate;
  for (const auto& defect : read_catalogue(fixtures)) {
    auto& one = by_candidate["defect:" + defect.name];
    one.decides = defect.decides;
    one.longest = defect.longest;
  }
  const auto case_of = [&](const std::string& candidate, const Json& settings_of_size, bool at_full_size) {
    auto one = by_candidate[candidate];
    one.candidate = candidate;
    one.specification = settings_of_size.at("specification").get<std::string>();
    one.full_size = at_full_size;
    return one;
  };
  std::vector<CampaignCase> cases;
  for (const auto& candidate : candidates) cases.push_back(case_of(candidate, settings, false));
  if (!full_size) return cases;
  const auto& few = settings.at("full_size");
  const auto every = names.empty() ? few.at("every").get<std::size_t>() : 1;
  for (std::size_t i = 0; i < candidates.size(); i += every)
    cases.push_back(case_of(candidates[i], few, true));
  return cases;
}

Json run_campaign(const CampaignOptions& options,
                  const std::function<void(std::size_t done, std::size_t all)>& progress) {
  const auto& cases = options.cases;
  // Long runs first, so that none is left to run alone at the end.
  std::vector<std::size_t> order(cases.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_partition(order.begin(), order.end(), [&](std::size_t i) { return cases[i].full_size; });
  std::vector<Json> entries(cases.size());
  std::atomic<std::size_t> next{0};
  std::mutex telling;
  std::size_t done = 0;
  std::exception_ptr trouble;
  const auto work = [&] {
    for (auto i = next++; i < order.size(); i = next++) {
      try {
        entries[order[i]] = run_case(options, cases[order[i]]);
      } catch (...) {
        const std::lock_guard lock(telling);
        if (!trouble) trouble = std::current_exception();
        next = order.size();
        return;
      }
      const std::lock_guard lock(telling);
      progress(++done, order.size());
    }
  };
  std::vector<std::jthread> workers;
  for (int i = 0; i < std::max(1, options.jobs); ++i) workers.emplace_back(work);
  workers.clear();
  if (trouble) std::rethrow_exception(trouble);
  return {{"document", "plumbline campaign 1"}, {"runs", entries}};
}

}  // namespace plumbline
