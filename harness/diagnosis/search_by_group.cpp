// What explains one group of observations, given what explains those that it builds on: in a model with
// several faults each group asks only for what is new in it.
#include <algorithm>
#include <functional>
#include <tuple>

#include "harness/diagnosis/diagnostician.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostAccounts = 3;  // of what was explained so far, so many are followed
constexpr std::size_t kMostStarts = 4;    // with so many confined in another way
constexpr std::size_t kMostConfined = 4;  // of these, so many are confined
constexpr int kMostAdded = 3;             // to what explains the groups before
constexpr std::size_t kMostInPairs = 40;  // of those that change something, suspects first
constexpr double kNearer = 2;             // times, by each defect
constexpr double kMuchNearer = 10;        // beside one that rounds loudly, near which much is
constexpr double kAboutAsQuick = 1.5;     // times the quickest

std::vector<ModelPart> parts_of_group(Group group) {
  const ModelPart evaluation{{}, false, {}, {}}, training{{}, true, {}, {}}, cached{{}, {}, true, {}},
      whole{{}, {}, false, {}}, padded{{}, {}, {}, true}, unpadded{{}, {}, {}, false};
  switch (group) {
    case Group::passes:
      return {evaluation, whole, unpadded};
    case Group::training:
      return {training, unpadded};
    case Group::padding:
      return {evaluation, padded, whole};
    case Group::padding_in_training:
      return {training, padded};
    case Group::cache:
      return {cached, evaluation};
    case Group::padding_in_cache:
      return {cached, padded, evaluation};
    default:
      return {};
  }
}

// What a group is not.
std::vector<ModelPart> other_parts(Group group) {
  const ModelPart evaluation{{}, false, {}, {}}, whole{{}, {}, false, {}}, unpadded{{}, {}, {}, false};
  switch (group) {
    case Group::training:
      return {evaluation};
    case Group::padding:
      return {unpadded};
    case Group::padding_in_training:
      return {unpadded, evaluation};
    case Group::cache:
      return {whole};
    case Group::padding_in_cache:
      return {unpadded, whole};
    default:
      return {};
  }
}

// Of the catalogue, whose defects are likely to show first in this group.
std::vector<int> chapters_of(Group group) {
  switch (group) {
    case Group::settings:
      return {1, 2};
    case Group::operations:
      return {3, 5};
    case Group::passes:
      return {3, 5, 6, 7};
    case Group::training:
    case Group::padding:
    case Group::padding_in_training:
    case Group::padding_in_cache:
      return {7};
    case Group::cache:
      return {4, 5};
    case Group::gradients:
    case Group::steps:
      return {8, 9};
    case Group::weights:
      return {7, 8};
    case Group::text:
      return {10};
  }
  return {};
}

const ModelPart kModes[] = {{{}, true, {}, {}},  {{}, false, {}, {}}, {{}, {}, true, {}},
                            {{}, {}, false, {}}, {{}, {}, {}, true},  {{}, {}, {}, false}};

// Whether passes of this group are in another mode than the part is.
bool is_outside(Group group, const ModelPart& part) {
  const PassKind* pass = nullptr;
  static const std::map<Group, PassKind> kinds = {
      {Group::passes, {false, false, false}}, {Group::training, {true, false, false}},
      {Group::padding, {false, false, true}}, {Group::padding_in_training, {true, false, true}},
      {Group::cache, {false, true, false}},   {Group::padding_in_cache, {false, true, true}}};
  if (const auto found = kinds.find(group); found != kinds.end()) pass = &found->second;
  return pass != nullptr && (part.training.value_or(pass->training) != pass->training ||
                             part.cached.value_or(pass->cached) != pass->cached ||
                             part.padded.value_or(pass->padded) != pass->padded);
}

void add_unlike(std::vector<Names>& all, const std::vector<Names>& more) {
  for (const auto& names : more)
    if (std::find(all.begin(), all.end(), names) == all.end()) all.push_back(names);
}

std::int64_t confined(const Names& names) {
  return std::count_if(names.begin(), names.end(),
                       [](const auto& name) { return parse_departure(name).place != ModelPart{}; });
}

// The names without their places.
Names everywhere(Names names) {
  for (auto& name : names) {
    auto departure = parse_departure(name);
    departure.place = {};
    name = format_departure(departure);
  }
  return names;
}

std::int64_t elements_of(const Seen& one) {
  std::int64_t elements = 0;
  for (const auto& [key, value] : one.answer) elements += value.numel();
  return elements;
}

}  // namespace

void Diagnostician::search_by_group(Forms most) {
  if (!inquiry_.steady()) return;
  std::vector<Names> accounts{{}};
  accounts.insert(accounts.end(), inside_.begin(), inside_.end());
  // Twice: what a later group says may be missing in one before.
  for (int round = 0; round < 2 && !explains_everything(accounts.front()); ++round)
    for (int i = 0; i <= static_cast<int>(kLastGroup) && !late() && !explains_everything(accounts.front());
         ++i) {
      const auto group = static_cast<Group>(i);
      const auto explains = [&](const Names& names) { return first_unexplained_of(names, group) == nullptr; };
      std::vector<Names> next;
      // Once one explains the group, those that do not are not followed.
      for (const auto& account : accounts)
        if (std::none_of(next.begin(), next.end(), explains) || explains(account))
          add_unlike(next, accounts_of_group(account, group, most));
      if (std::any_of(next.begin(), next.end(), explains)) std::erase_if(next, std::not_fn(explains));
      accounts = best_accounts(std::move(next));
    }
  // Of the same defects in more of the model or less, if both explain as much, those that are confined least.
  Names kept;
  for (const auto& names : accounts) {
    const auto plain = everywhere(names);
    if (names.empty() || plain == kept) continue;
    kept = plain;
    keep_if_it_explains(where_they_act(without_idle(names)));
  }
}

// Without the defects that explain nothing beside the others.
Names Diagnostician::without_idle(Names names) {
  for (std::size_t i = 0; i < names.size() && names.size() > 1;) {
    auto fewer = names;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    const bool idle = std::all_of(inquiry_.seen().begin(), inquiry_.seen().end(), [&](const Seen& one) {
      return inquiry_.residual_of(names, one) > 1 || inquiry_.residual_of(fewer, one) <= 1;
    });
    if (idle)
      names = fewer;
    else
      ++i;
  }
  return names;
}

bool Diagnostician::explains_everything(const Names& names) {
  return std::all_of(inquiry_.seen().begin(), inquiry_.seen().end(),
                     [&](const Seen& one) { return inquiry_.residual_of(names, one) <= 1; });
}

// Confines a defect to the mode where it acts, if another hides it elsewhere.
Names Diagnostician::where_they_act(Names names) {
  if (names.size() == 1) return names;
  for (std::size_t i = 0; i < names.size(); ++i) {
    auto departure = parse_departure(names[i]);
    if (departure.place != ModelPart{}) continue;
    for (const auto& part : kModes) {
      departure.place = part;
      auto confined = names;
      confined[i] = format_departure(departure);
      const bool same = std::all_of(inquiry_.seen().begin(), inquiry_.seen().end(), [&](const Seen& one) {
        return inquiry_.residual_of(names, one) > 1 || inquiry_.residual_of(confined, one) <= 1;
      });
      const auto acts_elsewhere = [&](const Seen& one) {
        return is_outside(one.observation.group, part) && inquiry_.moves(names[i], one);
      };
      if (!same || std::none_of(inquiry_.seen().begin(), inquiry_.seen().end(), acts_elsewhere)) continue;
      names = confined;
      break;
    }
  }
  return names;
}

// `base` with what explains this group beside it, or the most of it; `base` alone where nothing does.
std::vector<Names> Diagnostician::accounts_of_group(const Names& base, Group group, Forms most_forms) {
  if (first_unexplained_of(base, group) == nullptr) return {base};
  const auto starts = confined_away(base, group);
  if (first_unexplained_of(starts.front(), group) == nullptr) return {starts.front()};
  auto most = std::vector<Names>{base};
  const auto grow = [&](const Names& start, Forms forms) {
    std::vector<Names> growing{start}, explained;
    for (int added = 0; added <= kMostAdded && !growing.empty() && explained.empty(); ++added) {
      std::vector<Names> next;
      for (const auto& names : growing) {
        const auto* wrong = first_unexplained_of(names, group);
        if (wrong == nullptr)
          explained.push_back(names);
        else if (added < kMostAdded)
          add_unlike(next, additions(names, *wrong, forms));
      }
      if (!next.empty() && most.front() == base) most = next;
      growing = std::move(next);
    }
    return explained;
  };
  for (std::size_t i = 0; i < std::min(starts.size(), kMostStarts) && !late(); ++i)
    if (auto explained = grow(starts[i], Forms::usual); !explained.empty()) return explained;
  for (const auto forms : {Forms::all, Forms::pairs})
    if (!late() && forms <= most_forms)
      if (auto explained = grow(base, forms); !explained.empty()) return explained;
  return most;
}

// `base` as it is, and with some of its defects confined to what this group is not: what explains the passes
// in evaluation may act there alone.
std::vector<Names> Diagnostician::confined_away(const Names& base, Group group) {
  std::vector<Names> all{base};
  for (const auto& part : other_parts(group))
    for (std::size_t chosen = (std::size_t{1} << std::min(base.size(), kMostConfined)) - 1; chosen > 0;
         --chosen) {
      Names confined;
      for (std::size_t i = 0; i < base.size(); ++i) {
        auto departure = parse_departure(base[i]);
        if (i < kMostConfined && (chosen >> i & 1) != 0) {
          if (departure.place != ModelPart{}) break;
          departure.place = part;
        }
        confined = with_defect(confined, format_departure(departure));
      }
      if (confined.size() == base.size() && !spoilt_by(confined, base, group)) add_unlike(all, {confined});
    }
  // What explains the group by that alone comes first.
  std::stable_partition(all.begin(), all.end(),
                        [&](const Names& names) { return first_unexplained_of(names, group) == nullptr; });
  return all;
}

// Of those that are about as quick as the quickest, the one that says most.
const Seen* Diagnostician::first_unexplained_of(const Names& names, Group group) {
  const Seen* found = nullptr;
  double quickest = 0;
  for (const auto& one : inquiry_.seen()) {
    if (one.observation.group != group || (!one.differs && names.empty()) ||
        inquiry_.residual_of(names, one) <= 1)
      continue;
    if (found == nullptr) quickest = one.seconds;
    if (found == nullptr ||
        (one.seconds <= kAboutAsQuick * quickest && elements_of(one) > elements_of(*found)))
      found = &one;
  }
  return found;
}

// What explains this observation beside `base`, and breaks none that is right and quick to ask: one defect,
// as it is catalogued or in other forms, or two of them. In the group's own passes a defect that is confined
// to them does what it does everywhere, so that places are tried only of what explains the observation.
std::vector<Names> Diagnostician::additions(const Names& base, const Seen& wrong, Forms forms) {
  std::vector<Names> found;
  bool sure = false;  // by one that does not explain it by rounding loudly
  const double off = inquiry_.residual_of(base, wrong), apart = inquiry_.distance_of(base, wrong),
               nearer = inquiry_.is_loud(base) ? kMuchNearer : kNearer;
  const auto consider_with = [&](const std::vector<ParsedDeparture>& more) {
    const auto with = [&](const ModelPart* place) {
      auto names = base;
      for (auto one : more) {
        if (place != nullptr) one.place = *place;
        names = with_defect(names, format_departure(one));
      }
      return names;
    };
    const auto names = with(nullptr);
    const double left = inquiry_.residual_of(names, wrong);
    if (left > 1) return left != off;
    const auto keep = [&](const Names& kept) {
      // What only brings more rounding is allowed more, and comes no nearer.
      if (inquiry_.distance_of(kept, wrong) > apart / nearer) return;
      add_unlike(found, {kept});
      sure = sure || !inquiry_.is_loud(kept);
    };
    if (!spoilt_by(names, base)) {
      keep(names);
      return true;
    }
    for (const auto& place : parts_of_group(wrong.observation.group))
      if (const auto there = with(&place); inquiry_.residual_of(there, wrong) <= 1 && !spoilt_by(there, base))
        keep(there);
    return true;
  };
  std::vector<std::string> changing;
  int tier = 0;
  for (const auto& [its_tier, name] : by_likelihood(wrong.observation.group)) {
    if (late() || (sure && its_tier != tier)) break;
    tier = its_tier;
    if (std::find(base.begin(), base.end(), name) != base.end()) continue;
    if (forms == Forms::usual && (wrong.observation.group == Group::text) != (defect_of(name).chapter == 10))
      continue;
    if (consider_with({{name, {}, {}}})) changing.push_back(name);
    if (forms == Forms::usual) continue;
    for (const double number : likely_numbers(name)) consider_with({{name, number, {}}});
    if (!changing.empty() && changing.back() == name)
      for (const auto layer : layers_for(name)) consider_with({{name, {}, {layer, {}, {}, {}}}});
  }
  if (forms != Forms::pairs) return best_accounts(std::move(found));
  if (changing.size() > kMostInPairs) changing.resize(kMostInPairs);
  for (std::size_t j = 1; j < changing.size(); ++j)
    for (std::size_t i = 0; i < j && !late() && found.empty(); ++i)
      consider_with({{changing[i], {}, {}}, {changing[j], {}, {}}});
  return best_accounts(std::move(found));
}

// In tiers: those that a failed requirement points to and that are of this group's chapters, or of a stage
// that is wrong; the others that one points to; the rest.
std::vector<std::pair<int, std::string>> Diagnostician::by_likelihood(Group group) const {
  const auto chapters = chapters_of(group);
  std::vector<std::pair<int, std::string>> all;
  for (const auto& name : in_order_) {
    const auto& defect = defect_of(name);
    const bool likely = group == Group::passes && !wrong_.empty()
                            ? wrong_.contains(defect.stage.kind)
                            : std::find(chapters.begin(), chapters.end(), defect.chapter) != chapters.end();
    all.emplace_back(!suspected_.contains(name) ? 2 : likely ? 0 : 1, name);
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return all;
}

// Whether a quick observation that `base` explains, or that is right, is not explained by these. `but`: a
// group that does not count.
bool Diagnostician::spoilt_by(const Names& names, const Names& base, std::optional<Group> but) {
  return std::any_of(inquiry_.seen().begin(), inquiry_.seen().end(), [&](const Seen& one) {
    return one.seconds <= kQuick && one.observation.group != but && inquiry_.residual_of(base, one) <= 1 &&
           inquiry_.residual_of(names, one) > 1;
  });
}

std::vector<Names> Diagnostician::best_accounts(std::vector<Names> accounts) {
  using Rank = std::tuple<std::int64_t, std::int64_t, std::size_t, bool, std::int64_t, double>;
  std::vector<std::pair<Rank, Names>> ranked;
  for (auto& names : accounts) {
    std::int64_t explained = 0, broken = 0;
    double residual = 0;
    for (const auto& one : inquiry_.seen()) {
      if (one.seconds > kQuick) continue;
      const double off = inquiry_.residual_of(names, one);
      if (off > 1 && !one.differs) ++broken;
      if (off > 1 || !one.differs) continue;
      ++explained;
      residual = std::max(residual, off);
    }
    const Rank rank{broken, -explained, names.size(), inquiry_.is_loud(names), confined(names), residual};
    ranked.emplace_back(rank, std::move(names));
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  if (ranked.size() > kMostAccounts) ranked.resize(kMostAccounts);
  std::vector<Names> best;
  for (auto& [rank, names] : ranked) best.push_back(std::move(names));
  return best;
}

}  // namespace plumbline
