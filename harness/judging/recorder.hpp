// From checks to verdicts: what is required, and what has been found about it.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline {

// fixtures/requirements.json: the numbered statements, in the specification's order.
struct RequirementList {
  struct Entry {
    reports::Requirement requirement;  // as yet without a verdict
    std::set<std::string> applicable;  // kinds of candidate that can show it
    std::vector<std::string> needs;    // what one of them has to declare that it can do
  };
  std::vector<reports::Chapter> chapters;
  std::map<std::string, int> by_name;  // of chapters: a word for the command line
  std::vector<Entry> entries;
};

// Errors: InputError naming the file and the entry.
RequirementList read_requirements(const std::filesystem::path& file);

// Collects what the checks of each requirement found. Fails closed: a requirement that no check was begun for
// is not assessed, one whose checks compared nothing is an error.
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
  // A picture of what the requirement has seen; its `requirement` is set here.
  void show(reports::Plot plot);
  const reports::Requirement& end(double seconds);

  // A requirement that will not be looked at, and why: it stays not assessed.
  void leave_out(const std::string& id, const reports::Reason& reason);
  // What the candidate declares that it can do: requirements that need more become not applicable.
  void declare(const std::set<std::string>& capabilities, const std::string& who = "the candidate");
  // A requirement that this run can never show, and why: it becomes not applicable.
  void exclude(const std::string& id, const std::string& reason);

  const std::vector<reports::Chapter>& chapters() const { return list_.chapters; }
  // A chapter's number, from that or its name. Errors: InputError with those that there are.
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
  bool running_ = false;           // between begin and end
  std::size_t checks_before_ = 0;  // that the requirement had when its running test began
};

}  // namespace plumbline
