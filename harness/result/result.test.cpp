#include "harness/result/result.hpp"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>

#include "harness/result/examples.test.hpp"
#include "harness/result/words.hpp"

using namespace std::string_literals;
using namespace plumbline::reports;
using examples::requirement;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

Result of(std::vector<Requirement> requirements) {
  Result result = examples::passing();
  result.requirements = std::move(requirements);
  conclude(result);
  return result;
}

Requirement passed() {
  return requirement("A-1", 1, "it holds", Verdict::pass);
}

}  // namespace

TEST_CASE("a verdict and a level have one name each") {
  CHECK(to_string(Verdict::pass) == "pass");
  CHECK(to_string(Verdict::fail) == "fail");
  CHECK(to_string(Verdict::error) == "error");
  CHECK(to_string(Verdict::not_assessed) == "not assessed");
  CHECK(to_string(Verdict::not_applicable) == "not applicable");
  CHECK(to_string(Level::must) == "must");
  CHECK(to_string(Level::should) == "should");
}

TEST_CASE("the status is the worst of the musts, and a failure wins") {
  const auto status = [](std::vector<Verdict> verdicts) {
    std::vector<Requirement> requirements;
    for (const Verdict verdict : verdicts) {
      requirements.push_back(requirement("A-" + std::to_string(requirements.size()), 1, "it holds", verdict));
    }
    return of(requirements).footer.status;
  };
  using enum Verdict;
  CHECK(status({pass}) == 0);
  CHECK(status({pass, not_applicable}) == 0);
  CHECK(status({pass, not_assessed}) == 3);
  CHECK(status({pass, not_assessed, error}) == 2);
  CHECK(status({pass, not_assessed, error, fail}) == 1);
  CHECK(status({fail}) == 1);
  CHECK(status({error}) == 2);
  CHECK(status({}) == 3);
  CHECK(status({not_applicable}) == 3);
}

TEST_CASE("a should is counted and never decides") {
  for (const Verdict verdict : {Verdict::fail, Verdict::error, Verdict::not_assessed}) {
    Requirement should = requirement("A-2", 1, "it may hold", verdict);
    should.level = Level::should;
    CHECK(of({passed(), should}).footer.status == 0);
    CHECK(of({should}).footer.status == 3);
  }
  Requirement should = passed();
  should.level = Level::should;
  CHECK(of({should}).footer.status == 3);
}

TEST_CASE("the footer counts requirements and elements, and keeps its time") {
  const Footer footer = examples::failing().footer;
  CHECK(footer.passed == 3);
  CHECK(footer.failed == 1);
  CHECK(footer.errors == 1);
  CHECK(footer.not_assessed == 0);
  CHECK(footer.not_applicable == 1);
  CHECK(footer.elements_compared == 4 * 64 + 5 * 8192);
  CHECK(footer.seconds == 0.5);
}

TEST_CASE("a count of elements too large for its type stays at the largest") {
  Requirement one = passed();
  one.checks[0].elements = std::numeric_limits<std::int64_t>::max();
  one.checks.push_back(one.checks[0]);
  CHECK(of({one}).footer.elements_compared == std::numeric_limits<std::int64_t>::max());
}

TEST_CASE("a pass that its evidence does not bear out is an error") {
  const auto reason = [](auto spoil) {
    Requirement one = passed();
    spoil(one);
    const Result result = of({one});
    CHECK(result.requirements[0].verdict == Verdict::error);
    CHECK(result.footer.status == 2);
    CHECK(result.footer.errors == 1);
    return sentence_of(result.requirements[0].reason);
  };
  CHECK(reason([](Requirement& one) { one.checks.clear(); }) ==
        "recorded as passed, but nothing was compared");
  CHECK(reason([](Requirement& one) { one.checks[0].elements = 0; }) ==
        "recorded as passed, but value compared no elements");
  CHECK(reason([](Requirement& one) { one.checks[0].elements = -1; }) ==
        "recorded as passed, but value compared no elements");
  CHECK(reason([](Requirement& one) { one.checks[0].within = false; }) ==
        "recorded as passed, but value is not within its tolerance");
  CHECK(reason([](Requirement& one) { one.checks[0].worst_difference = not_a_number; }) ==
        "recorded as passed, but value is within its tolerance with a worst difference of nan");
  CHECK(reason([](Requirement& one) { one.checks[0].worst_difference = infinity; }) ==
        "recorded as passed, but value is within its tolerance with a worst difference of inf");
  CHECK(reason([](Requirement& one) { one.checks[0].worst_difference = -1; }) ==
        "recorded as passed, but value is within its tolerance with a worst difference of -1");
  CHECK(reason([](Requirement& one) { one.checks[0].tolerance = infinity; }) ==
        "recorded as passed, but value has a tolerance of inf");
  CHECK(reason([](Requirement& one) { one.checks[0].tolerance = not_a_number; }) ==
        "recorded as passed, but value has a tolerance of nan");
}

TEST_CASE("one unsound check among sound ones spoils the pass") {
  Requirement one = passed();
  one.checks.push_back(examples::exact("second", "1", 0));
  CHECK(of({one}).requirements[0].reason == "recorded as passed, but second compared no elements");
}

TEST_CASE("a requirement recorded twice has not passed twice, and a failure stays one") {
  CHECK(of({passed(), passed()}).footer.status == 2);
  Requirement failed = passed();
  failed.verdict = Verdict::fail;
  CHECK(of({failed, passed()}).footer.status == 1);
  CHECK(of({passed(), failed}).footer.status == 1);
}

TEST_CASE("what was not looked at has a reason, if only that none was recorded") {
  Requirement one = requirement("A-2", 1, "it holds", Verdict::not_assessed);
  one.reason = {};
  CHECK(of({passed(), one}).requirements[1].reason == "no reason was recorded");
}

TEST_CASE("the verdict is one sentence, and says what was not judged") {
  const auto verdict = [](const std::string& kind, std::vector<Requirement> requirements) {
    Result result = examples::passing();
    result.header.candidate_kind = kind;
    result.requirements = std::move(requirements);
    conclude(result);
    return result.footer.verdict;
  };
  CHECK(verdict("reference", {passed()}) == "the model conforms to minimind2-small: 1 requirement passed");
  CHECK(verdict("checkpoint", {passed()}) ==
        "the weights and configuration conform to minimind2-small; the code that runs them was not judged");
  CHECK(verdict("state_dict", {passed()}) ==
        "the weights conform to minimind2-small; neither a configuration nor the code that runs them was "
        "judged");
  Requirement should = requirement("A-9", 1, "it may hold", Verdict::fail);
  should.level = Level::should;
  CHECK(verdict("reference", {passed(), should}) ==
        "the model conforms to minimind2-small: 1 requirement passed (1 recommendation not met)");
  const Requirement failed = requirement("CFG-3", 1, "8 layers", Verdict::fail);
  CHECK(verdict("checkpoint", {passed(), failed}) ==
        "the checkpoint does not conform to minimind2-small: 1 of 2 mandatory requirements failed, first "
        "CFG-3, which requires that 8 layers");
  CHECK(verdict("reference", {passed(), requirement("A-2", 1, "it holds", Verdict::error)}) ==
        "the model could not be judged: 1 of 2 mandatory requirements had no usable evidence, first A-2: it "
        "holds "
        "(golden/tiny.h5 has no tensor layers.3.scores)");
  CHECK(verdict("reference", {passed(), requirement("A-2", 1, "it holds", Verdict::not_assessed)}) ==
        "incomplete: nothing failed, but 1 applicable must was not assessed, first A-2: it holds (the "
        "candidate shows "
        "no stage scores)");
  CHECK(verdict("reference", {}) == "incomplete: nothing failed, but nothing was looked at");
}

TEST_CASE("of two that are compared the sentence says how far they are the same") {
  const auto verdict = [](std::vector<Requirement> requirements, std::vector<std::optional<bool>> identical) {
    Result result = examples::passing();
    result.header.candidate = "after.py";
    result.header.baseline = {"before.h5", "live", ""};
    for (std::size_t i = 0; i < requirements.size(); ++i)
      for (Check& check : requirements[i].checks) check.identical = identical[i];
    result.requirements = std::move(requirements);
    conclude(result);
    return std::pair{result.footer.status, result.footer.verdict};
  };
  const auto of = [](const std::string& id, int chapter, Verdict found) {
    return requirement(id, chapter, "the same logits", found);
  };
  CHECK(
      verdict({of("SAME-5", 2, Verdict::pass)}, {true}) ==
      std::pair{
          0,
          "no difference: after.py does what before.h5 does, bit for bit in everything that was compared"s});
  CHECK(verdict({of("SAME-5", 2, Verdict::pass), of("SAME-6", 2, Verdict::pass)}, {true, false}) ==
        std::pair{0,
                  "no difference beyond rounding: after.py does what before.h5 does; 1 of 2 tensors are the "
                  "same bit for "
                  "bit"s});
  CHECK(verdict({of("SAME-3", 1, Verdict::pass)}, {true}) ==
        std::pair{0, "no difference: after.py holds what before.h5 holds; no code was run"s});
  CHECK(
      verdict({of("SAME-2", 1, Verdict::pass)}, {{}}) ==
      std::pair{
          0,
          "no difference in what after.py and before.h5 declare; weights were not compared, and no code was run"s});
  CHECK(verdict({of("SAME-5", 2, Verdict::pass), of("SAME-6", 2, Verdict::fail)}, {true, false}) ==
        std::pair{1,
                  "a difference: after.py does not do what before.h5 does: 1 of 2 comparisons failed, first "
                  "SAME-6, which requires that the same logits"s});
  CHECK(verdict({of("SAME-5", 2, Verdict::pass), of("SAME-6", 2, Verdict::error)}, {true, {}}) ==
        std::pair{2,
                  "not compared: after.py and before.h5: 1 of 2 comparisons had no usable evidence, "
                  "first SAME-6: "
                  "the same logits (golden/tiny.h5 has no tensor layers.3.scores)"s});
  CHECK(verdict({of("SAME-5", 2, Verdict::pass), of("SAME-6", 2, Verdict::not_assessed)}, {true, {}}) ==
        std::pair{3,
                  "incomplete: no difference was found, but 1 of 2 comparisons could not be made, first "
                  "SAME-6: the same "
                  "logits (the candidate shows no stage scores)"s});
  CHECK(verdict({}, {}) == std::pair{3, "incomplete: no difference was found, but nothing was compared"s});
}

TEST_CASE("a run of some chapters never conforms, and says what it looked at") {
  Result result = examples::passing();
  for (Requirement& one : result.requirements) {
    if (one.chapter == 3) continue;
    one = requirement(one.id, one.chapter, one.statement, Verdict::not_assessed);
    one.reason = Reason::not_asked_for();
  }
  const auto verdict = [&](const std::string& scope) {
    result.header.scope = scope;
    conclude(result);
    CHECK(result.footer.status == 3);
    return result.footer.verdict;
  };
  CHECK(verdict("3") == "chapter 3 holds; the rest was not looked at");
  CHECK(verdict("3,5") == "chapters 3 and 5 hold; the rest was not looked at");
  CHECK(verdict("3, 5, 6") == "chapters 3, 5 and 6 hold; the rest was not looked at");
  CHECK(verdict("chapter 3") == "chapter 3 holds; the rest was not looked at");
  result.requirements[3] = requirement("GQA-2", 3, "it holds", Verdict::not_assessed);
  CHECK(verdict("3") ==
        "incomplete: nothing failed, but 1 applicable must was not assessed, first GQA-2: it holds (the "
        "candidate "
        "shows no stage scores); only chapter 3 was asked for");
  result.requirements[3] = requirement("GQA-2", 3, "it holds", Verdict::fail);
  conclude(result);
  CHECK(result.footer.verdict ==
        "the model does not conform to minimind2-small: 1 of 2 mandatory requirements failed, first GQA-2, "
        "which requires that it holds");
}

TEST_CASE("a failure that somebody answers for does not decide, until the waiver expires") {
  const Result waived = examples::waived("2026-11-22");
  CHECK(waived.footer.status == 0);
  CHECK(waived.footer.failed == 1);
  CHECK(waived.footer.waived == 1);
  CHECK(waived.footer.verdict ==
        "the model conforms to minimind2-small but for 1 waived requirement: GQA-2 (waived by Ada until "
        "2026-11-22: an older kernel); 3 requirements passed");
  const Result expired = examples::waived("2026-11-21");
  CHECK(expired.footer.status == 1);
  CHECK(expired.footer.waived == 0);
  CHECK(expired.footer.verdict ==
        "the model does not conform to minimind2-small: 1 of 4 mandatory requirements failed, first GQA-2, "
        "which requires that query head h reads key/value head h div 4; 1 waiver expired: GQA-2 (by Ada "
        "until 2026-11-21)");
  Result second = waived;
  second.requirements[0] = requirement("CFG-1", 1, "6400 entries", Verdict::fail);
  conclude(second);
  CHECK(second.footer.status == 1);
  CHECK(second.footer.verdict ==
        "the model does not conform to minimind2-small: 1 of 4 mandatory requirements failed, first CFG-1, "
        "which requires that 6400 entries; "
        "beside 1 waived requirement: GQA-2 (waived by Ada until 2026-11-22: an older kernel)");
}

TEST_CASE("a waiver covers a failure and nothing else") {
  const auto with = [](Verdict verdict) {
    Result result = examples::waived();
    result.requirements[3] = requirement("GQA-2", 3, "it holds", verdict);
    conclude(result);
    return result.footer;
  };
  CHECK(with(Verdict::error).status == 2);
  CHECK(with(Verdict::not_assessed).status == 3);
  for (const Verdict verdict : {Verdict::pass, Verdict::not_applicable}) {
    CHECK(with(verdict).status == 2);
    CHECK(with(verdict).verdict ==
          "the waivers are wrong: GQA-2 is waived but did not fail; remove this waiver and run verify again");
  }
  for (const Verdict verdict : {Verdict::error, Verdict::not_assessed, Verdict::pass})
    CHECK(with(verdict).waived == 0);
  for (const char* started : {"", "0000-00-00T00:00:00Z", "long ago"}) {
    Result undated = examples::waived();
    undated.header.started = started;
    conclude(undated);
    CHECK(undated.footer.status == 1);
  }
  Result all = examples::waived();
  all.requirements = {all.requirements[3]};
  conclude(all);
  CHECK(all.footer.status == 3);
  Result pair = examples::waived();
  pair.header.baseline = {"before.h5", "live", ""};
  pair.requirements[3] = requirement("GQA-2", 3, "it holds", Verdict::pass);
  conclude(pair);
  CHECK(pair.footer.status == 2);
}

TEST_CASE("one shard of several never conforms by itself, and fails where something failed") {
  const Result passing = examples::shard(examples::passing(), 2);
  CHECK(passing.footer.status == 3);
  CHECK(passing.footer.verdict ==
        "incomplete: shard 2 of 2 holds; `plumbline report merge` joins it with the other shards");
  Result whole = examples::passing();
  whole.header.shard = {1, 1};
  conclude(whole);
  CHECK(whole.footer.status == 3);
  CHECK(
      examples::shard(examples::passing(), 5, 5).footer.verdict ==
      "incomplete: shard 5 of 5 looked at nothing; `plumbline report merge` joins it with the other shards");
  CHECK(examples::shard(examples::waived("2026-01-01"), 2).footer.status == 1);
  Result open = examples::passing();
  open.requirements[1] = requirement("CFG-2", 1, "it holds", Verdict::not_assessed);
  CHECK(examples::shard(open, 2).footer.verdict ==
        "incomplete: nothing failed in shard 2 of 2, but 1 applicable must was not assessed, first CFG-2: it "
        "holds (the candidate shows no stage scores)");
  Result foreign = examples::shard(examples::passing(), 2);
  foreign.requirements[0].reason = "the candidate shows no stage scores";
  conclude(foreign);
  CHECK(foreign.footer.verdict.find("1 applicable must was not assessed") != std::string::npos);
}

TEST_CASE("a requirement of a chapter that nobody declared is still shown") {
  Result result = examples::passing();
  result.requirements.push_back(requirement("X-1", 9, "it holds", Verdict::pass));
  const auto found = sections(result);
  REQUIRE(found.size() == 3);
  CHECK(heading(found[2].chapter) == "chapter 9");
  CHECK(found[2].requirements.size() == 1);
}

TEST_CASE("a check is told in its form, with the tolerance's reason once") {
  Check check = examples::wrong("logits");
  CHECK(sentence_of(check) ==
        "logits[0,3,7,2]: got 0.1931, expected 0.1934 (off by 3.000e-04, allowed 2.000e-06: float32 sum of "
        "64); 5 of 8192 elements are off");
  check.of_two = true;
  check.note = "in bfloat16 before";
  CHECK(sentence_of(check).starts_with("logits[0,3,7,2]: now 0.1931, before 0.1934 (off by"));
  CHECK(sentence_of(check).ends_with("elements are off (in bfloat16 before)"));
  check.form = Form::whole;
  check.note.clear();
  CHECK(sentence_of(check) ==
        "logits: off by 3.000e-04 on the whole, the root mean square of 8192 elements, allowed 2.000e-06: "
        "float32 sum of 64");
  check.form = Form::same_bits;
  CHECK(sentence_of(check) == "logits: the same bits");
  check.form = Form::finite;
  CHECK(sentence_of(check) ==
        "logits[0,3,7,2]: now 0.1931, before 0.1934; 5 of 8192 elements are not (float32 sum of 64)");
  CHECK(sentence_of(nothing_compared("logits", "it raised an error")) == "logits: it raised an error");
}

TEST_CASE("large counts have their thousands apart") {
  CHECK(counted(0, "element") == "0 elements");
  CHECK(counted(1, "element") == "1 element");
  CHECK(counted(999, "element") == "999 elements");
  CHECK(counted(25829888, "parameter") == "25,829,888 parameters");
  CHECK(counted(-1000, "element") == "-1,000 elements");
}
