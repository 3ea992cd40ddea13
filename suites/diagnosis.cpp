#include "suites/diagnosis.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "harness/candidate/reference.hpp"
#include "harness/model/catalogue.hpp"
#include "harness/model/departures.hpp"
#include "harness/system/error.hpp"
#include "suites/hypothesis.hpp"
#include "suites/observations.hpp"

namespace plumbline {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr std::size_t kMostTogether = 3;
constexpr std::size_t kBases = 4;        // of how many partial explanations more is tried
constexpr double kWorthMeasuring = 1e4;  // beyond this many times what is allowed, rounding is no explanation
constexpr double kWorthRounding = 1e6;   // the same, of what one rounding allows
constexpr int kAccounts = 3;             // of what one stage shows, so many are followed
constexpr std::size_t kMostShown = 5;
constexpr int kOpen = 6;  // against how many observations that are left a defect is held
constexpr double kThird = 1.0 / 3, kHalf = 0.5, kMost = 0.8;  // shares of the time that is left
constexpr const char* kTwice = "the same pass twice";
constexpr int kAsked = 3;  // of how many observations a number is read that turns
constexpr double kFine = 0.03, kCoarse = 0.3, kTold = 1e-9;  // logarithms: steps, and what is near enough
constexpr double kSlow = 0.25, kQuick = 0.05,
                 kBrief = 0.005;  // seconds that the specification's own model takes to answer

class Diagnostician {
 public:
  Diagnostician(Subject& candidate, double seconds, const std::optional<reports::Localisation>& localisation,
                const std::vector<std::string>& without)
      : subject_(candidate),
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
    try {
      exact_ = subject_.exact().weights();
      near_ = subject_.rounded().weights();
    } catch (const NotShown&) {
      // No weights fit it, so that nothing of it can be run; its shapes and what it states can be seen.
      const bool has_code = subject_.can("code");
      near_ = convert(discriminating_weights(subject_.specification().parameters(), 1),
                      has_code ? subject_.candidate().type() : at::kFloat,
                      has_code ? subject_.candidate().device() : at::kCPU);
      exact_ = convert(near_, at::kDouble, near_.begin()->second.device());
      runs_ = false;
    }
  }

  reports::Diagnosis diagnose() {
    reports::Diagnosis found;
    see();
    // However slowly the candidate answered, half of the time is left to search in.
    until_ = std::max(until_, Clock::now() + half_);
    for (const auto& one : seen_) {
      ++found.observations;
      if (one.differs) ++found.differing;
    }
    const bool has_code = subject_.can("code");
    if (found.differing == 0 && has_code) {
      found.conclusion = "not assessed: what failed shows in nothing that known defects could be tried on";
      return found;
    }
    if (found.differing > 0) {
      search();
      try_further();
      found.observations += static_cast<std::int64_t>(further_.size());
      found.differing = differing();
      conclude(found);
      if (!runs_ && has_code && any_complete()) go_on_with_its_shapes(found);
    } else {
      found.conclusion = "names, shapes and settings are the specification's";
    }
    if (has_code) return found;
    for (const auto& name : names_)
      if (shows_nothing_here(name)) found.undecided.push_back(name);
    found.conclusion += fmt::format(
        "; {} of {} known defects live in code alone, and no checkpoint can decide them: judge the code that "
        "it "
        "is trained and run with, too",
        found.undecided.size(), names_.size());
    return found;
  }

 private:
  struct Seen {
    Observation observation;
    Weights answer;
    Weights right;                                   // by the specification, exactly
    mutable std::optional<Weights> right_near = {};  // and with rounding, once it matters: see rounded()
    bool differs = false;
    double seconds = 0;  // that the specification's own model takes
  };

  struct Explanation {
    Names names;
    std::int64_t explained = 0, broken = 0;  // observations that differ, and that do not
    std::int64_t facts = 0;                  // of those explained: what no rounding and no chance makes so
    double residual = 0;                     // the worst of what it explains
    std::vector<std::string> left;           // the names of what it does not account for
    bool inside = true;                      // it makes of the stages, too, what was shown
  };

  double roundoff() const { return unit_roundoff(near_.begin()->second.scalar_type()); }
  bool late() const { return Clock::now() > until_; }

  // The reference with some defects, on the weights of the candidate.
  Hypothesis stand(const Names& names, bool exact) {
    return make_hypothesis(subject_, names, exact ? exact_ : near_);
  }

  // What the hypothesis shows; empty where it shows nothing.
  Weights answer_of(Hypothesis& stand, const Observation& observation) {
    set_subject(stand.subject.get());
    Weights answer;
    try {
      answer = observation.ask();
    } catch (const std::exception&) {
      answer.clear();
    }
    set_subject(&subject_);
    return answer;
  }

  void see() {
    auto exact = stand({}, true);
    for (auto& observation : observations()) {
      if (!observation.needs.empty() && !subject_.can(observation.needs)) continue;
      // Where its own loop is right, its text is what its logits make it, and those are seen.
      if (observation.needs.starts_with("generate") && !failed_own_loop_ && differing() > 0) continue;
      Seen one{observation, {}, {}};
      try {
        one.answer = one.observation.ask();
      } catch (const std::exception&) {
        continue;  // a requirement says so
      }
      if (one.answer.empty()) continue;
      const auto begin = Clock::now();
      one.right = answer_of(exact, one.observation);
      one.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      if (one.right.empty()) continue;
      if (one.observation.kind == Observation::Kind::stated) keep_what_both_state(one);
      one.differs = residual_of(one, one.right, {}) > 1;
      if (one.observation.name == kTwice && one.differs) steady_ = false;
      (one.observation.kind == Observation::Kind::inner ? inner_ : seen_).push_back(std::move(one));
    }
    // Of a model that answers otherwise every time nothing else can be compared.
    if (!steady_) std::erase_if(seen_, [](const Seen& one) { return one.observation.computes; });
    // Of those that are about as quick, the simpler ones come first.
    const auto about = [](const Seen& one) {
      return std::max(0.0, std::round(std::log2(one.seconds / kBrief)));
    };
    std::stable_sort(seen_.begin(), seen_.end(),
                     [&](const Seen& a, const Seen& b) { return about(a) < about(b); });
    for (auto& one : seen_) cache_[Names{}][&one] = one.differs ? kInfinite : 0;
  }

  static void keep_what_both_state(Seen& one) {
    std::erase_if(one.answer, [&](const auto& entry) { return !one.right.contains(entry.first); });
    std::erase_if(one.right, [&](const auto& entry) { return !one.answer.contains(entry.first); });
  }

  double residual_of(const Seen& one, const Weights& exact, const Weights& near) {
    const auto by = [&](const Weights& right_near) {
      return residual(one.answer, exact, near, one.right, right_near, roundoff(), one.observation.allowed);
    };
    const double off = by(one.right_near.value_or(Weights{}));
    return one.right_near || !(off > 1 && off < kWorthRounding) ? off : by(rounded(one));
  }

  // What the specification makes of it with the candidate's rounding.
  const Weights& rounded(const Seen& one) {
    if (!one.right_near) {
      auto near = stand({}, false);
      one.right_near = answer_of(near, one.observation);
    }
    return *one.right_near;
  }

  // What the hypothesis shows, but for what it need not state: that may be as the specification has it.
  Weights prediction(Hypothesis& stand, const Seen& one) {
    auto predicted = answer_of(stand, one.observation);
    if (one.observation.kind != Observation::Kind::stated) return predicted;
    for (auto& [key, value] : predicted)
      if (const auto said = one.answer.find(key), right = one.right.find(key);
          said != one.answer.end() && right != one.right.end() && said->second.equal(right->second))
        value = said->second;
    std::erase_if(predicted, [&](const auto& entry) { return !one.answer.contains(entry.first); });
    return predicted;
  }

  // How far the hypothesis is from what was seen.
  double residual_of(const Names& names, const Seen& one) {
    auto& known = cache_[names];
    if (const auto found = known.find(&one); found != known.end()) return found->second;
    double result = kInfinite;
    try {
      auto near = stand(names, false);
      const auto predicted = prediction(near, one);
      if (!predicted.empty()) {
        // In the candidate's own type first, which is quicker and often does.
        result = residual_of(one, predicted, {});
        if (result > 1 && result < worth_measuring(names, one)) {
          auto exact = stand(names, true);
          result = residual_of(one, prediction(exact, one), predicted);
        }
      }
    } catch (const InputError&) {
      result = kInfinite;  // no possible model
    }
    return known[&one] = result;
  }

  // Up to which residual the hypothesis' own rounding may be what is left: of one defect as it is catalogued,
  // that is measured each time; of several, and of its other forms, it is guessed of what each makes of it.
  double worth_measuring(const Names& names, const Seen& one) {
    if (names.size() == 1 && read_departure(names.front()).name == names.front()) return kWorthMeasuring;
    double loud = kCompounded;
    for (const auto& name : names) loud *= loudness(read_departure(name).name, one);
    return std::min(kWorthMeasuring, loud);
  }

  // How many times as much rounding as the right model's it brings into what is asked there.
  double loudness(const std::string& name, const Seen& one) {
    const auto [known, unknown] = loudness_[name].try_emplace(&one, 1);
    if (!unknown) return known->second;
    auto exact = stand({name}, true), near = stand({name}, false);
    const auto exactly = answer_of(exact, one.observation), nearly = answer_of(near, one.observation);
    for (const auto& [key, value] : exactly)
      if (at::isFloatingType(value.scalar_type()))
        known->second =
            std::max(known->second, noise_of(exactly, nearly, key) /
                                        std::max(noise_of(one.right, rounded(one), key), roundoff()));
    return known->second;
  }

  Explanation weigh(const Names& names) {
    Explanation found;
    found.names = names;
    for (const auto& one : seen_) {
      const double off = residual_of(names, one);
      if (off <= 1) found.residual = std::max(found.residual, off);
      if (one.differs && off <= 1) ++found.explained;
      if (one.differs && off <= 1 && !one.observation.computes) ++found.facts;
      if (!one.differs && off > 1) ++found.broken;
      if (off > 1) found.left.push_back(one.observation.name);
    }
    if (found.left.empty())
      for (const auto& one : inner_) found.inside = found.inside && residual_of(names, one) <= 1;
    return found;
  }

  // Whether the reference with this defect answers what was asked here as the right one does.
  bool shows_nothing_here(const std::string& name) {
    return std::all_of(seen_.begin(), seen_.end(), [&](const Seen& one) {
      auto other = stand({name}, false);
      auto answer = answer_of(other, one.observation);
      if (one.observation.kind == Observation::Kind::stated)
        std::erase_if(answer, [&](const auto& entry) { return !one.right.contains(entry.first); });
      return residual(answer, one.right, {}, one.right, rounded(one), roundoff(), one.observation.allowed) <=
             1;
    });
  }

  std::int64_t differing() const {
    const auto differs = [](const Seen& one) { return one.differs; };
    return std::count_if(seen_.begin(), seen_.end(), differs) +
           std::count_if(further_.begin(), further_.end(), differs);
  }

  Names with(const Names& base, const std::string& more) const {
    auto names = base;
    names.push_back(more);
    std::stable_sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
      return order_.at(read_departure(a).name) < order_.at(read_departure(b).name);
    });
    return names;
  }

  // The quickest of those that differ and that `names` leave unexplained.
  const Seen* open(const Names& names) {
    for (const auto& one : seen_)
      if (one.differs && residual_of(names, one) > 1) return &one;
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
    for (const auto& pass : stage_runs())
      if (pass.name == localisation->mode && pass.needs != "cache") pass_ = pass;
    for (const auto& one : localisation->stages) {
      if (!one.local || one.local->within) continue;
      const auto [layer, stage] = apart(one.stage);
      if (wrong_.empty()) first_wrong_ = stage;
      wrong_[stage].insert(layer);
    }
  }

  // By what is quick to ask: it would change what does not differ.
  bool contradicted(const Names& names) {
    return std::any_of(seen_.begin(), seen_.end(), [&](const Seen& one) {
      return !one.differs && one.seconds <= kQuick && residual_of(names, one) > 1;
    });
  }

  void take(const Names& names) {
    if (!weighed_.insert(names).second) return;
    // What draws numbers is near to anything.
    if (steady_ && std::any_of(seen_.begin(), seen_.end(), [&](const Seen& one) {
          return one.observation.name == kTwice && residual_of(names, one) > 1;
        }))
      return;
    const auto found = weigh(names);
    if (found.explained > 0) explanations_.push_back(found);
  }

  // Whether some explain all that was seen, and spoil nothing.
  bool complete(const Explanation& one) const { return one.explained == differing() && one.broken == 0; }
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
      return one.broken == 0 && 2 * one.explained > differing();
    });
  }

  // Each defect as it is catalogued, beside `base`, held against the quickest of what that leaves
  // unexplained; where none explains it, against the next.
  void add_to(const Names& base) {
    int open = 0;
    for (const auto& one : seen_) {
      if (!one.differs || residual_of(base, one) <= 1) continue;
      if (++open > kOpen) return;
      const auto before = explanations_.size();
      for (const auto& name : in_order_) {
        const bool suspected = suspected_.contains(name);
        if (!suspected && (late() || open > 1)) break;  // those that are come first
        if (late() && (!base.empty() || open > 1)) break;
        if (std::find(base.begin(), base.end(), name) != base.end()) continue;
        const auto names = with(base, name);
        if (one.seconds > kSlow && contradicted(names)) continue;
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
    if (!pass_ || !runs_ || !steady_ || late()) return;
    try {
      if (!stages_) stages_.emplace(subject_, *pass_, exact_, near_);
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
      const double best = fitting_best([&](double value) { return stages.distance(written(value), kind); },
                                       range_of(name), number->turns ? kFine : kCoarse);
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

  // Whether it changes what is asked there.
  bool moves(const std::string& name, const Seen& one) {
    auto exact = stand({name}, true);
    const auto answer = answer_of(exact, one.observation);
    return residual(answer, one.right, {}, one.right, rounded(one), roundoff(), one.observation.allowed) > 1;
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
    if (!subject_.can("code") || !runs_) return;
    any_with([&](const std::string& name) {
      if (const auto* number = number_of(name);
          number != nullptr && number->continuous && suspected_.contains(name))
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
    if (residual_of(names, quickest) <= 1) take(names);
  }

  // Any number between those that are met, as the observations have it.
  void fit(const Names& base, const std::string& name) {
    const auto numbers = range_of(name);
    const auto written = [&](double value) { return with(base, write_departure({name, value, {}})); };
    // Far from the start of a text, what turns has turned too often to show the way: another may.
    int asked = 0;
    for (const auto& one : seen_) {
      if (late() || asked == (number_of(name)->turns ? kAsked : 1) || one.seconds > kQuick) return;
      if (!one.differs || residual_of(base, one) <= 1 || !moves(name, one)) continue;
      ++asked;
      const double found = fitting_best([&](double value) { return distance_of(written(value), one); },
                                        numbers, number_of(name)->turns ? kFine : kCoarse);
      for (const double round : rounder_than(found)) {
        attempt(written(round), one);
        if (any_complete()) return;
      }
    }
  }

  // A round number near there is likelier than what rounding left of it.
  static std::vector<double> rounder_than(double found) {
    std::vector<double> numbers;
    for (const int digits : {1, 2, 3, 4, 6, 9, 12})
      numbers.push_back(std::stod(fmt::format("{:.{}e}", found, digits - 1)));
    return numbers;
  }

  // The number of those between the least and the most of them that comes nearest to what was seen.
  double fitting_best(const std::function<double(double)>& distance_at, const std::vector<double>& numbers,
                      double step) {
    const auto [least, most] = std::minmax_element(numbers.begin(), numbers.end());
    // In logarithms: in steps at first, and then by thirds.
    const auto distance = [&](double logarithm) { return distance_at(std::exp(logarithm)); };
    double best = 0, nearest = kInfinite;
    for (double at = std::log(*least); at <= std::log(*most) && !late(); at += step)
      if (const double off = distance(at); off < nearest) {
        best = at;
        nearest = off;
      }
    double low = best - step, high = best + step;
    while (high - low > kTold && !late()) {
      const double third = (high - low) / 3;
      if (distance(low + third) <= distance(high - third))
        high -= third;
      else
        low += third;
    }
    return std::exp((low + high) / 2);
  }

  // How far the hypothesis is from what was seen, in no unit: to find the nearest of many.
  double distance_of(const Names& names, const Seen& one) {
    try {
      auto exact = stand(names, true);
      const auto predicted = prediction(exact, one);
      double worst = predicted.empty() ? kInfinite : 0;
      for (const auto& [key, value] : one.answer)
        if (const auto found = predicted.find(key); at::isFloatingType(value.scalar_type()) &&
                                                    found != predicted.end() &&
                                                    found->second.sizes() == value.sizes())
          worst = std::max(
              worst, largest(value.to(at::kCPU, at::kDouble) - found->second.to(at::kCPU, at::kDouble)));
      return std::isnan(worst) ? kInfinite : worst;
    } catch (const InputError&) {
      return kInfinite;
    }
  }

  // What explains everything has to hold for other tokens, too; and where several do, of more of them, as far
  // as these tell them apart.
  void try_further() {
    if (!runs_ || !steady_ || !subject_.can("code") || !any_complete()) return;
    for (auto& observation : further_observations()) {
      std::vector<Explanation*> whole;
      for (auto& one : explanations_)
        if (complete(one)) whole.push_back(&one);
      if (whole.empty() || (!further_.empty() && (whole.size() < 2 || late()))) break;
      if (!observation.needs.empty() && !subject_.can(observation.needs)) continue;
      if (!further_.empty() && !tells_apart(observation, whole)) continue;
      auto right = stand({}, true);
      Seen one{observation, {}, {}};
      try {
        one.answer = observation.ask();
      } catch (const std::exception&) {
        continue;  // a recording was not asked that
      }
      one.right = answer_of(right, observation);
      one.differs = residual_of(one, one.right, {}) > 1;
      further_.push_back(std::move(one));
      const auto& asked = further_.back();
      for (auto& explanation : explanations_) {
        const double off = residual_of(explanation.names, asked);
        if (off <= 1) explanation.residual = std::max(explanation.residual, off);
        if (asked.differs && off <= 1) ++explanation.explained;
        if (!asked.differs && off > 1) ++explanation.broken;
        if (off > 1) explanation.left.push_back(observation.name);
      }
    }
    rank();
  }

  bool tells_apart(const Observation& observation, const std::vector<Explanation*>& explanations) {
    auto right = stand({}, true), first = stand(explanations.front()->names, true);
    const auto by_specification = answer_of(right, observation), by_first = answer_of(first, observation);
    return std::any_of(explanations.begin() + 1, explanations.end(), [&](const Explanation* other) {
      auto made = stand(other->names, true);
      return residual(answer_of(made, observation), by_first, {}, by_specification, {}, roundoff(),
                      observation.allowed) > 1;
    });
  }

  void pairs() {
    const auto* quickest = open({});
    if (quickest == nullptr) return;
    const auto of_those = [&](const Names& tried) {
      Names moving;  // what changes nothing there can be no part of why it is as it is
      for (const auto& name : tried) {
        if (late()) return moving;
        if (moves(name, *quickest)) moving.push_back(name);
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
    std::stable_sort(
        explanations_.begin(), explanations_.end(), [&](const Explanation& a, const Explanation& b) {
          if (complete(a) != complete(b)) return complete(a);
          if (complete(a) && a.inside != b.inside) return a.inside;
          // One more defect has to explain more than one more observation, or a fact.
          const auto worth = [](const Explanation& one) {
            return one.explained + one.facts - one.broken - static_cast<std::int64_t>(one.names.size());
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
    set_subject(&shaped);
    std::optional<reports::Diagnosis> rest;
    try {
      shaped.running();
      std::vector<std::string> without(left_out_.begin(), left_out_.end());
      for (const auto& name : shapes) without.push_back(read_departure(name).name);
      Diagnostician further(shaped, std::chrono::duration<double>(2 * half_).count(), {}, without);
      rest = further.diagnose();
      // Where no pass could be run, nothing is known to be right.
      if (std::none_of(further.seen_.begin(), further.seen_.end(),
                       [](const Seen& one) { return one.answer.contains("logits"); }))
        rest.reset();
    } catch (const std::exception&) {  // it takes none of those either, and what was said stands
    }
    set_subject(&subject_);
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
    found.advice.insert(found.advice.end(), rest->advice.begin(), rest->advice.end());
  }

  void conclude(reports::Diagnosis& found) {
    std::vector<std::string> certain;
    for (const auto& one : explanations_) {
      if (found.explanations.size() == kMostShown) break;
      // Those that explain all, and of them those that do inside as well.
      const auto& best = explanations_.front();
      if (complete(best) && (!complete(one) || one.inside != best.inside)) break;
      found.explanations.push_back({one.names, one.explained, one.broken, one.residual, complete(one)});
      if (complete(one)) certain.push_back(fmt::format("{}", fmt::join(one.names, " and ")));
    }
    const auto searched = late() || cut_short_
                              ? fmt::format("; time was up after {} were tried", cache_.size() - 1)
                              : std::string();
    if (explanations_.empty()) {
      found.conclusion = "not explained by any known defect, alone or with others" + searched;
      return;
    }
    const auto& best = explanations_.front();
    const auto names = fmt::format("{}", fmt::join(best.names, " and "));
    const auto what = clauses_of(best.names);
    if (certain.empty()) {
      const bool mostly = best.broken == 0 && 2 * best.explained > differing();
      found.conclusion = fmt::format(
          "not explained by any known defect, alone or with others{}; {} {}: {}; it accounts for {} of {} "
          "observations that differ{}, and not for {}",
          searched, mostly ? "something like it is" : "nearest is", names, what, best.explained, differing(),
          best.broken > 0 ? fmt::format(", would change {} that do not", best.broken) : "",
          fmt::join(best.left, ", "));
      return;
    }
    const std::string how = !subject_.can("code") ? "it has no code; its shapes and settings are those of"
                            : !runs_   ? "no weights fit it, so that nothing of it was run; its shapes and "
                                         "settings are those of"
                            : !steady_ ? "it answers the same question in two ways, so that what it "
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
    const auto& [english, chinese] = std::tie(defect_of(name).advice, defect_of(name).advice_in_chinese);
    if (written == name) return {written, english, chinese};
    return {written, fmt::format("Here: {}. What follows is of {}: {}", clause_of(written), name, english),
            fmt::format("此处是 {}；以下说的是 {}：{}", written, name, chinese)};
  }

  Subject& subject_;
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
  bool runs_ = true, steady_ = true, failed_own_loop_ = false;
  bool cut_short_ = false;    // more could have been tried
  Weights exact_, near_;      // the candidate's, in float64 and in its own type
  std::vector<Seen> seen_;    // the quickest first; not changed after see()
  std::vector<Seen> inner_;   // what tells apart those that explain all else
  std::deque<Seen> further_;  // of other tokens, that what explains all the others was held to
  std::map<Names, std::map<const Seen*, double>> cache_;
  std::map<std::string, std::map<const Seen*, double>> loudness_;
  std::set<Names> weighed_;
  std::vector<Explanation> explanations_;
};

}  // namespace

reports::Diagnosis diagnose(double seconds, const std::optional<reports::Localisation>& localisation,
                            const std::vector<std::string>& without) {
  auto* const judged = &subject();
  try {
    return Diagnostician(*judged, seconds, localisation, without).diagnose();
  } catch (const std::exception& error) {
    set_subject(judged);
    const std::string message = error.what();
    reports::Diagnosis none;
    none.conclusion = "not assessed: " + message.substr(0, message.find('\n'));
    return none;
  }
}

}  // namespace plumbline
