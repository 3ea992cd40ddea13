#include "harness/result/result_json_diagnosis.hpp"

#include <fmt/format.h>

#include <set>

#include "harness/result/conclusion_of_diagnosis.hpp"
#include "harness/result/json_text.hpp"

namespace plumbline::reports {
namespace {

Json texts(const std::vector<std::string>& words) {
  Json all = Json::array();
  for (const auto& one : words) all.push_back(text(one));
  return all;
}

std::vector<std::string> texts_at(const JsonPlace& place) {
  std::vector<std::string> all;
  place.each([&](const JsonPlace& entry) { all.push_back(entry.text()); });
  return all;
}

// What version 4 added; before it the conclusion is what there is.
void read_outcome(const JsonPlace& place, Diagnosis& diagnosis, int version) {
  if (version < 4) {
    diagnosis.outcome = Outcome::recorded;
    diagnosis.words = place.at("conclusion").text();
    return;
  }
  const auto outcome = outcome_of(place.at("outcome").text());
  if (!outcome) place.at("outcome").refuse("is no outcome that this program knows");
  const auto basis = basis_of(place.at("basis").text());
  if (!basis) place.at("basis").refuse("is no basis that this program knows");
  diagnosis.outcome = *outcome;
  diagnosis.basis = *basis;
  diagnosis.words = place.at("words").text();
  diagnosis.raised = place.at("raised").integer<std::int64_t>();
  diagnosis.tried = place.at("tried").integer<std::int64_t>();
  diagnosis.shapes = texts_at(place.at("shapes"));
  diagnosis.of_shapes = place.at("of_shapes").text();
  diagnosis.known = place.at("known").integer<std::int64_t>();
}

Explanation explanation_at(const JsonPlace& entry, const Diagnosis& diagnosis, int version) {
  std::set<std::string> keys = {"defects", "explained", "contradicted", "residual", "complete"};
  if (version > 3) keys.insert({"what", "open"});
  entry.only(keys);
  Explanation one;
  one.defects = texts_at(entry.at("defects"));
  one.explained = entry.at("explained").integer<std::int64_t>();
  one.contradicted = entry.at("contradicted").integer<std::int64_t>();
  one.residual = entry.at("residual").number();
  one.complete = one.explained == diagnosis.differing && one.contradicted == 0;
  if (entry.at("complete").value != one.complete)
    entry.at("complete")
        .refuse(fmt::format("does not follow from the numbers beside it: expected {}", one.complete));
  if (version < 4) return one;
  one.what = entry.at("what").text();
  one.open = texts_at(entry.at("open"));
  return one;
}

void read_causes(const JsonPlace& place, Diagnosis& diagnosis) {
  place.at("causes").each([&](const JsonPlace& entry) {
    entry.only({"defect", "what", "fails"});
    diagnosis.causes.push_back(
        {entry.at("defect").text(), entry.at("what").text(), texts_at(entry.at("fails"))});
  });
  diagnosis.fail_together = texts_at(place.at("fail_together"));
  diagnosis.not_reproduced = texts_at(place.at("not_reproduced"));
  diagnosis.not_asked = texts_at(place.at("not_asked"));
}

}  // namespace

Json diagnosis_json(const Diagnosis& diagnosis) {
  Json explanations = Json::array(), causes = Json::array(), advice = Json::array();
  for (const Explanation& one : diagnosis.explanations) {
    explanations.push_back({{"defects", texts(one.defects)},
                            {"what", text(one.what)},
                            {"explained", one.explained},
                            {"contradicted", one.contradicted},
                            {"residual", json_number(one.residual)},
                            {"complete", one.complete},
                            {"open", texts(one.open)}});
  }
  for (const auto& one : diagnosis.causes)
    causes.push_back({{"defect", text(one.defect)}, {"what", text(one.what)}, {"fails", texts(one.fails)}});
  for (const auto& one : diagnosis.advice)
    advice.push_back({{"defect", text(one.defect)}, {"en", text(one.english)}, {"zh", text(one.chinese)}});
  return {{"outcome", to_string(diagnosis.outcome)},
          {"basis", to_string(diagnosis.basis)},
          {"words", text(diagnosis.words)},
          {"observations", diagnosis.observations},
          {"differing", diagnosis.differing},
          {"raised", diagnosis.raised},
          {"tried", diagnosis.tried},
          {"conclusion", text(sentence_of(diagnosis))},
          {"explanations", std::move(explanations)},
          {"causes", std::move(causes)},
          {"fail_together", texts(diagnosis.fail_together)},
          {"not_reproduced", texts(diagnosis.not_reproduced)},
          {"not_asked", texts(diagnosis.not_asked)},
          {"shapes", texts(diagnosis.shapes)},
          {"of_shapes", text(diagnosis.of_shapes)},
          {"known", diagnosis.known},
          {"undecided", texts(diagnosis.undecided)},
          {"advice", std::move(advice)}};
}

Diagnosis diagnosis_at(const JsonPlace& place, int version) {
  std::set<std::string> keys = {"observations", "differing", "conclusion",
                                "explanations", "undecided", "advice"};
  if (version > 3)
    keys.insert({"outcome", "basis", "words", "raised", "tried", "causes", "fail_together", "not_reproduced",
                 "not_asked", "shapes", "of_shapes", "known"});
  place.only(keys);
  Diagnosis diagnosis;
  read_outcome(place, diagnosis, version);
  diagnosis.observations = place.at("observations").integer<std::int64_t>();
  diagnosis.differing = place.at("differing").integer<std::int64_t>();
  place.at("explanations").each([&](const JsonPlace& entry) {
    diagnosis.explanations.push_back(explanation_at(entry, diagnosis, version));
  });
  if (version > 3) read_causes(place, diagnosis);
  const bool by_explanations =
      diagnosis.outcome == Outcome::explained || diagnosis.outcome == Outcome::nearest;
  if (by_explanations && diagnosis.explanations.empty())
    place.at("outcome").refuse("needs explanations, but there are none");
  diagnosis.undecided = texts_at(place.at("undecided"));
  if (const JsonPlace said = place.at("conclusion"); said.text() != text(sentence_of(diagnosis)))
    said.refuse(fmt::format("is \"{}\", but the recorded findings make it \"{}\"", visible(said.text(), 200),
                            visible(sentence_of(diagnosis), 200)));
  place.at("advice").each([&](const JsonPlace& entry) {
    entry.only({"defect", "en", "zh"});
    diagnosis.advice.push_back({entry.at("defect").text(), entry.at("en").text(), entry.at("zh").text()});
  });
  return diagnosis;
}

}  // namespace plumbline::reports
