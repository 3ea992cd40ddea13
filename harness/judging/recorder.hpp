// Turns the results of checks into verdicts on requirements.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/catalogue/requirement_list.hpp"
#include "harness/result/result.hpp"

namespace plumbline {

// Collects the results of each requirement's checks. Fails closed: a requirement without a check is not
// assessed, one whose checks compared nothing is an error.
class Recorder {
 public:
  Recorder(RequirementList list, const std::string& candidate_kind);

  bool knows(const std::string& id) const;
  bool applicable(const std::string& id) const;

  // Between begin and end, add and the reasons concern the requirement `id`. Several tests may share one.
  void begin(const std::string& id);
  void add(reports::Check check);
  void not_assessed(const std::string& reason);
  void error(const std::string& reason);
  void finding(const std::string& text);
  // Adds a plot to the current requirement; sets plot.requirement.
  void add_plot(reports::Plot plot);
  const reports::Requirement& end(double seconds);

  // Notes that the candidate ran a pass of `tokens` tokens, or as many through its cache.
  void note_pass(std::int64_t tokens) { longest_pass_ = std::max(longest_pass_, tokens); }
  std::int64_t longest_pass() const { return longest_pass_; }  // in tokens; 0: nothing was run

  // Records why a requirement is not judged in this run: it stays not assessed.
  void skip(const std::string& id, const reports::Reason& reason);
  // Makes requirements not applicable that need more than these capabilities.
  void declare(const std::set<std::string>& capabilities, const std::string& who = "the candidate");
  // Makes a requirement not applicable, with the reason.
  void exclude(const std::string& id, const std::string& reason);

  const std::vector<reports::Chapter>& chapters() const { return list_.chapters; }
  // A chapter's number, from its number or name. Errors: InputError listing the chapters.
  int chapter(const std::string& number_or_name) const;
  std::vector<reports::Requirement> requirements() const;
  const std::vector<reports::Plot>& plots() const { return plots_; }

 private:
  RequirementList::Entry& find(const std::string& id);
  RequirementList list_;
  std::string kind_;
  std::set<std::string> begun_;
  std::vector<reports::Plot> plots_;
  std::string current_;
  std::int64_t longest_pass_ = 0;
  bool running_ = false;           // between begin and end
  std::size_t checks_before_ = 0;  // of the current requirement, when begin() was called
};

}  // namespace plumbline
