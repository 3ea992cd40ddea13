#include "harness/diagnosis/diagnosis.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "harness/diagnosis/diagnostician.hpp"
#include "harness/system/error.hpp"

namespace plumbline {
Diagnostician::Diagnostician(Subject& candidate, double seconds,
                             const std::optional<reports::Localisation>& localisation,
                             const std::vector<std::string>& without)
    : subject_(candidate), inquiry_(candidate), half_(seconds / 2), until_(Clock::now() + 2 * half_) {
  catalogue_ = read_catalogue(subject_.fixtures());
  left_out_.insert(without.begin(), without.end());
  for (const auto& name : left_out_) parse_departure(name);
  for (const auto& name : departure_names())
    if (!left_out_.contains(name) && apply_departures(subject_.specification(), name).idle.empty())
      names_.push_back(name);
  for (const auto& name : departure_names()) order_.emplace(name, order_.size());
  find_suspects();
  read_localisation(localisation);
}

reports::Diagnosis Diagnostician::diagnose() {
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
    found.raised = static_cast<std::int64_t>(inquiry_.raised().size());
    found.outcome = found.raised > 0 ? reports::Outcome::errors_alone : reports::Outcome::not_assessed;
    found.words = found.raised > 0
                      ? inquiry_.raised().front().name
                      : "the failure shows in no observation that known defects could be tried on";
    return found;
  }
  if (!answers_rightly) {
    search();
    try_further();
    found.observations += further_;
    found.differing = inquiry_.differing() + inquiry_.uncompared();
    conclude(found);
    if (!inquiry_.runs() && has_code && any_complete()) diagnose_on_its_own_shapes(found);
  } else {
    found.outcome = reports::Outcome::as_specified;
  }
  if (has_code) return found;
  for (const auto& name : names_)
    if (inquiry_.shows_nothing_of(name)) found.undecided.push_back(name);
  found.known = static_cast<std::int64_t>(names_.size());
  return found;
}

reports::Diagnosis diagnose(Subject& subject, double seconds,
                            const std::optional<reports::Localisation>& localisation,
                            const std::vector<std::string>& without) {
  try {
    return Diagnostician(subject, seconds, localisation, without).diagnose();
  } catch (const std::exception& error) {
    const std::string message = error.what();
    reports::Diagnosis none;
    none.words = message.substr(0, message.find('\n'));
    return none;
  }
}

}  // namespace plumbline
