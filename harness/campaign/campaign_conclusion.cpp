// What follows from the runs of a campaign.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "harness/campaign/campaign.hpp"

namespace plumbline {
namespace {

bool is_defect(const Json& run) {
  return run["candidate"].get<std::string>().starts_with("defect:");
}

std::string name_of(const Json& run) {
  const auto candidate = run["candidate"].get<std::string>();
  return run["full_size"].get<bool>()
             ? fmt::format("{} on {}", candidate, run["specification"].get<std::string>())
             : candidate;
}

bool is_less(const Json& one, const Json& other, const char* key) {
  return one[key].get<double>() < other[key].get<double>();
}

// The requirement that shows it most plainly, among those that decide; null margin: what differs is a fact.
Json strongest(const Json& run) {
  Json best;
  for (const auto& one : run["failed"]) {
    if (!one["decides"].get<bool>()) continue;
    if (one["margin"].is_null()) return one;
    if (best.is_null() || is_less(best, one, "margin")) best = one;
  }
  return best;
}

Json reasons_of(const Json& settings, const char* list) {
  Json all = Json::object();
  for (const auto& one : settings.at(list)) all[one.at("name").get<std::string>()] = one.at("reason");
  return all;
}

}  // namespace

Json nearest_to_tolerance(const Json& run, const Json& by_chance) {
  Json worst;
  for (const auto& one : run["passed"])
    if (!one["share"].is_null() && !by_chance.contains(one["id"].get<std::string>()) &&
        (worst.is_null() || is_less(worst, one, "share")))
      worst = one;
  return worst;
}

void conclude_campaign(Json& document, const Json& settings) {
  Json survivors = Json::array(), false_alarms = Json::array(), weak = Json::array(), near = Json::array(),
       unnamed = Json::array(), unusable = Json::array();
  std::map<std::string, std::vector<std::string>> fails;  // requirement -> defects at small size
  std::map<std::string, std::set<std::string>> seen_by;   // defect -> requirements that decide
  std::set<std::string> asked, narrow;
  for (const auto& id : settings.at("narrow_suite").at("requirements")) narrow.insert(id.get<std::string>());
  const auto stated = reasons_of(settings, "near"), by_chance = reasons_of(settings, "by_chance");
  Json weakest, closest;
  int defects = 0, variants = 0, defects_full = 0, variants_full = 0, narrow_sees = 0, diagnosed = 0,
      named = 0;
  for (const auto& run : document["runs"]) {
    const auto name = name_of(run);
    const bool full = run["full_size"].get<bool>();
    for (const auto& one : run["others"])
      if (one["verdict"] == "error")
        unusable.push_back({{"run", name}, {"requirement", one["id"]}, {"reason", one["reason"]}});
    if (!is_defect(run)) {
      ++(full ? variants_full : variants);
      // What an arrangement does not show is not assessed, which no variant is blamed for.
      const auto status = run["status"].get<int>();
      if (run["passed"].empty() || (status != 0 && !(status == 3 && run["failed"].empty()))) {
        Json failed = Json::array();
        for (const auto& one : run["failed"]) failed.push_back(one["id"]);
        false_alarms.push_back({{"run", name}, {"status", run["status"]}, {"failed", failed}});
      }
      if (const auto one = nearest_to_tolerance(run, by_chance); !one.is_null()) {
        Json entry{{"run", name}, {"requirement", one["id"]}, {"share", one["share"]}};
        if (closest.is_null() || is_less(closest, entry, "share")) closest = entry;
        if (entry["share"].get<double>() * settings.at("variant_margin").get<double>() > 1) {
          if (stated.contains(run["candidate"].get<std::string>()))
            entry["reason"] = stated[run["candidate"].get<std::string>()];
          near.push_back(entry);
        }
      }
      continue;
    }
    ++(full ? defects_full : defects);
    const bool decides = run["decides"].get<bool>();
    const bool seen = decides ? run["status"] == 1 : !run["failed"].empty();
    if (!seen) survivors.push_back({{"run", name}, {"status", run["status"]}});
    if (const auto one = strongest(run); !one.is_null() && !one["margin"].is_null()) {
      Json entry{{"run", name}, {"requirement", one["id"]}, {"margin", one["margin"]}};
      if (weakest.is_null() || is_less(entry, weakest, "margin")) weakest = entry;
      if (entry["margin"].get<double>() < settings.at("detection_margin").get<double>()) {
        if (stated.contains(run["candidate"].get<std::string>()))
          entry["reason"] = stated[run["candidate"].get<std::string>()];
        weak.push_back(entry);
      }
    }
    if (full) continue;
    for (const auto* list : {"failed", "passed"})
      for (const auto& one : run[list]) asked.insert(one["id"].get<std::string>());
    bool in_narrow = false;
    for (const auto& one : run["failed"]) {
      const auto id = one["id"].get<std::string>();
      fails[id].push_back(run["candidate"].get<std::string>());
      if (one["decides"].get<bool>()) seen_by[run["candidate"].get<std::string>()].insert(id);
      in_narrow = in_narrow || narrow.contains(id);
    }
    narrow_sees += in_narrow ? 1 : 0;
    if (run.contains("diagnosis")) {
      ++diagnosed;
      const auto defect = run["candidate"].get<std::string>().substr(7);
      bool hit = false;
      for (const auto& one : run["diagnosis"]["named"]) hit = hit || one == Json::array({defect});
      if (hit)
        ++named;
      else
        unnamed.push_back({{"run", name}, {"conclusion", run["diagnosis"]["conclusion"]}});
    }
  }
  const auto allowed = reasons_of(settings, "not_failed_by_defects");
  Json blind = Json::array(), alone = Json::array();
  if (document.value("complete", false))
    for (const auto& id : asked) {
      if (fails.contains(id)) continue;
      Json entry{{"requirement", id}};
      if (allowed.contains(id)) entry["reason"] = allowed[id];
      blind.push_back(entry);
    }
  for (const auto& [defect, ids] : seen_by)
    if (ids.size() == 1) alone.push_back({{"run", defect}, {"requirement", *ids.begin()}});
  const auto unexplained = [](const Json& list) {
    return std::count_if(list.begin(), list.end(), [](const Json& one) { return !one.contains("reason"); });
  };
  const bool holds = survivors.empty() && false_alarms.empty() && unusable.empty() &&
                     unexplained(weak) == 0 && unexplained(near) == 0 && unexplained(blind) == 0;
  document["conclusion"] = {{"status", holds ? 0 : 1},
                            {"defects", defects},
                            {"variants", variants},
                            {"defects_at_full_size", defects_full},
                            {"variants_at_full_size", variants_full},
                            {"survivors", survivors},
                            {"false_alarms", false_alarms},
                            {"unusable", unusable},
                            {"weakest_detection", weakest},
                            {"below_margin", weak},
                            {"nearest_variant", closest},
                            {"above_margin", near},
                            {"narrow_suite",
                             {{"title", settings.at("narrow_suite").at("title")},
                              {"requirements", settings.at("narrow_suite").at("requirements")},
                              {"sees", narrow_sees}}},
                            {"diagnosed", diagnosed},
                            {"named", named},
                            {"not_named", unnamed},
                            {"not_failed_by_any", blind},
                            {"seen_by_one_alone", alone},
                            {"by_chance", by_chance},
                            {"detection_margin", settings.at("detection_margin")},
                            {"variant_margin", settings.at("variant_margin")}};
}

}  // namespace plumbline
