// Small results that the tests of this room render.
#pragma once

#include <zlib.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "harness/result/result.hpp"
#include "harness/result/sentences.hpp"
#include "harness/system/files.hpp"

namespace plumbline::reports::examples {

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// The documents that are kept are packed with gzip.
inline std::string unpacked(const std::string& path) {
  const gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw std::runtime_error(path + " cannot be opened");
  std::string text, part(1U << 16U, '\0');
  int count = 0;
  while ((count = gzread(file, part.data(), static_cast<unsigned>(part.size()))) > 0)
    text.append(part, 0, static_cast<std::size_t>(count));
  if (gzclose(file) != Z_OK || count < 0) throw std::runtime_error(path + " is damaged");
  return text;
}

// A whole run that is kept.
inline Result committed() {
  const std::string path =
      PLUMBLINE_SOURCE_DIR "/reports/runs/nvidia-h100-80gb-hbm3/minimind2-small-f32/result.json.gz";
  return from_json(unpacked(path), path);
}

inline Check exact(const std::string& what, const std::string& value, std::int64_t elements = 1) {
  Check check;
  check.within = true;
  check.what = what;
  check.expected = value;
  check.actual = value;
  check.elements = elements;
  return check;
}

inline Check wrong(const std::string& what) {
  Check check;
  check.what = what;
  check.expected = "0.1934";
  check.actual = "0.1931";
  check.elements = 8192;
  check.worst_difference = 3.0e-4;
  check.tolerance = 2.0e-6;
  check.tolerance_reason = "float32 sum of 64";
  check.worst_index = {0, 3, 7, 2};
  check.form = Form::difference;
  check.beyond = 5;
  return check;
}

inline Requirement requirement(const std::string& id, int chapter, const std::string& statement,
                               Verdict verdict) {
  Requirement one;
  one.id = id;
  one.chapter = chapter;
  one.statement = statement;
  one.source = "model/model_minimind.py";
  one.verdict = verdict;
  one.seconds = 0.125;
  if (verdict == Verdict::pass) one.checks = {exact("value", "1", 64)};
  if (verdict == Verdict::fail) one.checks = {wrong("layers.3.scores")};
  if (verdict == Verdict::error) one.reason = "golden/tiny.h5 has no tensor layers.3.scores";
  if (verdict == Verdict::not_assessed) one.reason = "the candidate shows no stage scores";
  if (verdict == Verdict::not_applicable) one.reason = "a checkpoint has no code";
  return one;
}

inline Result passing() {
  Result result;
  Header& header = result.header;
  header.plumbline_version = "0.1.0";
  header.specification = "minimind2-small";
  header.specification_sha256 = std::string(64, 'a');
  header.candidate = "reference";
  header.candidate_kind = "reference";
  header.notes = {"weights made by scheme 1"};
  header.device = "cpu: AMD EPYC";
  header.dtype = "f32";
  header.threads = 2;
  header.seed = 1;
  header.versions = {{"libtorch", "2.13.0"}, {"catch2", "3.7.1"}, {"requirements", "f00"}};
  header.started = "2026-11-22T16:00:00Z";
  header.command = "./plumbline verify";
  header.scope = "everything";
  result.chapters = {{1, "Configuration"}, {3, "Grouped-query attention"}};
  result.requirements = {
      requirement("CFG-1", 1, "the vocabulary has 6400 entries", Verdict::pass),
      requirement("CFG-2", 1, "the hidden size is 512", Verdict::pass),
      requirement("GQA-1", 3, "two key/value heads serve four query heads each", Verdict::pass),
      requirement("GQA-2", 3, "query head h reads key/value head h div 4", Verdict::pass),
  };
  result.requirements[0].finding = "confirmed: the vocabulary is 6400";
  result.footer.seconds = 0.5;
  conclude(result);
  return result;
}

inline Diagnosis diagnosis() {
  Diagnosis found;
  found.outcome = Outcome::explained;
  found.observations = 33;
  found.differing = 9;
  found.explanations = {{{"softmax-bfloat16"}, 9, 0, 0.25, true, "softmax computed in bfloat16", {}}};
  found.causes = {{"softmax-bfloat16", "softmax computed in bfloat16", {"GQA-2"}}};
  found.advice = {{"softmax-bfloat16", "Softmax is computed in bfloat16.", "softmax 以 bfloat16 计算。"}};
  return found;
}

inline Localisation localisation() {
  Localisation found;
  found.mode = "evaluation";
  found.stages = {{{"embedding"}, exact("embedding", "equal", 64), exact("embedding", "equal", 64)},
                  {{"scores", 3}, {}, {}},
                  {{"probabilities", 3}, wrong("layers.3.probabilities"), {}},
                  {{"context", 3}, wrong("layers.3.context"), wrong("layers.3.context")}};
  found.situations = {{"1 token", exact("logits (1 token)", "equal", 64)},
                      {"24 tokens", wrong("logits (24 tokens)")}};
  found.traits = {{Trait::Kind::confined, "position", {1, 2, 3}}, {Trait::Kind::factor, "", {0.5}}};
  found.line = {"attention.py:55", "context = probabilities @ v"};
  return found;
}

inline Result failing() {
  Result result = passing();
  result.header.candidate = "out/model";
  result.header.candidate_kind = "checkpoint";
  result.header.candidate_sha256 = std::string(64, 'b');
  result.requirements[3] =
      requirement("GQA-2", 3, "query head h reads key/value head h div 4", Verdict::fail);
  for (const char* stage : {"layers.3.probabilities", "layers.3.context", "layers.4.q", "layers.4.k"}) {
    result.requirements[3].checks.push_back(wrong(stage));
  }
  result.requirements[3].checks.insert(result.requirements[3].checks.begin(),
                                       exact("layers.2.scores", "equal", 64));
  result.requirements.push_back(
      requirement("GQA-3", 3, "the four copies' gradients add up", Verdict::not_applicable));
  result.requirements.push_back(requirement("GQA-4", 3, "scores are scaled by 1/8", Verdict::error));
  result.localisation = localisation();
  result.diagnosis = diagnosis();
  conclude(result);
  return result;
}

inline Result incomplete() {
  Result result = passing();
  result.requirements[2] =
      requirement("GQA-1", 3, "two key/value heads serve four query heads each", Verdict::not_assessed);
  result.requirements[3] =
      requirement("GQA-2", 3, "query head h reads key/value head h div 4", Verdict::not_assessed);
  conclude(result);
  return result;
}

// Text that no reader should meet raw: markup, terminal escapes, reversed writing, bytes that are no UTF-8.
inline std::string hostile() {
  using namespace std::string_literals;
  return "<script>alert(1)</script> ]]> \x1b[31mred \x9b"s +
         "31m \0 nul \xed\xa0\x80 surrogate \xff\xfe \u202E reversed "
         "\u009b"
         "2J \ufffe \x7f `code` **bold** | cell @everyone #1 [link](http://example.org) \"quoted\" 'single' "
         "&amp;\r\n"
         "# heading\n- item\n| a | b |\n"s;
}

// Two models that were compared, and differ in one stage.
inline Result compared() {
  Result result = failing();
  result.header.baseline = {"before.h5", "live", "abc123"};
  result.header.candidate = "my_model.py";
  for (Requirement& one : result.requirements)
    for (Check& check : one.checks) check.identical = check.within;
  conclude(result);
  return result;
}

// One with pictures among its evidence.
inline Result pictured() {
  Result result = failing();
  const double nan = std::nan("");
  result.plots = {{"GQA-2",
                   "Error by position",
                   "position",
                   "radians",
                   true,
                   true,
                   {{"computed", {1, 10, 100}, {1e-7, nan, 1e-5}, {0, 0, 1e-6}, {1e-6, 1e-6, 1e-4}},
                    {"none", {}, {}, {}, {}}},
                   {{"tolerance", 1e-5}}}};
  result.matrices = {
      {"", "Who sees whom", {"token 1", "token 2"}, {"0", "1", "2"}, {{0, 1, 2}, {0, nan, 1}}, "change"}};
  conclude(result);
  return result;
}

inline Waiver waiver(const std::string& requirement, const std::string& expires) {
  return {requirement, "an older kernel", "Ada", expires};
}

// A model whose only failure somebody answers for until `expires`; the run is of 2026-11-22.
inline Result waived(const std::string& expires = "2026-12-31") {
  Result result = passing();
  result.requirements[3] =
      requirement("GQA-2", 3, "query head h reads key/value head h div 4", Verdict::fail);
  result.header.waivers = {waiver("GQA-2", expires)};
  result.localisation = localisation();
  conclude(result);
  return result;
}

// Shard `index` of 2 of `whole`: every other requirement.
inline Result shard(Result whole, int index, int of = 2) {
  whole.header.shard = {index, of};
  for (std::size_t i = 0; i < whole.requirements.size(); ++i) {
    Requirement& one = whole.requirements[i];
    if (static_cast<int>(i) % of == index - 1 || one.verdict == Verdict::not_applicable) continue;
    one.verdict = Verdict::not_assessed;
    one.reason = Reason::of_other_shards({index, of});
    one.finding.clear();
    one.checks.clear();
    one.seconds = 0;
    std::erase_if(whole.plots, [&](const Plot& plot) { return plot.requirement == one.id; });
    std::erase_if(whole.matrices, [&](const Matrix& matrix) { return matrix.requirement == one.id; });
  }
  conclude(whole);
  return whole;
}

// A result with `text` wherever a stranger's text can come in.
inline Result with_text(const std::string& text) {
  Result result = pictured();
  Header& header = result.header;
  for (std::string* place : {&header.specification, &header.candidate, &header.device, &header.dtype,
                             &header.command, &header.started, &header.plumbline_version, &header.scope}) {
    *place = text;
  }
  header.baseline = {text, text, text};
  header.commit = {text, false};
  header.notes = {text, text};
  header.versions = {{text, text}};
  for (Chapter& chapter : result.chapters) chapter.title = text;
  for (Requirement& one : result.requirements) {
    one.id += text;
    one.statement = one.source = one.finding = text;
    if (!one.reason.empty() && !one.reason.left_out()) one.reason = text;
    for (Check& check : one.checks) {
      check.what = check.expected = check.actual = check.note = check.tolerance_reason = text;
    }
  }
  Localisation& found = *result.localisation;
  found.mode = text;
  found.line = {text, text};
  for (StageErrors& one : found.stages) {
    one.stage.kind += text;
    for (std::optional<Check>* check : {&one.inherited, &one.local})
      if (*check) (*check)->what = (*check)->note = text;
  }
  for (Situation& one : found.situations) one.name = one.check.what = one.check.note = text;
  Diagnosis& why = *result.diagnosis;
  why.words = why.of_shapes = text;
  for (Explanation& one : why.explanations)
    for (std::string& defect : one.defects) defect = text;
  for (Cause& one : why.causes) one.defect = one.what = text;
  for (Advice& one : why.advice) one.defect = one.english = one.chinese = text;
  for (Plot& one : result.plots) {
    one.requirement = result.requirements[3].id;
    one.title = one.x_name = one.y_name = one.bounds[0].first = text;
    for (Series& series : one.series) series.name = text;
  }
  for (Matrix& one : result.matrices)
    for (std::string* place : {&one.title, &one.value_name, &one.rows[0], &one.columns[1]}) *place = text;
  header.waivers = {{result.requirements[3].id, text, text, "2026-12-31"}};
  conclude(result);
  return result;
}

}  // namespace plumbline::reports::examples
