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
namespace {

constexpr std::size_t kBases = 4;  // of how many partial explanations more is tried
constexpr double kFarOff = 20;     // of what is allowed
// What takes so many seconds is worth asking before what would contradict, if that is so many times as quick.
constexpr double kWorthAsking = 0.01, kMuchQuicker = 4;

}  // namespace

Diagnostician::Explanation Diagnostician::weigh(const Names& names) {
  Explanation found;
  found.names = names;
  for (const auto& one : inquiry_.seen()) {
    const double off = inquiry_.residual_of(names, one);
    if (off <= 1) found.residual = std::max(found.residual, off);
    if (one.differs && off <= 1) ++found.explained;
    if (one.differs && off <= 1 && !one.observation.computes) ++found.facts;
    if (!one.differs && off > 1) ++found.broken;
    if (off > 1) found.left.push_back(one.observation.name);
  }
  for (const auto& one : inquiry_.raised())
    if (inquiry_.answers(names, one))
      found.left.push_back(one.name + ", which ends in an error");
    else
      ++found.explained;
  if (found.left.empty())
    for (const auto& one : inquiry_.inside())
      found.inside = found.inside && inquiry_.residual_of(names, one) <= 1;
  return found;
}

Names Diagnostician::with_defect(const Names& base, const std::string& more) const {
  auto names = base;
  names.push_back(more);
  std::stable_sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return order_.at(parse_departure(a).name) < order_.at(parse_departure(b).name);
  });
  return names;
}

bool Diagnostician::all_needed(const Names& names) {
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    return suspected_.contains(parse_departure(name).name) && is_needed(name, names);
  });
}

bool Diagnostician::is_needed(const std::string& name, const Names& names) {
  auto others = names;
  std::erase(others, name);
  return std::any_of(inquiry_.seen().begin(), inquiry_.seen().end(), [&](const Seen& one) {
    return one.differs && inquiry_.residual_of(names, one) <= 1 &&
           inquiry_.residual_of(others, one) > kFarOff;
  });
}

// Near a defect that rounds loudly much is: what explains a part beside it has to be far off without it, and
// has to be no second of that kind.
bool Diagnostician::is_doubtful(const Names& names) {
  const auto is_loud = [&](const std::string& name) { return inquiry_.is_loud({name}); };
  const auto loud = std::count_if(names.begin(), names.end(), is_loud);
  return loud > 0 && names.size() > 1 &&
         (loud > 1 || !std::all_of(names.begin(), names.end(),
                                   [&](const std::string& name) { return is_needed(name, names); }));
}

const Seen* Diagnostician::first_unexplained(const Names& names) {
  for (const auto& one : inquiry_.seen())
    if (one.differs && inquiry_.residual_of(names, one) > 1) return &one;
  return nullptr;
}

bool Diagnostician::contradicted(const Names& names, double seconds) {
  return std::any_of(inquiry_.seen().begin(), inquiry_.seen().end(), [&](const Seen& one) {
    return !one.differs && one.seconds <= seconds && inquiry_.residual_of(names, one) > 1;
  });
}

void Diagnostician::keep_if_it_explains(const Names& names) {
  if (!weighed_.insert(names).second) return;
  // What draws numbers is near to anything.
  if (inquiry_.steady() && inquiry_.unsteady(names)) return;
  auto found = weigh(names);
  if (!complete(found) && is_doubtful(names)) return;
  found.needed = names.size() > 1 && found.broken == 0 && all_needed(names);
  if (found.explained > 0) explanations_.push_back(found);
}

void Diagnostician::search() {
  within(kHalf, [&] { search_by_group(Forms::all); });
  // Of a single defect, whether others say the same.
  if (explanations_.empty() || explanations_.front().names.size() == 1) add_one_to({}, 1);
  within(kThird, [&] { search_within_stages(1); });
  within(kHalf, [&] { search_by_group(Forms::pairs); });
  if (!any_complete()) add_one_to({});
  within(kHalf, [&] { add_to_parts(); });
  if (!explains_all_stages()) within(kThird, [&] { try_other_forms({}); });
  within(kHalf, [&] { add_to_parts(); });
  for (const std::size_t together : {std::size_t{1}, std::size_t{2}})
    for (const auto& part : parts_of(together)) within(kHalf, [&] { try_other_forms(part); });
  add_to_parts();
  if (!explains_all_stages()) within(kHalf, [&] { search_within_stages(2); });
  if (!mostly_explained()) within(kMost, [&] { try_pairs(); });
  add_to_parts();
  join_parts();
  rank();
}

void Diagnostician::join_parts() {
  const auto found = explanations_;
  for (const auto& one : found) {
    Names joined;
    for (const auto& name : one.names) {
      const auto plain = parse_departure(name).name;
      const auto parts = std::count_if(one.names.begin(), one.names.end(), [&](const std::string& other) {
        return parse_departure(other).name == plain;
      });
      const auto& whole = parts > 1 ? plain : name;
      if (std::find(joined.begin(), joined.end(), whole) == joined.end()) joined.push_back(whole);
    }
    if (complete(one) && joined.size() < one.names.size()) keep_if_it_explains(joined);
  }
}

void Diagnostician::within(double share, const std::function<void()>& body) {
  if (any_complete()) return;
  const auto whole = until_;
  const auto left = std::max(until_ - Clock::now(), Clock::duration::zero());
  until_ = Clock::now() + share * left;
  body();
  cut_short_ = cut_short_ || late();
  until_ = whole;
}

void Diagnostician::add_to_parts() {
  for (std::size_t together = 1; together < kMostTogether; ++together)
    for (const auto& part : parts_of(together))
      if (!any_complete()) add_one_to(part);
}

std::vector<Names> Diagnostician::parts_of(std::size_t together) {
  rank();
  std::vector<Names> parts;
  for (const auto& one : explanations_)
    if (one.names.size() == together && parts.size() < kBases) parts.push_back(one.names);
  return parts;
}

bool Diagnostician::mostly_explained() const {
  return std::any_of(explanations_.begin(), explanations_.end(), [&](const Explanation& one) {
    return one.broken == 0 && 2 * one.explained > inquiry_.differing();
  });
}

void Diagnostician::add_one_to(const Names& base, int most_left) {
  int left = 0;
  for (const auto& one : inquiry_.seen()) {
    if (!one.differs || inquiry_.residual_of(base, one) <= 1) continue;
    if (++left > most_left) return;
    const auto before = explanations_.size();
    for (const auto& name : in_order_) {
      const bool suspected = suspected_.contains(name);
      if (!suspected && (late() || left > 1)) break;  // those that are come first
      if (late() && (!base.empty() || left > 1)) break;
      if (std::find(base.begin(), base.end(), name) != base.end()) continue;
      // Of a loop of its own others say the same only by its loop, where its passes are shown.
      const bool of_text = one.observation.group == Group::text;
      if (any_complete() && subject_.can("cache") && of_text != (defect_of(name).chapter == 10)) continue;
      const auto names = with_defect(base, name);
      if (!suspected && one.seconds > kWorthAsking &&
          contradicted(names, std::min(kQuick, one.seconds / kMuchQuicker)))
        continue;
      consider(names, one);
    }
    if (any_complete() || std::any_of(explanations_.begin() + static_cast<std::ptrdiff_t>(before),
                                      explanations_.end(), [](const auto& e) { return e.broken == 0; }))
      return;
  }
}

void Diagnostician::consider_in_time(const Names& names, const Seen& quickest) {
  if (!late()) consider(names, quickest);
}

void Diagnostician::consider(const Names& names, const Seen& quickest) {
  if (inquiry_.residual_of(names, quickest) <= 1) keep_if_it_explains(names);
}

void Diagnostician::try_further() {
  if (!inquiry_.runs() || !inquiry_.steady() || !subject_.can("code") || !any_complete()) return;
  for (const auto& observation : further_observations(subject_)) {
    std::vector<Names> whole;
    for (const auto& one : explanations_)
      if (complete(one)) whole.push_back(one.names);
    if (whole.empty() || (further_ > 0 && (whole.size() < 2 || late()))) break;
    if (further_ > 0 && !inquiry_.tells_apart(observation, whole)) continue;
    const auto* asked = inquiry_.ask(observation);
    if (asked == nullptr) continue;
    ++further_;
    for (auto& explanation : explanations_) {
      const double off = inquiry_.residual_of(explanation.names, *asked);
      if (off <= 1) explanation.residual = std::max(explanation.residual, off);
      if (asked->differs && off <= 1) ++explanation.explained;
      if (!asked->differs && off > 1) ++explanation.broken;
      if (off > 1) explanation.left.push_back(observation.name);
    }
  }
  rank();
}

void Diagnostician::try_pairs() {
  const auto* quickest = first_unexplained({});
  if (quickest == nullptr) return;
  const auto of_those = [&](const Names& tried) {
    Names moving;  // what changes nothing there can be no part of why it is as it is
    for (const auto& name : tried) {
      if (late()) return moving;
      if (inquiry_.moves(name, *quickest)) moving.push_back(name);
    }
    return moving;
  };
  // Two whose stages are wrong, one of them the first, by any number and in any layer; then any two.
  const auto shown = of_those(forms_of_what_is_wrong());
  for (const auto& one : shown)
    for (const auto& other : shown)
      if (defect_of(parse_departure(one).name).stage.kind == first_wrong_ &&
          parse_departure(one).name != parse_departure(other).name) {
        consider_in_time(with_defect({one}, other), *quickest);
        if (any_complete()) return;
      }
  // Those first of which a failed requirement points to both.
  const auto moving = of_those(in_order_);
  for (std::size_t j = 1; j < moving.size(); ++j)
    for (std::size_t i = 0; i < j && !any_complete(); ++i)
      consider_in_time(with_defect({moving[i]}, moving[j]), *quickest);
}

Names Diagnostician::forms_of_what_is_wrong() const {
  Names forms, in_one_layer;
  for (const auto& name : in_order_) {
    if (!wrong_.contains(defect_of(name).stage.kind)) continue;
    forms.push_back(name);
    for (const double number : likely_numbers(name)) forms.push_back(format_departure({name, number, {}}));
    for (const auto layer : layers_for(name))
      in_one_layer.push_back(format_departure({name, {}, {layer, {}, {}}}));
  }
  forms.insert(forms.end(), in_one_layer.begin(), in_one_layer.end());
  return forms;
}

void Diagnostician::rank() {
  std::stable_sort(explanations_.begin(), explanations_.end(),
                   [&](const Explanation& a, const Explanation& b) {
                     if (complete(a) != complete(b)) return complete(a);
                     if (complete(a) && a.inside != b.inside) return a.inside;
                     // One more defect has to explain more than one more observation, or a fact, or what is
                     // far off.
                     const auto worth = [](const Explanation& one) {
                       return one.explained + one.facts - one.broken -
                              (one.needed ? 1 : static_cast<std::int64_t>(one.names.size()));
                     };
                     if (worth(a) != worth(b)) return worth(a) > worth(b);
                     return a.names.size() < b.names.size();
                   });
}

}  // namespace plumbline
