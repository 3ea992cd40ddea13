#include "harness/diagnosis/reproduction.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>

#include "harness/candidate/reference.hpp"
#include "harness/system/work_clock.hpp"

using namespace plumbline;
using reports::Outcome;

namespace {

const std::filesystem::path kFixtures = PLUMBLINE_SOURCE_DIR "/fixtures";

reports::Check check(const std::string& what, bool within) {
  reports::Check made;
  made.form = reports::Form::difference;
  made.what = what;
  made.within = within;
  made.elements = 3;
  made.tolerance = 1e-3;
  made.worst_difference = within ? 0 : 1;
  return made;
}

using Ids = std::vector<std::string>;
using Checks = std::map<std::string, std::vector<reports::Check>>;

reports::Requirement record(Recorder& recorder, const std::string& id, const Checks& checks) {
  recorder.begin(id);
  for (const auto& one : checks.at(id)) recorder.add(one);
  return recorder.end(0.1);
}

// What becomes of an explanation of a model that fails `seen`, where `judge` says what the reference with its
// causes shows.
reports::Diagnosis held_to(const Checks& seen, const JudgeOne& judge, const std::vector<std::string>& causes,
                           double seconds = 10, const std::vector<Ids>& alternatives = {}) {
  const auto specification = find_specification("tiny", kFixtures / "specifications");
  const auto candidate = make_reference("candidate", {specification, {}}, at::kFloat, at::kCPU);
  Recorder recorder(read_requirements(kFixtures / "requirements.json"), "reference");
  Subject subject(*candidate, specification, std::nullopt, kFixtures, recorder);
  for (const auto& [id, checks] : seen) record(recorder, id, seen);
  reports::Diagnosis found;
  found.outcome = Outcome::explained;
  found.observations = found.differing = 4;
  for (const auto& cause : causes) found.causes.push_back({cause, "what it is", {}});
  found.explanations = {{causes, 4, 0, 0.5, true, "what it is", {}}};
  for (const auto& names : alternatives)
    found.explanations.push_back({names, 4, 0, 0.5, true, "what it is", {}});
  attribute_failures(subject, found, seconds, judge);
  return found;
}

// The same of one cause, with which the reference shows `departed`.
reports::Diagnosis held_to(const Checks& seen, const Checks& departed) {
  return held_to(
      seen, [&](Subject& other, const std::string& id) { return record(other.recorder(), id, departed); },
      {"mask-without-padding"});
}

// The reference fails with all causes, and passes with each alone.
JudgeOne fails_with_all(double seconds = 0) {
  return [seconds, all = static_cast<Subject*>(nullptr)](Subject& other, const std::string& id) mutable {
    if (all == nullptr) all = &other;
    WorkClock::add(std::chrono::duration<double>(seconds));
    return record(other.recorder(), id, {{id, {check("loss", all != &other)}}});
  };
}

}  // namespace

TEST_CASE("reproduction: failures that the causes fail, too, stand beside them",
          "[diagnosis][reproduction]") {
  const Checks seen{{"MODE-6", {check("left", false)}},
                    {"MODE-8", {check("decoded", false), check("chunks", true)}}};
  const auto found = held_to(seen, seen);
  CHECK(found.outcome == Outcome::explained);
  CHECK(found.causes[0].fails == Ids{"MODE-6", "MODE-8"});
  CHECK(found.not_reproduced.empty());
  CHECK(found.explanations[0].complete);
}

TEST_CASE("reproduction: nothing is explained while a failed must is not reproduced",
          "[diagnosis][reproduction]") {
  const Checks seen{{"MODE-6", {check("left", false)}},
                    {"NUM-7", {check("left", false), check("right", false)}}};
  for (const auto& numbers :
       {std::vector{check("left", false), check("right", true)}, std::vector{check("left", true)}}) {
    const auto found = held_to(seen, {{"MODE-6", {check("left", false)}}, {"NUM-7", numbers}});
    CHECK(found.outcome == Outcome::nearest);
    CHECK(found.not_reproduced == Ids{"NUM-7"});
    CHECK(found.causes[0].fails == Ids{"MODE-6"});
    CHECK_FALSE(found.explanations[0].complete);
    CHECK(found.explanations[0].open == Ids{"NUM-7, which this reproduces in part at most"});
    CHECK(found.differing == 5);
  }
  // Another stage may do what the causes do.
  const auto elsewhere = held_to({{"NUM-4", {check("layers.0.q_rotated (evaluation)", false)}}},
                                 {{"NUM-4", {check("layers.0.q_rotated (evaluation)", true)}}});
  CHECK(elsewhere.outcome == Outcome::explained);
  CHECK(elsewhere.not_asked == Ids{"NUM-4"});
  // Near the tolerance rounding decides.
  auto near = check("right", false);
  near.worst_difference = 2e-3;
  const auto found = held_to({{"NUM-7", {check("left", false), near}}},
                             {{"NUM-7", {check("left", false), check("right", true)}}});
  CHECK(found.outcome == Outcome::explained);
}

TEST_CASE("reproduction: of several explanations the one that reproduces each failed must stands",
          "[diagnosis][reproduction]") {
  const Checks seen{{"MODE-6", {check("left", false)}}};
  const Ids one{"mask-without-padding"}, other{"mask-padding-inverted"};
  // The reference with the first of those that are asked, or with the others, passes what failed.
  const auto alternatives = [&](bool first_fails, bool second_fails) {
    std::vector<const Subject*> asked;
    return held_to(seen,
                   [&, asked](Subject& of, const std::string& id) mutable {
                     if (std::find(asked.begin(), asked.end(), &of) == asked.end()) asked.push_back(&of);
                     const bool fails = asked.front() == &of ? first_fails : second_fails;
                     return record(of.recorder(), id, {{id, {check("left", !fails)}}});
                   },
                   one, 10, {other});
  };
  const auto second = alternatives(false, true);
  REQUIRE(second.explanations.size() == 1);
  CHECK(second.explanations[0].defects == other);
  REQUIRE(second.causes.size() == 1);
  CHECK(second.causes[0].defect == other[0]);
  REQUIRE(second.advice.size() == 1);
  CHECK(second.advice[0].defect == other[0]);
  CHECK(second.outcome == Outcome::explained);
  const auto first = alternatives(true, false);
  REQUIRE(first.explanations.size() == 1);
  CHECK(first.explanations[0].defects == one);
  CHECK(alternatives(true, true).explanations.size() == 2);
  const auto beside_impossible =
      held_to(seen, [&](Subject& of, const std::string& id) { return record(of.recorder(), id, seen); }, one,
              10, {{"width-768=7"}});
  CHECK(beside_impossible.causes[0].fails == Ids{"MODE-6"});
  CHECK(beside_impossible.not_asked.empty());
  const auto neither = alternatives(false, false);
  CHECK(neither.explanations.size() == 2);
  CHECK(neither.outcome == Outcome::nearest);
}

TEST_CASE("reproduction: what the catalogue says of a defect holds where it is as catalogued alone",
          "[diagnosis][reproduction]") {
  const Checks seen{{"TRN-7", {check("loss", false)}}};
  const auto whole = held_to(seen, fails_with_all(), {"mask-none", "loss-sum"});
  CHECK(whole.causes[0].fails == Ids{"TRN-7"});
  const auto confined = held_to(seen, fails_with_all(), {"mask-none@evaluation", "loss-sum"});
  CHECK(confined.causes[0].fails.empty());
  CHECK(confined.fail_together == Ids{"TRN-7"});
}

TEST_CASE("reproduction: what could not be asked is said, and takes nothing away",
          "[diagnosis][reproduction]") {
  const Checks seen{{"TRN-7", {check("loss", false)}}};
  const std::vector<std::string> causes{"mask-none@evaluation", "loss-sum"};
  const auto none = held_to(seen, fails_with_all(), causes, 0);
  const auto not_alone = held_to(seen, fails_with_all(0.1), causes, 0.05);
  const auto impossible = held_to(seen, fails_with_all(), {"width-768=7", "loss-sum"});
  for (const auto& found : {none, not_alone, impossible}) {
    CHECK(found.outcome == Outcome::explained);
    CHECK(found.not_asked == Ids{"TRN-7"});
    CHECK(found.fail_together.empty());
  }
}
