// What follows from the runs of a campaign.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "harness/campaign/campaign.hpp"

namespace plumbline {
namespace {

bool is_of_defect(const Json& run) {
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

// What is concluded is measured by this: fixtures/campaign.json.
struct Criteria {
  explicit Criteria(const Json& given)
      : settings(given),
        stated(reasons_of(given, "near")),
        by_chance(reasons_of(given, "by_chance")),
        not_failed_by_defects(reasons_of(given, "not_failed_by_defects")) {
    for (const auto& id : given.at("narrow_suite").at("requirements")) narrow.insert(id.get<std::string>());
  }

  const Json& settings;
  Json stated, by_chance, not_failed_by_defects;  // reasons, by candidate or requirement
  std::set<std::string> narrow;                   // requirements of a narrower suite
};

// {"run", "requirement", KEY} of a requirement that is nearer than it should be, with the reason if one is
// stated.
Json with_reason(Json entry, const Json& run, const Criteria& criteria) {
  const auto candidate = run["candidate"].get<std::string>();
  if (criteria.stated.contains(candidate)) entry["reason"] = criteria.stated[candidate];
  return entry;
}

Json unusable_requirements(const Json& runs) {
  Json unusable = Json::array();
  for (const auto& run : runs)
    for (const auto& one : run["others"])
      if (one["verdict"] == "error")
        unusable.push_back({{"run", name_of(run)}, {"requirement", one["id"]}, {"reason", one["reason"]}});
  return unusable;
}

// The conclusion on correct variants.
struct Variants {
  int small = 0, full_size = 0;
  Json false_alarms = Json::array();
  Json nearest;                       // to a tolerance
  Json above_margin = Json::array();  // those that are nearer than they should be
};

// What an arrangement does not show is not assessed, which no variant is blamed for.
bool is_false_alarm(const Json& run) {
  const auto status = run["status"].get<int>();
  return run["passed"].empty() || (status != 0 && !(status == 3 && run["failed"].empty()));
}

void add_variant(const Json& run, const Criteria& criteria, Variants& variants) {
  const auto name = name_of(run);
  ++(run["full_size"].get<bool>() ? variants.full_size : variants.small);
  if (is_false_alarm(run)) {
    Json failed = Json::array();
    for (const auto& one : run["failed"]) failed.push_back(one["id"]);
    variants.false_alarms.push_back({{"run", name}, {"status", run["status"]}, {"failed", failed}});
  }
  const auto nearest = nearest_to_tolerance(run, criteria.by_chance);
  if (nearest.is_null()) return;
  const Json entry{{"run", name}, {"requirement", nearest["id"]}, {"share", nearest["share"]}};
  if (variants.nearest.is_null() || is_less(variants.nearest, entry, "share")) variants.nearest = entry;
  if (entry["share"].get<double>() * criteria.settings.at("variant_margin").get<double>() > 1)
    variants.above_margin.push_back(with_reason(entry, run, criteria));
}

// What defects did.
struct Defects {
  int small = 0, full_size = 0;
  Json survivors = Json::array();
  Json weakest;                       // of their detections
  Json below_margin = Json::array();  // those that are weaker than they should be
  // Of those at small size:
  int seen_by_narrow_suite = 0, diagnosed = 0, named = 0;
  Json not_named = Json::array();
  std::set<std::string> judged, failed;                  // requirements
  std::map<std::string, std::set<std::string>> seen_by;  // defect -> requirements that decide
};

void add_detection(const Json& run, const Criteria& criteria, Defects& defects) {
  const auto one = strongest(run);
  if (one.is_null() || one["margin"].is_null()) return;
  const Json entry{{"run", name_of(run)}, {"requirement", one["id"]}, {"margin", one["margin"]}};
  if (defects.weakest.is_null() || is_less(entry, defects.weakest, "margin")) defects.weakest = entry;
  if (entry["margin"].get<double>() < criteria.settings.at("detection_margin").get<double>())
    defects.below_margin.push_back(with_reason(entry, run, criteria));
}

void add_requirements(const Json& run, const Criteria& criteria, Defects& defects) {
  const auto candidate = run["candidate"].get<std::string>();
  for (const auto* list : {"failed", "passed"})
    for (const auto& one : run[list]) defects.judged.insert(one["id"].get<std::string>());
  bool narrow_suite_sees = false;
  for (const auto& one : run["failed"]) {
    const auto id = one["id"].get<std::string>();
    defects.failed.insert(id);
    if (one["decides"].get<bool>()) defects.seen_by[candidate].insert(id);
    narrow_suite_sees = narrow_suite_sees || criteria.narrow.contains(id);
  }
  defects.seen_by_narrow_suite += narrow_suite_sees ? 1 : 0;
}

void add_diagnosis(const Json& run, Defects& defects) {
  if (!run.contains("diagnosis")) return;
  ++defects.diagnosed;
  const auto& named = run["diagnosis"]["named"];
  const auto defect = Json::array({run["candidate"].get<std::string>().substr(7)});
  if (std::find(named.begin(), named.end(), defect) != named.end())
    ++defects.named;
  else
    defects.not_named.push_back({{"run", name_of(run)}, {"conclusion", run["diagnosis"]["conclusion"]}});
}

void add_defect(const Json& run, const Criteria& criteria, Defects& defects) {
  const bool full_size = run["full_size"].get<bool>();
  ++(full_size ? defects.full_size : defects.small);
  const bool seen = run["decides"].get<bool>() ? run["status"] == 1 : !run["failed"].empty();
  if (!seen) defects.survivors.push_back({{"run", name_of(run)}, {"status", run["status"]}});
  add_detection(run, criteria, defects);
  if (full_size) return;
  add_requirements(run, criteria, defects);
  add_diagnosis(run, defects);
}

Json requirements_not_failed(const Defects& defects, const Criteria& criteria) {
  Json not_failed = Json::array();
  for (const auto& id : defects.judged) {
    if (defects.failed.contains(id)) continue;
    Json entry{{"requirement", id}};
    if (criteria.not_failed_by_defects.contains(id)) entry["reason"] = criteria.not_failed_by_defects[id];
    not_failed.push_back(entry);
  }
  return not_failed;
}

Json seen_by_one_alone(const Defects& defects) {
  Json alone = Json::array();
  for (const auto& [defect, ids] : defects.seen_by)
    if (ids.size() == 1) alone.push_back({{"run", defect}, {"requirement", *ids.begin()}});
  return alone;
}

}  // namespace

bool all_have_reasons(const Json& list) {
  return std::all_of(list.begin(), list.end(), [](const Json& one) { return one.contains("reason"); });
}

Json nearest_to_tolerance(const Json& run, const Json& by_chance) {
  Json worst;
  for (const auto& one : run["passed"])
    if (!one["share"].is_null() && !by_chance.contains(one["id"].get<std::string>()) &&
        (worst.is_null() || is_less(worst, one, "share")))
      worst = one;
  return worst;
}

void conclude_campaign(Json& document, const Json& settings) {
  const Criteria criteria(settings);
  Variants variants;
  Defects defects;
  for (const auto& run : document["runs"])
    if (is_of_defect(run))
      add_defect(run, criteria, defects);
    else
      add_variant(run, criteria, variants);
  const auto unusable = unusable_requirements(document["runs"]);
  const auto not_failed =
      document.value("complete", false) ? requirements_not_failed(defects, criteria) : Json::array();
  const bool holds = defects.survivors.empty() && variants.false_alarms.empty() && unusable.empty() &&
                     all_have_reasons(defects.below_margin) && all_have_reasons(variants.above_margin) &&
                     all_have_reasons(not_failed);
  document["conclusion"] = {{"status", holds ? 0 : 1},
                            {"defects", defects.small},
                            {"variants", variants.small},
                            {"defects_at_full_size", defects.full_size},
                            {"variants_at_full_size", variants.full_size},
                            {"survivors", defects.survivors},
                            {"false_alarms", variants.false_alarms},
                            {"unusable", unusable},
                            {"weakest_detection", defects.weakest},
                            {"below_margin", defects.below_margin},
                            {"nearest_variant", variants.nearest},
                            {"above_margin", variants.above_margin},
                            {"narrow_suite",
                             {{"title", settings.at("narrow_suite").at("title")},
                              {"requirements", settings.at("narrow_suite").at("requirements")},
                              {"sees", defects.seen_by_narrow_suite}}},
                            {"diagnosed", defects.diagnosed},
                            {"named", defects.named},
                            {"not_named", defects.not_named},
                            {"not_failed_by_any", not_failed},
                            {"seen_by_one_alone", seen_by_one_alone(defects)},
                            {"by_chance", criteria.by_chance},
                            {"detection_margin", settings.at("detection_margin")},
                            {"variant_margin", settings.at("variant_margin")}};
}

}  // namespace plumbline
