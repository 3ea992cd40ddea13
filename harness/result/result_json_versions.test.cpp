#include <catch2/catch_test_macros.hpp>

#include "harness/result/conclusion_of_diagnosis.hpp"
#include "harness/result/contradictions.hpp"
#include "harness/result/examples.test.hpp"
#include "harness/result/result.hpp"
#include "harness/system/error.hpp"
#include "harness/system/json.hpp"

using namespace plumbline::reports;
using plumbline::InputError;
using plumbline::Json;
using plumbline::parse_json;

namespace {

Result read(const std::string& text) {
  return from_json(text, "out/result.json");
}

// As version 2 had it: a check has a sentence and no form.
void without_forms(Json& part) {
  if (part.is_object() && part.contains("worst_index"))
    for (const char* key : {"form", "note", "beyond"}) part.erase(key);
  else if (part.is_object())
    for (const std::string& key : part.keys()) without_forms(part[key]);
  else if (part.is_array())
    for (std::size_t i = 0; i < part.size(); ++i) without_forms(part[i]);
}

// As version 3 had it: what was left out is told by its reason alone, and a diagnosis by its conclusion.
void without_what_4_added(Json& document) {
  for (std::size_t i = 0; i < document["requirements"].size(); ++i)
    document["requirements"][i].erase("left_out");
  for (const char* key : {"not_assessed", "traits", "line"}) document["localisation"].erase(key);
  document["footer"].erase("longest_pass");
  auto& diagnosis = document["diagnosis"];
  for (const char* key : {"outcome", "basis", "words", "raised", "tried", "causes", "fail_together",
                          "not_reproduced", "not_asked", "shapes", "of_shapes", "known"})
    diagnosis.erase(key);
  for (std::size_t i = 0; i < diagnosis["explanations"].size(); ++i)
    for (const char* key : {"what", "open"}) diagnosis["explanations"][i].erase(key);
}

// A result without what a verdict says of causes.
Result without_causes(Result result) {
  result.diagnosis->causes.clear();
  conclude(result);
  return result;
}

}  // namespace

TEST_CASE("what is left out, and what was not localised, are known in documents of version 3") {
  Result result = without_causes(examples::shard(examples::failing(), 2));
  result.requirements[3].verdict = Verdict::not_assessed;
  result.requirements[3].checks.clear();
  result.requirements[3].reason = Reason::not_asked_for();
  result.localisation = Localisation{};
  result.localisation->not_assessed = "its logits are not finite";
  conclude(result);
  Json document = parse_json(to_json(result), "test");
  without_what_4_added(document);
  document["version"] = 3;
  const Result back = read(document.dump());
  for (std::size_t i = 0; i < result.requirements.size(); ++i)
    CHECK(back.requirements[i].reason == result.requirements[i].reason);
  CHECK(back.localisation->not_assessed == "its logits are not finite");
  CHECK(sentence_of(*back.diagnosis) == sentence_of(*result.diagnosis));
  CHECK(read(to_json(back)).diagnosis->outcome == Outcome::recorded);
}

TEST_CASE("documents of versions 1 and 2 are read, and say what they said") {
  const Result result = without_causes(examples::failing());
  for (const int version : {1, 2}) {
    Json document = parse_json(to_json(result), "test");
    document["version"] = version;
    without_forms(document);
    without_what_4_added(document);
    if (version == 1) {
      for (const char* key : {"shard", "waivers", "commit"}) document["header"].erase(key);
      document["footer"].erase("waived");
    }
    const Result back = read(document.dump());
    REQUIRE(back.requirements.size() == result.requirements.size());
    CHECK(back.footer.verdict == result.footer.verdict);
    const Check &before = result.requirements[3].checks[1], &after = back.requirements[3].checks[1];
    CHECK(after.form == Form::recorded);
    CHECK(sentence_of(after) == sentence_of(before));
    CHECK(contradictions(back).empty());
    if (version == 2) continue;
    document["header"]["shard"] = nullptr;
    CHECK_THROWS_AS(read(document.dump()), InputError);
  }
}
