#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "harness/diagnosis/diagnostician.hpp"
#include "harness/diagnosis/fitting.hpp"

namespace plumbline {
namespace {

constexpr int kAccounts = 3;  // of what one stage shows, so many are followed

}  // namespace

void Diagnostician::search_within_stages(int at_once) {
  if (!pass_ || !inquiry_.runs() || !inquiry_.steady() || late()) return;
  try {
    if (!stages_) stages_.emplace(subject_, *pass_, inquiry_.exact(), inquiry_.near());
  } catch (const std::exception&) {
    return;  // it does not show them again
  }
  explain_stages({}, at_once);
}

bool Diagnostician::explains_all_stages() const {
  return std::any_of(explanations_.begin(), explanations_.end(),
                     [&](const Explanation& one) { return one.broken == 0 && inside_.contains(one.names); });
}

void Diagnostician::explain_stages(const Names& base, int at_once) {
  const auto wrong = stages_->first_wrong(base);
  if (wrong.empty() && !base.empty()) {
    inside_.insert(base);
    keep_if_it_explains(base);
  }
  if (wrong.empty() || base.size() == kMostTogether) return;
  int found = 0;
  for (const auto& names : explanations_of_stage(base, wrong, at_once)) {
    explain_stages(names, at_once);
    if (late() || any_complete() || ++found == kAccounts) return;
  }
}

bool Diagnostician::explains_stage(const Names& names, const Names& base, const std::string& kind) {
  const auto before = stages_->residuals(base);
  const auto& after = stages_->residuals(names);
  return after.at(kind) <= 1 && std::all_of(after.begin(), after.end(), [&](const auto& one) {
           return one.second <= 1 || before.at(one.first) > 1;
         });
}

// With the usual number, or with one far from it: a wide window hides nothing of a short text.
bool Diagnostician::changes_stage(const std::string& name, const std::string& kind) {
  auto numbers = likely_numbers(name);
  std::sort(numbers.begin(), numbers.end());
  return stages_->changes(name, kind) ||
         (!numbers.empty() && (stages_->changes(format_departure({name, numbers.front(), {}}), kind) ||
                               stages_->changes(format_departure({name, numbers.back(), {}}), kind)));
}

Names Diagnostician::concerned_with_stage(const Names& base, const std::string& kind) {
  // Those first that are known to show there.
  Names concerned, in_order = in_order_;
  std::stable_partition(in_order.begin(), in_order.end(),
                        [&](const std::string& name) { return defect_of(name).stage.kind == kind; });
  for (const auto& name : in_order)
    if (!late() &&
        std::none_of(base.begin(), base.end(),
                     [&](const std::string& one) { return parse_departure(one).name == name; }) &&
        changes_stage(name, kind))
      concerned.push_back(name);
  return concerned;
}

Names Diagnostician::forms_at_stage(const std::string& name, const std::string& kind) const {
  const auto found = wrong_.find(kind);
  const auto layers = found == wrong_.end() ? std::set<std::int64_t>{} : found->second;
  std::vector<ParsedDeparture> forms{{name, {}, {}}};
  for (const double number : likely_numbers(name)) forms.push_back({name, number, {}});
  if (layers.size() == 1)
    for (auto form : std::vector<ParsedDeparture>(forms)) {
      form.place.layer = *layers.begin();
      forms.push_back(form);
    }
  Names written;
  for (const auto& form : forms) written.push_back(format_departure(form));
  return written;
}

void Diagnostician::fitted_to_stage(const Names& beside, const std::string& name, const std::string& kind,
                                    const std::function<bool(const Names&)>& explains) {
  const auto* number = departure_parameter(name);
  if (number == nullptr || !number->continuous || late()) return;
  const auto written = [&](double value) { return with_defect(beside, format_departure({name, value, {}})); };
  const double best =
      fitting_best([&](double value) { return stages_->distance(written(value), kind); }, range_of(name),
                   number->periodic ? kFine : kCoarse, [&] { return late(); });
  for (const double round : rounder_than(best))
    if (explains(written(round))) return;
}

std::vector<Names> Diagnostician::explanations_of_stage(const Names& base, const std::string& kind,
                                                        int at_once) {
  std::vector<Names> found;
  const auto try_these = [&](const Names& names) {
    const bool explains = explains_stage(names, base, kind);
    if (explains && std::find(found.begin(), found.end(), names) == found.end()) found.push_back(names);
    return explains;
  };
  const auto concerned = concerned_with_stage(base, kind);
  Names forms;
  for (const auto& name : concerned)
    for (const auto& form : forms_at_stage(name, kind)) {
      if (late()) return found;
      forms.push_back(form);
      try_these(with_defect(base, form));
    }
  if (!found.empty()) return found;
  for (const auto& name : concerned) fitted_to_stage(base, name, kind, try_these);
  if (!found.empty() || at_once == 1 || base.size() + 2 > kMostTogether) return found;
  const auto alike = [](const std::string& a, const std::string& b) {
    return parse_departure(a).name == parse_departure(b).name;
  };
  for (std::size_t i = 0; i < forms.size() && !late(); ++i)
    for (std::size_t j = i + 1; j < forms.size(); ++j)
      if (!alike(forms[i], forms[j])) try_these(with_defect(with_defect(base, forms[i]), forms[j]));
  if (!found.empty()) return found;
  for (const auto& name : concerned)
    for (const auto& form : forms)
      if (!alike(name, form) && found.empty())
        fitted_to_stage(with_defect(base, form), name, kind, try_these);
  return found;
}

}  // namespace plumbline
