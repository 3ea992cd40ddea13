#include <algorithm>
#include <cmath>
#include <string_view>

#include "harness/result/conclusion_of_stages.hpp"
#include "harness/result/json_text.hpp"
#include "harness/result/result.hpp"
#include "harness/result/result_json_diagnosis.hpp"
#include "harness/result/sentences.hpp"
#include "harness/system/visible.hpp"

namespace plumbline::reports {
namespace {

Json of(const std::optional<Baseline>& baseline) {
  if (!baseline) return nullptr;
  Json said = {
      {"name", text(baseline->name)}, {"kind", text(baseline->kind)}, {"sha256", text(baseline->sha256)}};
  Json alone = Json::array();
  for (const std::string& sentence : baseline->alone) alone.push_back(text(sentence));
  if (!baseline->alone.empty()) said["alone"] = std::move(alone);
  return said;
}

Json of(const std::optional<Shard>& shard) {
  if (!shard) return nullptr;
  return {{"index", shard->index}, {"of", shard->of}};
}

Json of(const std::optional<Commit>& commit) {
  if (!commit) return nullptr;
  return {{"id", text(commit->id)}, {"clean", commit->clean}};
}

Json of(const std::vector<Waiver>& waivers) {
  Json list = Json::array();
  for (const Waiver& waiver : waivers)
    list.push_back({{"requirement", text(waiver.requirement)},
                    {"reason", text(waiver.reason)},
                    {"who", text(waiver.who)},
                    {"expires", text(waiver.expires)}});
  return list;
}

Json of(const Header& header) {
  Json notes = Json::array();
  for (const std::string& note : header.notes) notes.push_back(text(note));
  Json versions = Json::array();
  for (const auto& [name, version] : header.versions)
    versions.push_back({{"name", text(name)}, {"version", text(version)}});
  return {{"plumbline_version", text(header.plumbline_version)},
          {"specification", text(header.specification)},
          {"specification_sha256", text(header.specification_sha256)},
          {"candidate", text(header.candidate)},
          {"candidate_kind", text(header.candidate_kind)},
          {"candidate_sha256", text(header.candidate_sha256)},
          {"baseline", of(header.baseline)},
          {"notes", std::move(notes)},
          {"device", text(header.device)},
          {"dtype", text(header.dtype)},
          {"threads", header.threads},
          {"seed", header.seed},
          {"versions", std::move(versions)},
          {"started", text(header.started)},
          {"command", text(header.command)},
          {"scope", text(header.scope)},
          {"shard", of(header.shard)},
          {"waivers", of(header.waivers)},
          {"commit", of(header.commit)}};
}

// The sentence is made of texts as the document keeps them, so that whoever reads it makes the same.
Json of(const Check& whole) {
  auto check = whole;
  for (auto* words : {&check.what, &check.expected, &check.actual, &check.note, &check.tolerance_reason})
    *words = text(*words);
  return {{"within", check.within},
          {"form", to_string(check.form)},
          {"what", text(check.what)},
          {"expected", text(check.expected)},
          {"actual", text(check.actual)},
          {"note", text(check.note)},
          {"sentence", text(sentence_of(check))},
          {"elements", check.elements},
          {"beyond", check.beyond},
          {"worst_difference", json_number(check.worst_difference)},
          {"tolerance", json_number(check.tolerance)},
          {"tolerance_reason", text(check.tolerance_reason)},
          {"worst_index", Json(check.worst_index)},
          {"identical", check.identical ? Json(*check.identical) : Json(nullptr)}};
}

// What the run was not asked for, apart from what it could not tell.
Json left_out(const Reason& reason) {
  return reason.kind == Reason::Kind::outside_only    ? Json("only")
         : reason.kind == Reason::Kind::outside_shard ? Json("shard")
                                                      : Json(nullptr);
}

Json of(const Requirement& requirement) {
  Json checks = Json::array();
  for (const Check& check : requirement.checks) checks.push_back(of(check));
  return {{"id", text(requirement.id)},
          {"chapter", requirement.chapter},
          {"statement", text(requirement.statement)},
          {"level", to_string(requirement.level)},
          {"source", text(requirement.source)},
          {"verdict", to_string(requirement.verdict)},
          {"reason", text(sentence_of(requirement.reason))},
          {"left_out", left_out(requirement.reason)},
          {"finding", text(requirement.finding)},
          {"seconds", json_number(requirement.seconds)},
          {"checks", std::move(checks)}};
}

Json of(const std::optional<Check>& check) {
  return check ? of(*check) : Json(nullptr);
}

Json name_of(const StageErrors* stage) {
  return stage == nullptr ? Json(nullptr) : Json(text(to_string(stage->stage)));
}

Json traits_of(const Localisation& localisation) {
  Json all = Json::array();
  for (const Trait& one : localisation.traits) {
    Json numbers = Json::array();
    for (const double number : one.numbers) numbers.push_back(json_number(number));
    all.push_back({{"kind", to_string(one.kind)}, {"axis", text(one.axis)}, {"numbers", std::move(numbers)}});
  }
  return all;
}

Json localisation_of(const Result& result) {
  const Localisation& localisation = *result.localisation;
  Json stages = Json::array(), situations = Json::array();
  for (const StageErrors& one : localisation.stages)
    stages.push_back(
        {{"stage", text(to_string(one.stage))}, {"inherited", of(one.inherited)}, {"local", of(one.local)}});
  for (const Situation& one : localisation.situations)
    situations.push_back({{"name", text(one.name)}, {"check", of(one.check)}});
  const auto& line = localisation.line;
  return {{"mode", text(localisation.mode)},
          {"first_divergent", name_of(first_divergent(localisation))},
          {"first_locally_wrong", name_of(first_locally_wrong(localisation))},
          {"not_assessed", text(localisation.not_assessed)},
          {"traits", traits_of(localisation)},
          {"line", line ? Json{{"where", text(line->where)}, {"code", text(line->code)}} : Json(nullptr)},
          {"conclusion", text(conclusion_of(result))},
          {"stages", std::move(stages)},
          {"situations", std::move(situations)}};
}

template <typename Items, typename Use>
Json first_of(const Items& items, std::size_t most, Use use) {
  Json array = Json::array();
  for (std::size_t i = 0; i < std::min(items.size(), most); ++i) array.push_back(use(items[i]));
  return array;
}

Json of(const Series& series) {
  const std::size_t count = std::min(series.x.size(), series.y.size());
  const std::size_t kept = std::min(count, most_points);
  const auto even = [&](const std::vector<double>& values) {
    Json array = Json::array();
    for (std::size_t i = 0; i < kept; ++i)
      array.push_back(json_number(values[kept < count ? i * (count - 1) / (kept - 1) : i]));
    return array;
  };
  Json object = {{"name", text(series.name)}, {"x", even(series.x)}, {"y", even(series.y)}};
  if (series.low.size() >= count && series.high.size() >= count && count > 0) {
    object["low"] = even(series.low);
    object["high"] = even(series.high);
  }
  return object;
}

Json of(const Plot& plot) {
  return {{"requirement", text(plot.requirement)},
          {"title", text(plot.title)},
          {"x_name", text(plot.x_name)},
          {"y_name", text(plot.y_name)},
          {"log_x", plot.log_x},
          {"log_y", plot.log_y},
          {"series", first_of(plot.series, most_series, [](const Series& one) { return of(one); })},
          {"bounds", first_of(plot.bounds, most_series, [](const auto& bound) {
             return Json{{"name", text(bound.first)}, {"value", json_number(bound.second)}};
           })}};
}

Json of(const Matrix& matrix) {
  const auto name = [](const std::string& one) { return text(one); };
  const std::size_t rows = std::min(matrix.rows.size(), matrix.values.size());
  Json values = Json::array();
  for (std::size_t i = 0; i < std::min(rows, most_rows); ++i) {
    Json row = Json::array();
    for (std::size_t j = 0; j < std::min(matrix.columns.size(), most_rows); ++j)
      row.push_back(j < matrix.values[i].size() ? json_number(matrix.values[i][j]) : Json("nan"));
    values.push_back(std::move(row));
  }
  return {{"requirement", text(matrix.requirement)},
          {"title", text(matrix.title)},
          {"value_name", text(matrix.value_name)},
          {"rows", first_of(matrix.rows, std::min(rows, most_rows), name)},
          {"columns", first_of(matrix.columns, most_rows, name)},
          {"values", std::move(values)}};
}

Json of(const Footer& footer) {
  return {{"passed", footer.passed},
          {"failed", footer.failed},
          {"waived", footer.waived},
          {"errors", footer.errors},
          {"not_assessed", footer.not_assessed},
          {"not_applicable", footer.not_applicable},
          {"elements_compared", footer.elements_compared},
          {"longest_pass", footer.longest_pass},
          {"status", footer.status},
          {"verdict", footer.verdict},
          {"seconds", json_number(footer.seconds)}};
}

}  // namespace

std::string to_json(const Result& result) {
  Json chapters = Json::array();
  for (const Chapter& chapter : result.chapters) {
    chapters.push_back({{"number", chapter.number}, {"title", text(chapter.title)}});
  }
  Json requirements = Json::array();
  for (const Requirement& requirement : result.requirements) requirements.push_back(of(requirement));
  Json document = {{"format", "plumbline-result"},
                   {"version", 4},
                   {"header", of(result.header)},
                   {"chapters", std::move(chapters)},
                   {"requirements", std::move(requirements)},
                   {"localisation", result.localisation ? localisation_of(result) : Json(nullptr)},
                   {"diagnosis", result.diagnosis ? diagnosis_json(*result.diagnosis) : Json(nullptr)}};
  if (!result.plots.empty())
    document["plots"] = first_of(result.plots, most_pictures, [](const Plot& plot) { return of(plot); });
  if (!result.matrices.empty())
    document["matrices"] =
        first_of(result.matrices, most_pictures, [](const Matrix& matrix) { return of(matrix); });
  document["footer"] = of(result.footer);
  return dump(document);
}

}  // namespace plumbline::reports
