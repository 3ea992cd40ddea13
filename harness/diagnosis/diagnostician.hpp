// The search for what explains a model that failed.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "harness/catalogue/defect_catalogue.hpp"
#include "harness/diagnosis/hypothesis.hpp"
#include "harness/diagnosis/inquiry.hpp"
#include "harness/model/departures/departures.hpp"
#include "harness/system/work_clock.hpp"

namespace plumbline {

constexpr std::size_t kMostTogether = 3;       // defects that are tried at once
constexpr int kMostLeft = 6;                   // against how many observations that are left a defect is held
constexpr double kFine = 0.03, kCoarse = 0.3;  // steps of logarithms, where a number is read
constexpr double kThird = 1.0 / 3, kHalf = 0.5, kMost = 0.8;  // shares of the time that is left

class Diagnostician {
 public:
  // What a search gets to try does not depend on the machine, or what else that does.
  using Clock = WorkClock;

  Diagnostician(Subject& candidate, double seconds, const std::optional<reports::Localisation>& localisation,
                const std::vector<std::string>& without);

  reports::Diagnosis diagnose();

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

  bool late() const { return Clock::now() >= until_; }

  Explanation weigh(const Names& names);

  Names with_defect(const Names& base, const std::string& more) const;

  // Whether a requirement that failed points to each of these, and something is far off without it.
  bool all_needed(const Names& names);
  // Whether something is far off without this one.
  bool is_needed(const std::string& name, const Names& names);
  bool is_doubtful(const Names& names);

  // The quickest of those that differ and that `names` leave unexplained.
  const Seen* first_unexplained(const Names& names);

  // Those come first, and whatever it takes, of which the catalogue says that a requirement that failed sees
  // them.
  void find_suspects();

  void read_localisation(const std::optional<reports::Localisation>& localisation);

  // By what takes so many seconds to ask or fewer: it would change what does not differ.
  bool contradicted(const Names& names, double seconds);

  void keep_if_it_explains(const Names& names);

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
  void search();

  // Group by group: see search_by_group.cpp.
  enum class Forms { usual, all, pairs };  // each the ones before, too
  void search_by_group(Forms most);
  std::vector<Names> accounts_of_group(const Names& base, Group group, Forms most_forms);
  std::vector<std::pair<int, std::string>> by_likelihood(Group group) const;
  Names without_idle(Names names);
  Names where_they_act(Names names);
  std::vector<Names> confined_away(const Names& base, Group group);
  const Seen* first_unexplained_of(const Names& names, Group group);
  std::vector<Names> additions(const Names& base, const Seen& wrong, Forms forms);
  bool spoilt_by(const Names& names, const Names& base, std::optional<Group> but = {});
  bool explains_everything(const Names& names);
  std::vector<Names> best_accounts(std::vector<Names> accounts);

  // One defect in two parts of a model may be that defect in the whole of it.
  void join_parts();

  // Does this in such a share of the time that is left, where nothing explains everything yet.
  void within(double share, const std::function<void()>& body);

  void add_to_parts();

  // The best of those that are so many together.
  std::vector<Names> parts_of(std::size_t together);

  bool mostly_explained() const;

  // Each defect as it is catalogued, beside `base`, held against the quickest of what that leaves
  // unexplained; where none explains it, against the next.
  void add_one_to(const Names& base, int most_left = kMostLeft);

  // Which defects together make of what each stage is given what the candidate makes of it: found stage by
  // stage, so that one hides no other.
  // `at_once`: how many of one kind of stage.
  void search_within_stages(int at_once);

  // Whether something makes all stages what they are, and spoils nothing that was seen.
  bool explains_all_stages() const;

  // Goes on from `base` until no stage is wrong.
  void explain_stages(const Names& base, int at_once);

  // Of one kind of stage, beside `base`: whether these make it right and spoil no other, whether a defect
  // changes it, which defects do, the forms of one that may be there, and one with a number that is fitted.
  bool explains_stage(const Names& names, const Names& base, const std::string& kind);
  bool changes_stage(const std::string& name, const std::string& kind);
  Names concerned_with_stage(const Names& base, const std::string& kind);
  Names forms_at_stage(const std::string& name, const std::string& kind) const;
  void fitted_to_stage(const Names& beside, const std::string& name, const std::string& kind,
                       const std::function<bool(const Names&)>& explains);

  // `base` with what makes that kind of stage right, and spoils none: defects as catalogued, with another
  // number, in the one layer where it is wrong; with a number that is fitted; two of them at once.
  std::vector<Names> explanations_of_stage(const Names& base, const std::string& kind, int at_once);

  // Beside `base`, the same defects with another number, and in a part of the model alone.
  void try_other_forms(const Names& base);

  // The parts of the model in which it may be alone: layers and modes.
  std::vector<ModelPart> parts_for(const std::string& name) const;

  // Those that are stated and such as are met.
  std::vector<double> likely_numbers(const std::string& name) const;

  // The numbers between which any may be.
  std::vector<double> range_of(const std::string& name) const;

  const Defect& defect_of(const std::string& name) const;

  // Where its stages show that this is wrong by itself in one layer alone, it is that one; where it is in
  // several, it is in none of them alone.
  std::vector<std::int64_t> layers_for(const std::string& name) const;

  void consider_in_time(const Names& names, const Seen& quickest);

  void consider(const Names& names, const Seen& quickest);

  // Any number between those that are met, as the observations have it.
  void fit(const Names& base, const std::string& name);

  // What explains everything has to hold for other tokens, too; and where several do, of more of them, as far
  // as these tell them apart.
  void try_further();

  void try_pairs();

  // Every form of the defects that first show in a stage that is wrong by itself: those of the whole model
  // first, since a layer may be the only one in which it is large enough to be seen.
  Names forms_of_what_is_wrong() const;

  void rank();

  // A model that no weights of the specification fit may run on weights of the shapes that it turned out to
  // have: then what else is wrong shows.
  void diagnose_on_its_own_shapes(reports::Diagnosis& found);

  reports::Basis basis();
  void conclude(reports::Diagnosis& found);

  std::vector<std::string> grouped(const std::vector<std::string>& left) const;
  std::string clauses_of(const Names& names) const;

  Subject& subject_;
  Inquiry inquiry_;
  Clock::duration half_;
  Clock::time_point until_;
  std::vector<Defect> catalogue_;
  Names names_, in_order_;  // what is tried: as catalogued, and as tried
  std::map<std::string, std::size_t> order_;
  std::set<std::string> left_out_, suspected_;
  std::map<std::string, std::set<std::int64_t>>
      wrong_;                     // kinds of stages that are, by themselves, and in which layers
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

}  // namespace plumbline
