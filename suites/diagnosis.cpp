#include "suites/diagnosis.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "harness/candidate/reference.hpp"
#include "harness/model/catalogue.hpp"
#include "harness/model/departures.hpp"
#include "harness/system/error.hpp"
#include "suites/observations.hpp"

namespace plumbline {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr std::size_t kMostTogether = 3;
constexpr std::size_t kBases = 4;        // of how many partial explanations more is tried
constexpr double kWorthMeasuring = 1e4;  // beyond this many times what is allowed, rounding is no explanation
constexpr std::size_t kMostShown = 5;
constexpr double kSlow = 0.25, kQuick = 0.05;  // seconds that the specification's own model takes to answer

// The difference of two answers in terms of what is allowed: 1 or less is rounding. `near` is `exact` with
// the candidate's rounding; empty: not measured.
double residual(const Weights& seen, const Weights& exact, const Weights& near, const Weights& right,
                const Weights& right_near, double roundoff, double slack) {
  double worst = 0;
  std::int64_t compared = 0;
  const auto noise_of = [](const Weights& one, const Weights& other, const std::string& key) {
    const auto a = one.find(key), b = other.find(key);
    if (a == one.end() || b == other.end() || a->second.sizes() != b->second.sizes()) return 0.0;
    const auto size = largest(finite(a->second));
    return size == 0 ? 0 : largest(finite(a->second) - finite(b->second)) / size;
  };
  for (const auto& [key, value] : seen) {
    const auto found = exact.find(key);
    const bool counts = !at::isFloatingType(value.scalar_type());
    if (found == exact.end()) {
      if (counts) return kInfinite;
      continue;
    }
    if (found->second.sizes() != value.sizes()) return kInfinite;
    ++compared;
    if (counts) {
      if (!found->second.equal(value)) return kInfinite;
      continue;
    }
    const auto a = value.to(at::kCPU, at::kDouble), b = found->second.to(at::kCPU, at::kDouble);
    if (!a.isnan().equal(b.isnan())) return kInfinite;
    const auto alike = (a == b) | a.isnan();
    const auto difference = (a - b).masked_fill(alike, 0);
    const double relative =
        std::max({noise_of(exact, near, key), noise_of(right, right_near, key), roundoff});
    const double allowed = kNoiseFactor * relative * largest(finite(b)) + slack;
    const double off = largest(difference);
    worst = std::max(worst, off == 0 ? 0 : allowed > 0 ? off / allowed : kInfinite);
  }
  for (const auto& [key, value] : exact)
    if (!at::isFloatingType(value.scalar_type()) && !seen.contains(key)) return kInfinite;
  return compared == 0 ? kInfinite : worst;
}

class Diagnostician {
 public:
  Diagnostician(Subject& candidate, double seconds, const std::vector<std::string>& without)
      : subject_(candidate),
        until_(Clock::now() +
               std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds))) {
    catalogue_ = read_catalogue(subject_.fixtures());
    const std::set<std::string> left_out(without.begin(), without.end());
    for (const auto& name : departure_names())
      if (!left_out.contains(name) && depart(subject_.specification(), name).idle.empty())
        names_.push_back(name);
    suspect();
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
      conclude(found);
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
  using Names = std::vector<std::string>;  // of defects that are there together; in the catalogue's order

  struct Seen {
    Observation observation;
    Weights answer;
    Weights right, right_near;  // by the specification: exactly, and with rounding
    bool differs = false;
    double seconds = 0;  // that the specification's own model takes
  };

  // The reference with some defects, on the weights of the candidate.
  struct Stand {
    std::unique_ptr<Candidate> candidate;
    std::unique_ptr<Subject> subject;
  };

  struct Explanation {
    Names names;
    std::int64_t explained = 0, broken = 0;  // observations that differ, and that do not
    double residual = 0;                     // the worst of what it explains
    std::vector<std::string> left;           // the names of what it does not account for
    bool inside = true;                      // it makes of the stages, too, what was shown
  };

  double roundoff() const { return unit_roundoff(near_.begin()->second.scalar_type()); }
  bool late() const { return Clock::now() > until_; }

  Stand stand(const Names& names, bool exact) {
    Stand made;
    const auto& weights = exact ? exact_ : near_;
    const auto& any = weights.begin()->second;
    auto departed = names.empty()
                        ? Departed{subject_.specification(), {}}
                        : depart(subject_.specification(), fmt::format("{}", fmt::join(names, "+")));
    made.candidate = make_reference("hypothesis", std::move(departed), any.scalar_type(), any.device());
    made.subject = std::make_unique<Subject>(*made.candidate, subject_.specification(), std::nullopt,
                                             subject_.fixtures(), subject_.recorder());
    made.subject->use_weights(weights);
    return made;
  }

  // What the hypothesis shows; empty where it shows nothing.
  Weights answer_of(Stand& stand, const Observation& observation) {
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
    auto exact = stand({}, true), near = stand({}, false);
    for (auto& observation : observations()) {
      if (!observation.needs.empty() && !subject_.can(observation.needs)) continue;
      Seen one{observation, {}, {}, {}};
      try {
        one.answer = one.observation.ask();
      } catch (const std::exception&) {
        continue;  // a requirement says so
      }
      if (one.answer.empty()) continue;
      const auto begin = Clock::now();
      one.right = answer_of(exact, one.observation);
      one.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      one.right_near = answer_of(near, one.observation);
      if (one.right.empty()) continue;
      if (one.observation.kind == Observation::Kind::stated) keep_what_both_state(one);
      one.differs = residual_of(one, one.right, one.right_near) > 1;
      if (one.observation.name == "the same pass twice" && one.differs) steady_ = false;
      (one.observation.kind == Observation::Kind::inner ? inner_ : seen_).push_back(std::move(one));
    }
    // Of a model that answers otherwise every time nothing else can be compared.
    if (!steady_) std::erase_if(seen_, [](const Seen& one) { return one.observation.computes; });
    std::stable_sort(seen_.begin(), seen_.end(),
                     [](const Seen& a, const Seen& b) { return a.seconds < b.seconds; });
    for (auto& one : seen_) cache_[Names{}][&one] = one.differs ? kInfinite : 0;
  }

  static void keep_what_both_state(Seen& one) {
    std::erase_if(one.answer, [&](const auto& entry) { return !one.right.contains(entry.first); });
    std::erase_if(one.right, [&](const auto& entry) { return !one.answer.contains(entry.first); });
  }

  double residual_of(const Seen& one, const Weights& exact, const Weights& near) const {
    return residual(one.answer, exact, near, one.right, one.right_near, roundoff(), one.observation.allowed);
  }

  // What the hypothesis shows, but for what it need not state: that may be as the specification has it.
  Weights prediction(Stand& stand, const Seen& one) {
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
        if (result > 1 && result < kWorthMeasuring) {
          auto exact = stand(names, true);
          result = residual_of(one, prediction(exact, one), predicted);
        }
      }
    } catch (const InputError&) {
      result = kInfinite;  // no possible model
    }
    return known[&one] = result;
  }

  Explanation weigh(const Names& names) {
    Explanation found;
    found.names = names;
    for (const auto& one : seen_) {
      const double off = residual_of(names, one);
      if (off <= 1) found.residual = std::max(found.residual, off);
      if (one.differs && off <= 1) ++found.explained;
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
      return residual(answer, one.right, {}, one.right, one.right_near, roundoff(),
                      one.observation.allowed) <= 1;
    });
  }

  std::int64_t differing() const {
    return std::count_if(seen_.begin(), seen_.end(), [](const Seen& one) { return one.differs; });
  }

  Names with(const Names& base, const std::string& more) const {
    auto names = base;
    names.push_back(more);
    std::sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
      return std::find(names_.begin(), names_.end(), a) < std::find(names_.begin(), names_.end(), b);
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
    for (const auto& defect : catalogue_)
      if (std::any_of(defect.seen_by.begin(), defect.seen_by.end(),
                      [&](const std::string& id) { return failed.contains(id); }))
        suspected_.insert(defect.name);
    in_order_ = names_;
    std::stable_partition(in_order_.begin(), in_order_.end(),
                          [&](const std::string& name) { return suspected_.contains(name); });
  }

  // By what is quick to ask: it would change what does not differ.
  bool contradicted(const Names& names) {
    return std::any_of(seen_.begin(), seen_.end(), [&](const Seen& one) {
      return !one.differs && one.seconds <= kQuick && residual_of(names, one) > 1;
    });
  }

  void take(const Names& names) {
    if (!weighed_.insert(names).second) return;
    const auto found = weigh(names);
    if (found.explained > 0) explanations_.push_back(found);
  }

  // Whether some explain all that was seen, and spoil nothing.
  bool complete(const Explanation& one) const { return one.explained == differing() && one.broken == 0; }
  bool any_complete() const {
    return std::any_of(explanations_.begin(), explanations_.end(),
                       [&](const auto& e) { return complete(e); });
  }

  void search() {
    std::vector<Names> bases{{}};
    for (std::size_t together = 1; together <= kMostTogether && !any_complete(); ++together) {
      for (const auto& base : bases) {
        const auto* quickest = open(base);
        if (quickest == nullptr) continue;
        for (const auto& name : in_order_) {
          if (late() && (together > 1 || !suspected_.contains(name))) break;
          if (std::find(base.begin(), base.end(), name) != base.end()) continue;
          const auto names = with(base, name);
          if (quickest->seconds > kSlow && contradicted(names)) continue;
          ++tried_;
          if (residual_of(names, *quickest) <= 1) take(names);
        }
      }
      // Nothing alone makes of the quickest what it is: two at once.
      if (together == 1 && explanations_.empty()) pairs();
      rank();
      bases.clear();
      for (std::size_t i = 0; i < std::min(kBases, explanations_.size()); ++i)
        if (explanations_[i].names.size() == together) bases.push_back(explanations_[i].names);
      if (bases.empty() && explanations_.empty()) return;
    }
  }

  void pairs() {
    const auto* quickest = open({});
    Names moving;  // what changes nothing there can be no part of why it is as it is
    for (const auto& name : names_) {
      if (late()) return;
      auto exact = stand({name}, true);
      const auto answer = answer_of(exact, quickest->observation);
      if (residual(answer, quickest->right, {}, quickest->right, quickest->right_near, roundoff(),
                   quickest->observation.allowed) > 1)
        moving.push_back(name);
    }
    for (std::size_t i = 0; i < moving.size(); ++i)
      for (std::size_t j = i + 1; j < moving.size(); ++j) {
        if (late()) return;
        ++tried_;
        const Names names{moving[i], moving[j]};
        if (residual_of(names, *quickest) <= 1) take(names);
      }
  }

  void rank() {
    std::stable_sort(explanations_.begin(), explanations_.end(),
                     [&](const Explanation& a, const Explanation& b) {
                       if (complete(a) != complete(b)) return complete(a);
                       if (complete(a) && a.inside != b.inside) return a.inside;
                       if (a.explained - a.broken != b.explained - b.broken)
                         return a.explained - a.broken > b.explained - b.broken;
                       return a.names.size() < b.names.size();
                     });
  }

  void conclude(reports::Diagnosis& found) {
    const auto known = [&](const std::string& name) {
      return *std::find_if(catalogue_.begin(), catalogue_.end(),
                           [&](const Defect& defect) { return defect.name == name; });
    };
    std::vector<std::string> certain;
    for (const auto& one : explanations_) {
      if (found.explanations.size() == kMostShown) break;
      // Those that explain all, and of them those that do inside as well.
      const auto& best = explanations_.front();
      if (complete(best) && (!complete(one) || one.inside != best.inside)) break;
      found.explanations.push_back({one.names, one.explained, one.broken, one.residual, complete(one)});
      if (complete(one)) certain.push_back(fmt::format("{}", fmt::join(one.names, " and ")));
    }
    const auto searched = late() ? fmt::format("; time was up after {} were tried", tried_) : std::string();
    if (explanations_.empty()) {
      found.conclusion = "not explained by any known defect, alone or with others" + searched;
      return;
    }
    const auto& best = explanations_.front();
    const auto names = fmt::format("{}", fmt::join(best.names, " and "));
    std::vector<std::string> clauses;
    for (const auto& name : best.names) clauses.push_back(known(name).departure);
    const auto what = fmt::format("{}", fmt::join(clauses, "; and "));
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
    for (const auto& name : best.names)
      found.advice.push_back({name, known(name).advice, known(name).advice_in_chinese});
  }

  Subject& subject_;
  Clock::time_point until_;
  std::vector<Defect> catalogue_;
  Names names_, in_order_;  // what is tried: as catalogued, and as tried
  std::set<std::string> suspected_;
  bool runs_ = true, steady_ = true;
  Weights exact_, near_;     // the candidate's, in float64 and in its own type
  std::vector<Seen> seen_;   // the quickest first; not changed after see()
  std::vector<Seen> inner_;  // what tells apart those that explain all else
  std::map<Names, std::map<const Seen*, double>> cache_;
  std::set<Names> weighed_;
  std::vector<Explanation> explanations_;
  int tried_ = 0;
};

}  // namespace

reports::Diagnosis diagnose(double seconds, const std::vector<std::string>& without) {
  auto* const judged = &subject();
  try {
    return Diagnostician(*judged, seconds, without).diagnose();
  } catch (const std::exception& error) {
    set_subject(judged);
    const std::string message = error.what();
    reports::Diagnosis none;
    none.conclusion = "not assessed: " + message.substr(0, message.find('\n'));
    return none;
  }
}

}  // namespace plumbline
