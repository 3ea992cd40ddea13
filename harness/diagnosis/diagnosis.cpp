#include "harness/diagnosis/diagnosis.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "harness/diagnosis/fitting.hpp"
#include "harness/diagnosis/hypothesis.hpp"
#include "harness/diagnosis/inquiry.hpp"
#include "harness/model/departures/catalogue.hpp"
#include "harness/model/departures/departures.hpp"
#include "harness/model/figures.hpp"
#include "harness/system/error.hpp"
#include "harness/system/processor_time.hpp"

namespace plumbline {
namespace {

// What a search gets to try does not depend on what else the machine does.
using Clock = ProcessorTime;

constexpr std::size_t kMostTogether = 3;
constexpr std::size_t kBases = 4;  // of how many partial explanations more is tried
constexpr int kAccounts = 3;       // of what one stage shows, so many are followed
constexpr std::size_t kMostShown = 5;
constexpr int kOpen = 6;  // against how many observations that are left a defect is held
constexpr double kThird = 1.0 / 3, kHalf = 0.5, kMost = 0.8;  // shares of the time that is left
constexpr double kAround = 1.02;               // a number read once is looked for again so near
constexpr double kFarOff = 20;                 // of what is allowed
constexpr int kAsked = 3;                      // of how many observations a number is read that turns
constexpr double kFine = 0.03, kCoarse = 0.3;  // steps of logarithms

class Diagnostician {
 public:
  Diagnostician(Subject& candidate, double seconds, const std::optional<reports::Localisation>& localisation,
                const std::vector<std::string>& without)
      : subject_(candidate),
        inquiry_(candidate),
        half_(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds / 2))),
        until_(Clock::now() + 2 * half_) {
    catalogue_ = read_catalogue(subject_.fixtures());
    left_out_.insert(without.begin(), without.end());
    for (const auto& name : left_out_) read_departure(name);
    for (const auto& name : departure_names())
      if (!left_out_.contains(name) && depart(subject_.specification(), name).idle.empty())
        names_.push_back(name);
    for (const auto& name : departure_names()) order_.emplace(name, order_.size());
    suspect();
    look_in(localisation);
  }

  reports::Diagnosis diagnose() {
    reports::Diagnosis found;
    inquiry_.ask_everything(failed_own_loop_);
    // However slowly the candidate answered, half of the time is left to search in.
    until_ = std::max(until_, Clock::now() + half_);
    found.observations =
        static_cast<std::int64_t>(inquiry_.seen().size() + inquiry_.raised().size()) + inquiry_.uncompared();
    found.differing = inquiry_.differing() + inquiry_.uncompared();
    const bool has_code = subject_.can("code");
    const bool answers_rightly = std::none_of(inquiry_.seen().begin(), inquiry_.seen().end(),
                                              [](const Seen& one) { return one.differs; });
    if (answers_rightly && has_code) {
      found.conclusion =
          inquiry_.raised().empty()
              ? "not assessed: what failed shows in nothing that known defects could be tried on"
              : fmt::format(
                    "not explained by any known defect: {} of {} observations end in an error, first {}; the "
                    "others are right",
                    inquiry_.raised().size(), found.observations, inquiry_.raised().front().name);
      return found;
    }
    if (!answers_rightly) {
      search();
      try_further();
      found.observations += further_;
      found.differing = inquiry_.differing() + inquiry_.uncompared();
      conclude(found);
      if (!inquiry_.runs() && has_code && any_complete()) go_on_with_its_shapes(found);
    } else {
      found.conclusion = "names, shapes and settings are the specification's";
    }
    if (has_code) return found;
    for (const auto& name : names_)
      if (inquiry_.shows_nothing_of(name)) found.undecided.push_back(name);
    found.conclusion += fmt::format(
        "; {} of {} known defects live in code alone, and no checkpoint can decide them: judge the code that "
        "it "
        "is trained and run with, too",
        found.undecided.size(), names_.size());
    return found;
  }

 private:
  struct Explanation {
    Names names;
    std::int64_t explained = 0, broken = 0;  // observations that differ, and that do not
    std::int64_t facts = 0;                  // of those explained: what no rounding and no chance makes so
    double residual = 0;                     // the worst of what it explains
    std::vector<std::string> left;           // the names of what it does not account for
    bool inside = true;                      // it makes of the stages, too, what was shown
    bool needed = false;                     // every part of it: see all_needed()
  };

  bool late() const { return Clock::now() > until_; }

  Explanation weigh(const Names& names) {
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

  Names with(const Names& base, const std::string& more) const {
    auto names = base;
    names.push_back(more);
    std::stable_sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
      return order_.at(read_departure(a).name) < order_.at(read_departure(b).name);
    });
    return names;
  }

  // Whether a requirement that failed points to each of these, and something is far off without it.
  bool all_needed(const Names& names) {
    return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
      if (!suspected_.contains(read_departure(name).name)) return false;
      auto others = names;
      std::erase(others, name);
      return std::any_of(inquiry_.seen().begin(), inquiry_.seen().end(), [&](const Seen& one) {
        return one.differs && inquiry_.residual_of(names, one) <= 1 &&
               inquiry_.residual_of(others, one) > kFarOff;
      });
    });
  }

  // The quickest of those that differ and that `names` leave unexplained.
  const Seen* open(const Names& names) {
    for (const auto& one : inquiry_.seen())
      if (one.differs && inquiry_.residual_of(names, one) > 1) return &one;
    return nullptr;
  }

  // Those come first, and whatever it takes, of which the catalogue says that a requirement that failed sees
  // them.
  void suspect() {
    std::set<std::string> failed;
    for (const auto& requirement : subject_.recorder().requirements())
      if (requirement.verdict == reports::Verdict::fail) failed.insert(requirement.id);
    const std::set<std::string> about_logits{"TXT-1", "TXT-2"};
    // One that could not be told apart from what its passes do wrong may be wrong all the same.
    for (const auto& requirement : subject_.recorder().requirements())
      failed_own_loop_ =
          failed_own_loop_ || (requirement.id.starts_with("TXT-") && !about_logits.contains(requirement.id) &&
                               (requirement.verdict == reports::Verdict::fail ||
                                (requirement.verdict == reports::Verdict::not_assessed &&
                                 !requirement.reason.starts_with("outside"))));
    for (const auto& defect : catalogue_)
      if (std::any_of(defect.seen_by.begin(), defect.seen_by.end(),
                      [&](const std::string& id) { return failed.contains(id); }))
        suspected_.insert(defect.name);
    in_order_ = names_;
    std::stable_partition(in_order_.begin(), in_order_.end(),
                          [&](const std::string& name) { return suspected_.contains(name); });
  }

  void look_in(const std::optional<reports::Localisation>& localisation) {
    if (!localisation) return;
    // Of a pass with a cache, stages are put together of many.
    for (const auto& pass : stage_runs(subject_))
      if (pass.name == localisation->mode && pass.needs != "cache") pass_ = pass;
    for (const auto& one : localisation->stages) {
      if (!one.local || one.local->within) continue;
      const auto [layer, stage] = apart(one.stage);
      if (wrong_.empty()) first_wrong_ = stage;
      wrong_[stage].insert(layer);
    }
    // Between an embedding that is right and its first norm nothing is shown.
    if (first_wrong_ == "attention_norm" && wrong_[first_wrong_] == std::set<std::int64_t>{0}) {
      first_wrong_ = "embedding";
      wrong_[first_wrong_].insert(-1);
    }
  }

  // By what is quick to ask: it would change what does not differ.
  bool contradicted(const Names& names) {
    return std::any_of(inquiry_.seen().begin(), inquiry_.seen().end(), [&](const Seen& one) {
      return !one.differs && one.seconds <= kQuick && inquiry_.residual_of(names, one) > 1;
    });
  }

  void take(const Names& names) {
    if (!weighed_.insert(names).second) return;
    // What draws numbers is near to anything.
    if (inquiry_.steady() && inquiry_.unsteady(names)) return;
    auto found = weigh(names);
    found.needed = names.size() > 1 && found.broken == 0 && all_needed(names);
    if (found.explained > 0) explanations_.push_back(found);
  }

  // Whether some explain all that was seen, and spoil nothing.
  bool complete(const Explanation& one) const {
    return one.explained == inquiry_.differing() && one.broken == 0;
  }
  bool any_complete() const {
    return std::any_of(explanations_.begin(), explanations_.end(),
                       [&](const auto& e) { return complete(e); });
  }

  // What costs little and says most comes first: each defect as it is catalogued, beside what explains a
  // part; then its other forms, beside that and alone; then two at once, of which neither explains a thing.
  void search() {
    add_to({});
    within(kThird, [&] { look_inside(1); });
    within(kHalf, [&] { add_to_parts(); });
    if (!accounted_for_inside()) within(kThird, [&] { others_of_their_kind({}); });
    within(kHalf, [&] { add_to_parts(); });
    for (const std::size_t together : {std::size_t{1}, std::size_t{2}})
      for (const auto& part : parts_of(together)) within(kHalf, [&] { others_of_their_kind(part); });
    add_to_parts();
    if (!accounted_for_inside()) within(kHalf, [&] { look_inside(2); });
    if (!mostly_explained()) within(kMost, [&] { pairs(); });
    add_to_parts();
    join();
    rank();
  }

  // One defect in two parts of a model may be that defect in the whole of it.
  void join() {
    const auto found = explanations_;
    for (const auto& one : found) {
      Names joined;
      for (const auto& name : one.names) {
        const auto plain = read_departure(name).name;
        const auto parts = std::count_if(one.names.begin(), one.names.end(), [&](const std::string& other) {
          return read_departure(other).name == plain;
        });
        const auto& whole = parts > 1 ? plain : name;
        if (std::find(joined.begin(), joined.end(), whole) == joined.end()) joined.push_back(whole);
      }
      if (complete(one) && joined.size() < one.names.size()) take(joined);
    }
  }

  // Does this in such a share of the time that is left, where nothing explains everything yet.
  void within(double share, const std::function<void()>& body) {
    if (any_complete()) return;
    const auto whole = until_;
    const auto left = std::max(until_ - Clock::now(), Clock::duration::zero());
    until_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(share * left);
    body();
    cut_short_ = cut_short_ || late();
    until_ = whole;
  }

  void add_to_parts() {
    for (std::size_t together = 1; together < kMostTogether; ++together)
      for (const auto& part : parts_of(together))
        if (!any_complete()) add_to(part);
  }

  // The best of those that are so many together.
  std::vector<Names> parts_of(std::size_t together) {
    rank();
    std::vector<Names> parts;
    for (const auto& one : explanations_)
      if (one.names.size() == together && parts.size() < kBases) parts.push_back(one.names);
    return parts;
  }

  bool mostly_explained() const {
    return std::any_of(explanations_.begin(), explanations_.end(), [&](const Explanation& one) {
      return one.broken == 0 && 2 * one.explained > inquiry_.differing();
    });
  }

  // Each defect as it is catalogued, beside `base`, held against the quickest of what that leaves
  // unexplained; where none explains it, against the next.
  void add_to(const Names& base) {
    int open = 0;
    for (const auto& one : inquiry_.seen()) {
      if (!one.differs || inquiry_.residual_of(base, one) <= 1) continue;
      if (++open > kOpen) return;
      const auto before = explanations_.size();
      for (const auto& name : in_order_) {
        const bool suspected = suspected_.contains(name);
        if (!suspected && (late() || open > 1)) break;  // those that are come first
        if (late() && (!base.empty() || open > 1)) break;
        if (std::find(base.begin(), base.end(), name) != base.end()) continue;
        const auto names = with(base, name);
        if (!suspected && one.seconds > kSlow && contradicted(names)) continue;
        consider(names, one);
      }
      if (any_complete() || std::any_of(explanations_.begin() + static_cast<std::ptrdiff_t>(before),
                                        explanations_.end(), [](const auto& e) { return e.broken == 0; }))
        return;
    }
  }

  // Which defects together make of what each stage is given what the candidate makes of it: found stage by
  // stage, so that one hides no other.
  // `at_once`: how many of one kind of stage.
  void look_inside(int at_once) {
    if (!pass_ || !inquiry_.runs() || !inquiry_.steady() || late()) return;
    try {
      if (!stages_) stages_.emplace(subject_, *pass_, inquiry_.exact(), inquiry_.near());
    } catch (const std::exception&) {
      return;  // it does not show them again
    }
    account_for({}, at_once);
  }

  // Whether something makes all stages what they are, and spoils nothing that was seen.
  bool accounted_for_inside() const {
    return std::any_of(explanations_.begin(), explanations_.end(), [&](const Explanation& one) {
      return one.broken == 0 && inside_.contains(one.names);
    });
  }

  // Goes on from `base` until no stage is wrong.
  void account_for(const Names& base, int at_once) {
    const auto wrong = stages_->first_wrong(base);
    if (wrong.empty() && !base.empty()) {
      inside_.insert(base);
      take(base);
    }
    if (wrong.empty() || base.size() == kMostTogether) return;
    int found = 0;
    for (const auto& names : accounts_of(base, wrong, at_once)) {
      account_for(names, at_once);
      if (late() || any_complete() || ++found == kAccounts) return;
    }
  }

  // `base` with what makes that kind of stage right, and spoils none: defects as catalogued, with another
  // number, in the one layer where it is wrong; with a number that is fitted; two of them at once.
  std::vector<Names> accounts_of(const Names& base, const std::string& kind, int at_once) {
    auto& stages = *stages_;
    const auto before = stages.residuals(base);
    std::vector<Names> found;
    const auto accounts = [&](const Names& names) {
      const auto& after = stages.residuals(names);
      const bool right = after.at(kind) <= 1 && std::all_of(after.begin(), after.end(), [&](const auto& one) {
                           return one.second <= 1 || before.at(one.first) > 1;
                         });
      if (right && std::find(found.begin(), found.end(), names) == found.end()) found.push_back(names);
      return right;
    };
    // With the usual number, or with one far from it: a wide window hides nothing of a short text.
    const auto changes = [&](const std::string& name) {
      auto numbers = likely_numbers(name);
      std::sort(numbers.begin(), numbers.end());
      return stages.changes(name, kind) ||
             (!numbers.empty() && (stages.changes(write_departure({name, numbers.front(), {}}), kind) ||
                                   stages.changes(write_departure({name, numbers.back(), {}}), kind)));
    };
    // Those first that are known to show there.
    Names concerned, in_order = in_order_;
    std::stable_partition(in_order.begin(), in_order.end(), [&](const std::string& name) {
      return apart(defect_of(name).stage).second == kind;
    });
    for (const auto& name : in_order)
      if (!late() &&
          std::none_of(base.begin(), base.end(),
                       [&](const std::string& one) { return read_departure(one).name == name; }) &&
          changes(name))
        concerned.push_back(name);
    const auto layers = wrong_.contains(kind) ? wrong_.at(kind) : std::set<std::int64_t>{};
    const auto forms_of = [&](const std::string& name) {
      std::vector<WrittenDeparture> forms{{name, {}, {}}};
      for (const double number : likely_numbers(name)) forms.push_back({name, number, {}});
      if (layers.size() == 1 && *layers.begin() >= 0)
        for (auto form : std::vector<WrittenDeparture>(forms)) {
          form.place.layer = *layers.begin();
          forms.push_back(form);
        }
      return forms;
    };
    const auto fitted = [&](const Names& beside, const std::string& name) {
      const auto* number = number_of(name);
      if (number == nullptr || !number->continuous || late()) return;
      const auto written = [&](double value) { return with(beside, write_departure({name, value, {}})); };
      const double best =
          fitting_best([&](double value) { return stages.distance(written(value), kind); }, range_of(name),
                       number->turns ? kFine : kCoarse, [&] { return late(); });
      for (const double round : rounder_than(best))
        if (accounts(written(round))) return;
    };
    Names forms;
    for (const auto& name : concerned)
      for (const auto& form : forms_of(name)) {
        if (late()) return found;
        forms.push_back(write_departure(form));
        accounts(with(base, forms.back()));
      }
    if (!found.empty()) return found;
    for (const auto& name : concerned) fitted(base, name);
    if (!found.empty() || at_once == 1 || base.size() + 2 > kMostTogether) return found;
    const auto alike = [](const std::string& a, const std::string& b) {
      return read_departure(a).name == read_departure(b).name;
    };
    for (std::size_t i = 0; i < forms.size() && !late(); ++i)
      for (std::size_t j = i + 1; j < forms.size(); ++j)
        if (!alike(forms[i], forms[j])) accounts(with(with(base, forms[i]), forms[j]));
    if (!found.empty()) return found;
    for (const auto& name : concerned)
      for (const auto& form : forms)
        if (!alike(name, form) && found.empty()) fitted(with(base, form), name);
    return found;
  }

  // Beside `base`, the same defects with another number, and in a part of the model alone.
  void others_of_their_kind(const Names& base) {
    const auto* quickest = open(base);
    if (quickest == nullptr) return;
    const auto any_with = [&](auto attempts) {
      for (const auto& name : in_order_) {
        if (late() || any_complete()) return;
        attempts(name);
      }
    };
    const auto attempt_with = [&](const WrittenDeparture& departure) {
      attempt(with(base, write_departure(departure)), *quickest);
    };
    any_with([&](const std::string& name) {
      for (const double number : likely_numbers(name)) attempt_with({name, number, {}});
    });
    if (!subject_.can("code") || !inquiry_.runs()) return;
    any_with([&](const std::string& name) {
      if (const auto* number = number_of(name);
          number != nullptr && number->continuous && (suspected_.contains(name) || shaped_))
        fit(base, name);
    });
    any_with([&](const std::string& name) {
      for (const auto& place : parts_for(name)) attempt_with({name, {}, place});
    });
  }

  // The parts of the model in which it may be alone: layers and modes.
  std::vector<ModelPart> parts_for(const std::string& name) const {
    std::vector<ModelPart> parts;
    if (!defect_of(name).stage.starts_with("layers.")) return parts;
    for (const auto layer : layers_for(name)) parts.push_back({layer, {}, {}});
    for (const bool yes : {true, false}) {
      parts.push_back({{}, yes, {}});
      parts.push_back({{}, {}, yes});
    }
    return parts;
  }

  // Those that are stated and such as are met.
  std::vector<double> likely_numbers(const std::string& name) const {
    const auto* number = number_of(name);
    if (number == nullptr) return {};
    auto numbers = number->others;
    const auto& stated = subject_.description().configuration;
    if (number->setting != nullptr)
      if (const auto found = stated.find(number->setting);
          found != stated.end() && found->second.value.is_number())
        numbers.insert(numbers.begin(), found->second.value.get<double>());
    return numbers;
  }

  // The numbers between which any may be.
  std::vector<double> range_of(const std::string& name) const {
    auto numbers = likely_numbers(name);
    numbers.push_back(number_of(name)->usual(subject_.specification()));
    std::erase_if(numbers, [](double value) { return value <= 0; });
    return numbers;
  }

  const Defect& defect_of(const std::string& name) const {
    return *std::find_if(catalogue_.begin(), catalogue_.end(),
                         [&](const Defect& defect) { return defect.name == name; });
  }

  // "layers.3.gated" -> 3 and "gated"; what is in no layer is in -1.
  static std::pair<std::int64_t, std::string> apart(const std::string& stage) {
    const std::string layers = "layers.";
    if (!stage.starts_with(layers)) return {-1, stage};
    return {std::stoll(stage.substr(layers.size())), stage.substr(stage.find('.', layers.size()) + 1)};
  }

  // Where its stages show that this is wrong by itself in one layer alone, it is that one; where it is in
  // several, it is in none of them alone.
  std::vector<std::int64_t> layers_for(const std::string& name) const {
    const auto& stage = defect_of(name).stage;
    if (!stage.starts_with("layers.")) return {};
    std::set<std::int64_t> layers;
    if (const auto found = wrong_.find(apart(stage).second); found != wrong_.end())
      layers = found->second;
    else
      for (const auto& [other, there] : wrong_) layers.insert(there.begin(), there.end());
    layers.erase(-1);
    if (layers.size() > 1) return {};
    if (wrong_.empty())
      for (std::int64_t layer = 0; layer < subject_.specification().num_hidden_layers; ++layer)
        layers.insert(layer);
    return {layers.begin(), layers.end()};
  }

  void attempt(const Names& names, const Seen& quickest) {
    if (!late()) consider(names, quickest);
  }

  void consider(const Names& names, const Seen& quickest) {
    if (inquiry_.residual_of(names, quickest) <= 1) take(names);
  }

  // Any number between those that are met, as the observations have it.
  void fit(const Names& base, const std::string& name) {
    auto numbers = range_of(name);
    double step = number_of(name)->turns ? kFine : kCoarse;
    const auto written = [&](double value) { return with(base, write_departure({name, value, {}})); };
    // Far from the start of a text, what turns has turned too often to show the way: another may.
    int asked = 0;
    for (const auto& one : inquiry_.seen()) {
      if (late() || asked == (number_of(name)->turns ? kAsked : 1) || one.seconds > kQuick) return;
      if (!one.differs || inquiry_.residual_of(base, one) <= 1 || !inquiry_.moves(name, one)) continue;
      ++asked;
      const double found =
          fitting_best([&](double value) { return inquiry_.distance_of(written(value), one); }, numbers, step,
                       [&] { return late(); });
      for (const double round : rounder_than(found)) {
        attempt(written(round), one);
        if (any_complete()) return;
      }
      // What a short text allows, a longer one tells to more digits.
      if (late() || inquiry_.residual_of(written(found), one) > 1) continue;
      numbers = {found / kAround, found * kAround};
      step = std::log(kAround) / 10;
    }
  }

  // What explains everything has to hold for other tokens, too; and where several do, of more of them, as far
  // as these tell them apart.
  void try_further() {
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

  void pairs() {
    const auto* quickest = open({});
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
        if (apart(defect_of(read_departure(one).name).stage).second == first_wrong_ &&
            read_departure(one).name != read_departure(other).name) {
          attempt(with({one}, other), *quickest);
          if (any_complete()) return;
        }
    // Those first of which a failed requirement points to both.
    const auto moving = of_those(in_order_);
    for (std::size_t j = 1; j < moving.size(); ++j)
      for (std::size_t i = 0; i < j && !any_complete(); ++i) attempt(with({moving[i]}, moving[j]), *quickest);
  }

  // Every form of the defects that first show in a stage that is wrong by itself: those of the whole model
  // first, since a layer may be the only one in which it is large enough to be seen.
  Names forms_of_what_is_wrong() const {
    Names forms, in_one_layer;
    for (const auto& name : in_order_) {
      if (!wrong_.contains(apart(defect_of(name).stage).second)) continue;
      forms.push_back(name);
      for (const double number : likely_numbers(name)) forms.push_back(write_departure({name, number, {}}));
      for (const auto layer : layers_for(name))
        in_one_layer.push_back(write_departure({name, {}, {layer, {}, {}}}));
    }
    forms.insert(forms.end(), in_one_layer.begin(), in_one_layer.end());
    return forms;
  }

  void rank() {
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

  // A model that no weights of the specification fit may run on weights of the shapes that it turned out to
  // have: then what else is wrong shows.
  void go_on_with_its_shapes(reports::Diagnosis& found) {
    const auto shapes = found.explanations.front().defects;
    const auto departed = depart(subject_.specification(), fmt::format("{}", fmt::join(shapes, "+")));
    Subject shaped(subject_.candidate(), departed.specification, std::nullopt, subject_.fixtures(),
                   subject_.recorder());
    std::optional<reports::Diagnosis> rest;
    try {
      shaped.running();
      std::vector<std::string> without(left_out_.begin(), left_out_.end());
      for (const auto& name : shapes) without.push_back(read_departure(name).name);
      Diagnostician further(shaped, std::chrono::duration<double>(2 * half_).count(), {}, without);
      further.shaped_ = true;
      rest = further.diagnose();
    } catch (const std::exception&) {  // it takes none of those either, and what was said stands
    }
    if (!rest) return;
    found.observations += rest->observations;
    found.differing += rest->differing;
    const auto& first = found.explanations.front();
    const auto before = first.explained;
    const auto it_is = fmt::format("{}: {}", fmt::join(shapes, " and "), clauses_of(shapes));
    if (rest->differing == 0) {
      found.conclusion = fmt::format(
          "explained to rounding by {}; on weights of its own shapes everything else is right", it_is);
      return;
    }
    auto explanations = rest->explanations;
    for (auto& one : explanations) {
      one.defects.insert(one.defects.begin(), shapes.begin(), shapes.end());
      one.explained += before;
    }
    found.conclusion = fmt::format("it has the shapes and settings of {}; on weights of its own shapes: {}",
                                   it_is, rest->conclusion);
    if (explanations.empty()) {
      explanations = {first};
      explanations.front().complete = false;
    }
    found.explanations = explanations;
    if (!explanations.front().complete) found.advice.clear();
    // Of the specification, not of the shapes that it turned out to have.
    for (const auto& one : rest->advice) found.advice.push_back(advice_on(one.defect));
  }

  void conclude(reports::Diagnosis& found) {
    std::vector<std::string> certain;
    for (const auto& one : explanations_) {
      if (found.explanations.size() == kMostShown) break;
      // Those that explain all, and of them those that do inside as well.
      const auto& best = explanations_.front();
      if (complete(best) && (!complete(one) || one.inside != best.inside)) break;
      found.explanations.push_back(
          {one.names, one.explained, one.broken, one.residual, complete(one) && inquiry_.uncompared() == 0});
      if (complete(one)) certain.push_back(fmt::format("{}", fmt::join(one.names, " and ")));
    }
    const auto searched = late() || cut_short_
                              ? fmt::format("; time was up after {} were tried", inquiry_.hypotheses())
                              : std::string();
    if (explanations_.empty()) {
      found.conclusion = "not explained by any known defect, alone or with others" + searched;
      return;
    }
    const auto& best = explanations_.front();
    const auto names = fmt::format("{}", fmt::join(best.names, " and "));
    const auto what = clauses_of(best.names);
    if (certain.empty()) {
      const bool mostly = best.broken == 0 && 2 * best.explained > inquiry_.differing();
      found.conclusion = fmt::format(
          "not explained by any known defect, alone or with others{}; {} {}: {}; it accounts for {} of {} "
          "observations that differ{}, and not for {}",
          searched, mostly ? "something like it is" : "nearest is", names, what, best.explained,
          inquiry_.differing(),
          best.broken > 0 ? fmt::format(", would change {} that do not", best.broken) : "",
          fmt::join(best.left, ", "));
      return;
    }
    const std::string how =
        !subject_.can("code") ? "it has no code; its shapes and settings are those of"
        : !inquiry_.runs()    ? "no weights fit it, so that nothing of it was run; its shapes and "
                                "settings are those of"
        : !inquiry_.steady()  ? "it answers the same question in two ways, so that what it "
                                "answers was not compared; that is what it would do by"
                              : "explained to rounding by";
    found.conclusion = certain.size() == 1 ? fmt::format("{} {}: {}", how, names, what)
                                           : fmt::format("{} {}, which nothing that was seen tells apart",
                                                         how, fmt::join(certain, " or by "));
    for (const auto& name : best.names) found.advice.push_back(advice_on(name));
  }

  std::string clauses_of(const Names& names) const {
    std::vector<std::string> clauses;
    for (const auto& name : names) clauses.push_back(clause_of(name));
    return fmt::format("{}", fmt::join(clauses, "; and "));
  }

  // What it is, as a clause.
  std::string clause_of(const std::string& written) const {
    const auto read = read_departure(written);
    return (read.number ? describe(*number_of(read.name), fmt::format("{}", *read.number))
                        : defect_of(read.name).departure) +
           describe(read.place);
  }

  // Advice speaks of the usual number and of the whole model: where it is another, that is said before.
  reports::Advice advice_on(const std::string& written) const {
    const auto name = read_departure(written).name;
    const auto told = told_of(defect_of(name), subject_.specification());
    const auto& [english, chinese] = std::tie(told.advice, told.advice_in_chinese);
    if (written == name) return {written, english, chinese};
    return {written, fmt::format("Here: {}. What follows is of {}: {}", clause_of(written), name, english),
            fmt::format("此处是 {}；以下说的是 {}：{}", written, name, chinese)};
  }

  Subject& subject_;
  Inquiry inquiry_;
  Clock::duration half_;
  Clock::time_point until_;
  std::vector<Defect> catalogue_;
  Names names_, in_order_;  // what is tried: as catalogued, and as tried
  std::map<std::string, std::size_t> order_;
  std::set<std::string> left_out_, suspected_;
  std::map<std::string, std::set<std::int64_t>>
      wrong_;                     // stages that are, by themselves, and in which layers
  std::string first_wrong_;       // the first of them in execution order
  std::optional<StageRun> pass_;  // the one that shows it
  std::optional<StagesApart> stages_;
  std::set<Names> inside_;  // what makes all stages what they are
  bool failed_own_loop_ = false;
  bool shaped_ = false;       // on shapes of its own, of which no requirement has said anything
  bool cut_short_ = false;    // more could have been tried
  std::int64_t further_ = 0;  // observations of other tokens, that what explains all others was held to
  std::set<Names> weighed_;
  std::vector<Explanation> explanations_;
};

}  // namespace

reports::Diagnosis diagnose(Subject& subject, double seconds,
                            const std::optional<reports::Localisation>& localisation,
                            const std::vector<std::string>& without) {
  try {
    return Diagnostician(subject, seconds, localisation, without).diagnose();
  } catch (const std::exception& error) {
    const std::string message = error.what();
    reports::Diagnosis none;
    none.conclusion = "not assessed: " + message.substr(0, message.find('\n'));
    return none;
  }
}

}  // namespace plumbline
