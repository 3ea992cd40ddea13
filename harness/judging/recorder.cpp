#include "harness/judging/recorder.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "harness/result/sentences.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

void worsen(reports::Verdict& verdict, reports::Verdict found) {
  verdict = std::max(verdict, found);
}

}  // namespace

Recorder::Recorder(RequirementList list, const std::string& candidate_kind)
    : list_(std::move(list)), kind_(candidate_kind) {
  for (auto& entry : list_.entries) {
    const bool shown = entry.applicable.contains(kind_);
    entry.requirement.verdict = shown ? reports::Verdict::not_assessed : reports::Verdict::not_applicable;
    entry.requirement.reason =
        shown ? "no check looked at it" : fmt::format("a candidate of kind {} can never show it", kind_);
  }
}

RequirementList::Entry& Recorder::find(const std::string& id) {
  const auto found = std::find_if(list_.entries.begin(), list_.entries.end(),
                                  [&](const auto& entry) { return entry.requirement.id == id; });
  if (found == list_.entries.end()) throw std::logic_error("no requirement " + id);
  return *found;
}

bool Recorder::knows(const std::string& id) const {
  return std::any_of(list_.entries.begin(), list_.entries.end(),
                     [&](const auto& entry) { return entry.requirement.id == id; });
}

bool Recorder::applicable(const std::string& id) const {
  return std::any_of(list_.entries.begin(), list_.entries.end(), [&](const auto& entry) {
    return entry.requirement.id == id && entry.applicable.contains(kind_);
  });
}

void Recorder::begin(const std::string& id) {
  auto& requirement = find(id).requirement;
  current_ = id;
  running_ = true;
  checks_before_ = requirement.checks.size();
  if (begun_.insert(id).second) {
    requirement.verdict = reports::Verdict::pass;
    requirement.reason = {};
  }
}

void Recorder::add(reports::Check check) {
  auto& requirement = find(current_).requirement;
  if (check.elements == 0)
    error(check.form == reports::Form::nothing ? reports::sentence_of(check) : "nothing was compared");
  else if (!check.within)
    worsen(requirement.verdict, reports::Verdict::fail);
  requirement.checks.push_back(std::move(check));
}

void Recorder::not_assessed(const std::string& reason) {
  auto& requirement = find(current_).requirement;
  worsen(requirement.verdict, reports::Verdict::not_assessed);
  if (requirement.reason.empty()) requirement.reason = reason;
}

void Recorder::error(const std::string& reason) {
  auto& requirement = find(current_).requirement;
  worsen(requirement.verdict, reports::Verdict::error);
  if (requirement.reason.empty()) requirement.reason = reason;
}

void Recorder::finding(const std::string& text) {
  auto& finding = find(current_).requirement.finding;
  finding += (finding.empty() ? "" : "; ") + text;
}

void Recorder::add_plot(reports::Plot plot) {
  plot.requirement = current_;
  plots_.push_back(std::move(plot));
}

const reports::Requirement& Recorder::end(double seconds) {
  auto& requirement = find(current_).requirement;
  requirement.seconds += seconds;
  running_ = false;
  if (requirement.verdict == reports::Verdict::pass && requirement.checks.size() == checks_before_)
    error("its test compared nothing");
  return requirement;
}

void Recorder::skip(const std::string& id, const reports::Reason& reason) {
  auto& requirement = find(id).requirement;
  if (requirement.verdict == reports::Verdict::not_assessed && !begun_.contains(id))
    requirement.reason = reason;
}

void Recorder::declare(const std::set<std::string>& capabilities, const std::string& who) {
  for (const auto& entry : list_.entries)
    for (const auto& need : entry.needs)
      if (!capabilities.contains(need))
        exclude(entry.requirement.id, fmt::format("{} does not declare '{}'", who, need));
}

void Recorder::exclude(const std::string& id, const std::string& reason) {
  auto& requirement = find(id).requirement;
  if (requirement.verdict != reports::Verdict::not_assessed || begun_.contains(id)) return;
  requirement.verdict = reports::Verdict::not_applicable;
  requirement.reason = reason;
}

int Recorder::chapter(const std::string& word) const {
  for (const auto& known : list_.chapters)
    if (word == std::to_string(known.number)) return known.number;
  if (const auto found = list_.by_name.find(word); found != list_.by_name.end()) return found->second;
  std::vector<std::string> all;
  for (const auto& known : list_.chapters) {
    all.push_back(std::to_string(known.number));
    for (const auto& [name, number] : list_.by_name)
      if (number == known.number) all.back() += " " + name;
  }
  throw InputError(
      fmt::format("there is no chapter '{}'; there are {}", printable(word, 40), fmt::join(all, ", ")));
}

std::vector<reports::Requirement> Recorder::requirements() const {
  std::vector<reports::Requirement> all;
  for (const auto& entry : list_.entries) {
    all.push_back(entry.requirement);
    if (running_ && entry.requirement.id == current_ && all.back().verdict == reports::Verdict::pass) {
      all.back().verdict = reports::Verdict::error;
      all.back().reason = "its test did not end";
    }
  }
  return all;
}

}  // namespace plumbline
