#include "harness/diagnosis/inquiry.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "harness/candidate/reference.hpp"
#include "harness/model/departures/departures.hpp"
#include "harness/system/error.hpp"
#include "harness/system/work_clock.hpp"

namespace plumbline {
namespace {

using Clock = WorkClock;

constexpr double kWorthMeasuring = 1e4;  // beyond this many times what is allowed, rounding is no explanation
constexpr double kWorthRounding = 1e6;   // the same, of what one rounding allows
constexpr std::size_t kEnoughForLoudness = 12;  // observations
constexpr double kBrief = 0.005;                // seconds: nobody is quicker
constexpr const char* kTwice = "the same pass twice";

void keep_what_both_state(Seen& one) {
  std::erase_if(one.answer, [&](const auto& entry) { return !one.right.contains(entry.first); });
  std::erase_if(one.right, [&](const auto& entry) { return !one.answer.contains(entry.first); });
}

}  // namespace

Inquiry::Inquiry(Subject& candidate) : subject_(candidate) {
  try {
    exact_ = subject_.exact().weights();
    near_ = subject_.rounded().weights();
  } catch (const NotShown&) {
    const bool has_code = subject_.can("code");
    near_ = convert(discriminating_weights(subject_.specification().parameters(), 1),
                    has_code ? subject_.candidate().type() : at::kFloat,
                    has_code ? subject_.candidate().device() : at::kCPU);
    exact_ = convert(near_, at::kDouble, near_.begin()->second.device());
    runs_ = false;
  }
}

double Inquiry::roundoff() const {
  return unit_roundoff(near_.begin()->second.scalar_type());
}

// The reference with some defects, on the weights of the candidate.
Hypothesis Inquiry::stand(const Names& names, bool exact) {
  return make_hypothesis(subject_, names, exact ? exact_ : near_);
}

// What the hypothesis shows; empty where it shows nothing.
Weights Inquiry::answer_of(const Hypothesis& stand, const Observation& observation) {
  try {
    return observation.ask(*stand.subject);
  } catch (const std::exception&) {
    return {};
  }
}

void Inquiry::ask_everything(bool own_loop) {
  auto exact = stand({}, true);
  for (auto& observation : observations(subject_)) {
    if (!observation.needs.empty() && !subject_.can(observation.needs)) continue;
    // Where its own loop is right, its text is what its logits make it, and those are seen.
    if (observation.needs.starts_with("generate") && !own_loop && differing() > 0) continue;
    Seen one{observation, {}, {}};
    try {
      one.answer = one.observation.ask(subject_);
    } catch (const NotShown&) {
      continue;  // a requirement says so
    } catch (const InputError&) {
      continue;
    } catch (const std::exception&) {
      if (!answer_of(exact, observation).empty()) raised_.push_back(observation);
      continue;
    }
    if (one.answer.empty()) continue;
    const auto begin = Clock::now();
    one.right = answer_of(exact, one.observation);
    one.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (one.right.empty()) continue;
    if (one.observation.kind == Observation::Kind::stated) keep_what_both_state(one);
    one.differs = residual_of(one, one.right, {}) > 1;
    if (one.observation.name == kTwice && one.differs) steady_ = false;
    (one.observation.kind == Observation::Kind::inner ? inside_ : seen_).push_back(std::move(one));
  }
  // Of a model that answers otherwise every time nothing else can be compared.
  if (!steady_)
    uncompared_ = static_cast<std::int64_t>(
        std::erase_if(seen_, [](const Seen& one) { return one.observation.computes; }));
  // Of those that are about as quick, the simpler ones come first.
  const auto about = [](const Seen& one) {
    return std::max(0.0, std::round(std::log2(one.seconds / kBrief)));
  };
  std::stable_sort(seen_.begin(), seen_.end(),
                   [&](const Seen& a, const Seen& b) { return about(a) < about(b); });
  for (auto& one : seen_) residuals_[Names{}][&one] = one.differs ? kInfinite : 0;
}

double Inquiry::residual_of(const Seen& one, const Weights& exact, const Weights& near) {
  const auto by = [&](const Weights& right_near) {
    return residual(one.answer, exact, near, one.right, right_near, roundoff(), one.observation.allowed);
  };
  const double off = by(one.right_near.value_or(Weights{}));
  return one.right_near || !(off > 1 && off < kWorthRounding) ? off : by(rounded(one));
}

// What the specification makes of it with the candidate's rounding.
const Weights& Inquiry::rounded(const Seen& one) {
  if (!one.right_near) {
    auto near = stand({}, false);
    one.right_near = answer_of(near, one.observation);
  }
  return *one.right_near;
}

// What the hypothesis shows, but for what it need not state: that may be as the specification has it.
Weights Inquiry::prediction(const Hypothesis& stand, const Seen& one) {
  auto predicted = answer_of(stand, one.observation);
  if (one.observation.kind != Observation::Kind::stated) return predicted;
  for (auto& [key, value] : predicted)
    if (const auto said = one.answer.find(key), right = one.right.find(key);
        said != one.answer.end() && right != one.right.end() && said->second.equal(right->second))
      value = said->second;
  std::erase_if(predicted, [&](const auto& entry) { return !one.answer.contains(entry.first); });
  return predicted;
}

double Inquiry::residual_of(const Names& names, const Seen& one) {
  auto& known = residuals_[names];
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
double Inquiry::worth_measuring(const Names& names, const Seen& one) {
  if (names.size() == 1 && parse_departure(names.front()).name == names.front()) return kWorthMeasuring;
  double loud = kCompounded;
  for (const auto& name : names) loud *= loudness(parse_departure(name).name, one);
  return std::min(kWorthMeasuring, loud);
}

// How many times as much rounding as the right model's it brings into what is asked there.
double Inquiry::loudness(const std::string& name, const Seen& one) {
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

bool Inquiry::is_loud(const Names& names) {
  // Of a few numbers, by chance none is rounded otherwise.
  const auto is_loud_there = [&](const Seen& one) {
    return one.seconds <= kQuick && one.observation.computes &&
           std::any_of(names.begin(), names.end(), [&](const std::string& name) {
             return loudness(parse_departure(name).name, one) > kCompounded;
           });
  };
  const auto last = seen_.begin() + static_cast<std::ptrdiff_t>(std::min(seen_.size(), kEnoughForLoudness));
  return std::any_of(seen_.begin(), last, is_loud_there);
}

double Inquiry::distance_of(const Names& names, const Seen& one) {
  try {
    auto exact = stand(names, true);
    const auto predicted = prediction(exact, one);
    double worst = predicted.empty() ? kInfinite : 0;
    for (const auto& [key, value] : one.answer)
      if (const auto found = predicted.find(key); at::isFloatingType(value.scalar_type()) &&
                                                  found != predicted.end() &&
                                                  found->second.sizes() == value.sizes())
        worst = std::max(worst,
                         largest(value.to(at::kCPU, at::kDouble) - found->second.to(at::kCPU, at::kDouble)));
    return std::isnan(worst) ? kInfinite : worst;
  } catch (const InputError&) {
    return kInfinite;
  }
}

bool Inquiry::moves(const std::string& name, const Seen& one) {
  const auto [known, unknown] = moves_[name].try_emplace(&one, false);
  if (unknown) {
    const auto answer = answer_of(stand({name}, true), one.observation);
    known->second =
        residual(answer, one.right, {}, one.right, rounded(one), roundoff(), one.observation.allowed) > 1;
  }
  return known->second;
}

bool Inquiry::unsteady(const Names& names) {
  return std::any_of(seen_.begin(), seen_.end(), [&](const Seen& one) {
    return one.observation.name == kTwice && residual_of(names, one) > 1;
  });
}

bool Inquiry::answers(const Names& names, const Observation& observation) {
  return !answer_of(stand(names, false), observation).empty();
}

bool Inquiry::shows_nothing_of(const std::string& name) {
  return std::all_of(seen_.begin(), seen_.end(), [&](const Seen& one) {
    auto other = stand({name}, false);
    auto answer = answer_of(other, one.observation);
    if (one.observation.kind == Observation::Kind::stated)
      std::erase_if(answer, [&](const auto& entry) { return !one.right.contains(entry.first); });
    return residual(answer, one.right, {}, one.right, rounded(one), roundoff(), one.observation.allowed) <= 1;
  });
}

bool Inquiry::tells_apart(const Observation& observation, const std::vector<Names>& hypotheses) {
  const auto by = [&](const Names& names) { return answer_of(stand(names, true), observation); };
  const auto by_specification = by({}), by_first = by(hypotheses.front());
  return std::any_of(hypotheses.begin() + 1, hypotheses.end(), [&](const Names& other) {
    return residual(by(other), by_first, {}, by_specification, {}, roundoff(), observation.allowed) > 1;
  });
}

std::int64_t Inquiry::differing() const {
  const auto differs = [](const Seen& one) { return one.differs; };
  return static_cast<std::int64_t>(raised_.size()) + std::count_if(seen_.begin(), seen_.end(), differs) +
         std::count_if(further_.begin(), further_.end(), differs);
}

const Seen* Inquiry::ask(const Observation& observation) {
  if (!observation.needs.empty() && !subject_.can(observation.needs)) return nullptr;
  Seen one{observation, {}, {}};
  try {
    one.answer = observation.ask(subject_);
  } catch (const std::exception&) {
    return nullptr;  // a recording was not asked that
  }
  one.right = answer_of(stand({}, true), observation);
  one.differs = residual_of(one, one.right, {}) > 1;
  further_.push_back(std::move(one));
  return &further_.back();
}

}  // namespace plumbline
