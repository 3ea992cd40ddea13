// The result document: everything a rendering may know. It carries no tensors and no test framework.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/system/source_line.hpp"
#include "harness/system/stage.hpp"

namespace plumbline::reports {

// What was found about one requirement. Order is severity: the worst of several checks decides.
enum class Verdict {
  not_applicable,  // this kind of candidate can never show it
  pass,            // it was looked at, and holds
  not_assessed,    // it could have been shown and was not
  error,           // the evidence is unusable; says nothing about the model
  fail,            // the model is wrong
};

enum class Level { must, should };

// What a check found, which decides how its fields are said: see sentence_of().
enum class Form {
  values,      // two values, equal or not
  difference,  // of tensors, by the element that exceeds its tolerance most
  whole,       // of tensors, by the root mean square of all differences
  change,      // something must change by at least so much
  finite,      // no element may be NaN or infinite
  unbounded,   // the tolerance is not finite, so that it would allow anything
  same_bits,   // of two candidates
  measured,    // and not judged
  nothing,     // there was nothing to compare; `note` says why
  recorded,    // of a document of an older version: `note` is its sentence
};

// One comparison.
struct Check {
  Form form = Form::values;
  bool of_two = false;                     // of two candidates: "now ..., before ..."
  bool within = false;                     // the comparison holds
  std::string what;                        // "layers.3.scores", "num_key_value_heads"
  std::string expected;                    // value, or description of the expected tensor
  std::string actual;                      // the value seen (at the worst index, for a tensor)
  std::string note;                        // what else there is to say; empty: nothing
  std::int64_t elements = 0;               // how many elements were compared; 0 is never a pass
  std::int64_t beyond = 0;                 // of these, how many do not hold
  std::optional<double> worst_difference;  // largest |actual - expected|
  std::optional<double> tolerance;         // what is allowed there; 0 is exact
  std::string tolerance_reason;
  std::vector<std::int64_t> worst_index;  // where |actual - expected| exceeds its tolerance most
  std::optional<bool> identical;          // of a comparison of two candidates: the same bits in the same type
};

// One of so many runs that share the requirements among them.
struct Shard {
  int index = 0, of = 0;  // counted from 1
  bool operator==(const Shard&) const = default;
};

// Why a requirement has no verdict of what was seen: sentence_of() says it.
struct Reason {
  enum class Kind {
    none,
    stated,         // in `words`: by a suite, by the candidate
    outside_only,   // --only did not ask for it
    outside_shard,  // this shard leaves it to the others
  };
  Kind kind = Kind::none;
  std::string words;
  Shard shard;

  Reason() = default;
  Reason(std::string stated) : kind(stated.empty() ? Kind::none : Kind::stated), words(std::move(stated)) {}
  Reason(const char* stated) : Reason(std::string(stated)) {}
  static Reason not_asked_for();
  static Reason of_other_shards(const Shard& own);

  bool empty() const { return kind == Kind::none; }
  bool left_out() const { return kind == Kind::outside_only || kind == Kind::outside_shard; }
  bool operator==(const Reason&) const = default;
};

struct Requirement {
  std::string id;         // "GQA-2"
  int chapter = 0;        // of the specification
  std::string statement;  // what must hold
  Level level = Level::must;
  std::string source;  // where the statement comes from
  Verdict verdict = Verdict::not_assessed;
  Reason reason;        // why not assessed, not applicable or error; empty otherwise
  std::string finding;  // a measured answer worth a line even where it passes (a claim's exact figure)
  std::vector<Check> checks;
  double seconds = 0;
};

struct Chapter {
  int number = 0;
  std::string title;  // "Grouped-query attention"
};

// What a candidate is compared with, where two are compared and neither is judged.
struct Baseline {
  std::string name, kind, sha256;       // as of the candidate
  std::vector<std::string> alone = {};  // what one of the two alone can do: "after.py alone has a KV cache"
};

// A failure that somebody answers for, up to and including a day.
struct Waiver {
  std::string requirement, reason, who, expires;  // expires: "2026-12-31"
};

// What the candidate's files are a state of, where they lie in a git repository.
struct Commit {
  std::string id;
  bool clean = false;
};

// The device of a run that had no code to run.
constexpr const char* nothing_is_run = "none: nothing is run";

// What was judged, against what, by what, where.
struct Header {
  std::string plumbline_version;
  std::string specification;         // name
  std::string specification_sha256;  // of the specification file
  std::string candidate;             // as the user named it: "reference", a path, "defect:gelu"
  std::string candidate_kind;        // "reference", "checkpoint", "state_dict"
  std::string candidate_sha256;  // of the judged files' names and contents; empty for the built-in reference
  std::optional<Baseline> baseline;
  std::vector<std::string> notes;  // e.g. prefixes stripped from names, what was not judged
  std::string device;              // "cpu: Intel(R) Xeon(R)"
  std::string dtype;               // "f32"
  int threads = 0;
  std::uint32_t seed = 0;
  std::vector<std::pair<std::string, std::string>> versions;  // libtorch, catch2, hdf5, compiler, system
  std::string started;                                        // ISO 8601, UTC
  std::string command;                                        // how to run it again
  std::string scope;  // "everything", or what --only asked for: "chapter 3, 5", "requirement NUM-9"
  std::optional<Shard> shard;
  std::vector<Waiver> waivers;
  std::optional<Commit> commit;
};

struct Footer {
  int passed = 0, failed = 0, errors = 0, not_assessed = 0, not_applicable = 0;  // of all requirements
  int waived =
      0;  // failed musts that a waiver in force answers for: counted as failed, too, and not deciding
  std::int64_t elements_compared = 0;
  std::int64_t longest_pass = 0;  // tokens of the longest pass that was run; 0: none was
  int status = 2;                 // the exit status, 0 to 3
  std::string verdict;            // the verdict as one sentence
  double seconds = 0;
};

// One stage of a pass. Inherited: against an exact pass of the specification, with all that went wrong
// before. Local: against an exact replay of this stage alone, on the inputs that the candidate had there.
struct StageErrors {
  Stage stage;
  std::optional<Check> inherited, local;  // empty: the stage, or what goes into it, was not shown
};

// A way to run the model, and whether its logits are right in it (of two that are compared: the same).
struct Situation {
  std::string name;  // "24 tokens padded on the left"
  Check check;
};

// How a stage that is wrong by itself differs from what its own inputs call for, told by its numbers alone.
struct Trait {
  enum class Kind {
    confined,      // `axis`: only these parts of it are wrong
    not_a_number,  // so many elements are
    zero,          // all elements are
    factor,        // each element is so many times what it should be
    factor_each,   // each part of `axis` is multiplied by a number of its own, from the first to the second
    offset,        // so much is added to each element
    bfloat16,      // it is rounded to this type
    float16,       // the same
    limited,       // no element is beyond the first number, and they should reach the second
    combination,   // of the residual stream, times the first number, and what is added, times the second
    sums,          // probabilities add up to this, from the first to the second
    activation,    // another function of the gate: the first number becomes the second, the third the fourth
    function,      // of each element alone: the first number becomes the second, the third the fourth
    heads_reordered,  // its heads are those with these numbers
    moved,            // each position has what belongs so many positions before it
    joined,           // its heads are joined coordinate by coordinate
    turned,           // it is turned as if it stood so many positions later, from the first to the second
    not_turned,       // it is not turned at all
    sees_later,       // queries see keys up to so many places later
    sees_hidden,      // queries see so many keys that are hidden from them
    misses,           // queries do not see keys that are so many places back, from the first to the second
  };
  Kind kind = Kind::zero;
  std::string axis;
  std::vector<double> numbers;
};

// Where a model that failed goes wrong, as far as it could be told; of two that are compared: where they
// differ. Inherited is then the one's stage against the other's, and local what each makes of its own inputs.
struct Localisation {
  std::string mode;                 // in which the stages were seen; empty: no stage is wrong in any mode
  std::vector<StageErrors> stages;  // in execution order
  std::vector<Situation> situations;
  std::string not_assessed = {};        // why nothing could be told; empty: something could
  std::vector<Trait> traits = {};       // of the first stage that is wrong by itself
  std::optional<SourceLine> line = {};  // of the candidate's code, that makes this stage; where it is known
};

// The first stage that is not what an exact pass makes of it; the first that is not what its own inputs call
// for, which is where the bug is. nullptr: none of those that were shown.
const StageErrors* first_divergent(const Localisation& localisation);
const StageErrors* first_locally_wrong(const Localisation& localisation);

// Known defects that together make of the candidate's own weights what it makes of them, as far as that was
// looked at.
struct Explanation {
  std::vector<std::string> defects;  // as `verify defect:` takes them: catalogued names, =NUMBER, @PLACE
  std::int64_t explained = 0;  // observations that differ from the specification's and that it accounts for
  std::int64_t contradicted = 0;  // observations that do not differ and would with it
  double residual =
      0;  // the largest difference left in what it accounts for, in terms of what rounding may do
  bool complete = false;  // it accounts for everything that was seen
  std::string what = {};  // what they are, as a clause
  std::vector<std::string> open =
      {};  // names of the observations that differ and that it does not account for
};

// What a defect is, what it does to training and text, where to look, how to confirm the fix: a paragraph.
struct Advice {
  std::string defect, english, chinese;
};

// One defect of the best explanation.
struct Cause {
  std::string defect;              // as in Explanation::defects
  std::string what;                // what it is, as a clause
  std::vector<std::string> fails;  // ids of failed requirements that the reference fails, too, with it alone
};

// What a diagnosis comes to.
enum class Outcome {
  not_assessed,  // `words` says why
  errors_alone,  // what could be compared is right, and `raised` observations end in an error, first `words`
  as_specified,  // of what has no code: nothing that it shows differs
  explained,     // by each of the explanations alike
  nearest,       // the best explanation does not account for everything
  unexplained,   // no known defect accounts for anything
  recorded,      // of a document of an older version: `words` is its sentence
};

// What a diagnosis could go by.
enum class Basis {
  everything,
  declaration,  // names, shapes and settings: there is no code
  no_pass,      // the same: no weights fit it
  unsteady,     // the same: it answers one question in two ways
};

// Why a model that failed is wrong: sentence_of() says it.
struct Diagnosis {
  Outcome outcome = Outcome::not_assessed;
  Basis basis = Basis::everything;
  std::string words;
  std::int64_t observations = 0, differing = 0;  // that were made; that are not the specification's
  std::int64_t raised = 0;                       // that end in an error
  std::int64_t tried = 0;                        // when time was up, so many hypotheses; 0: it was not
  std::vector<Explanation> explanations;         // the best first
  std::vector<Cause> causes;                     // of the best, where it explains all or a part
  // Ids of the other failed requirements: those that the reference fails with all causes, and with none
  // alone; those that it does not fail, or not in all that failed; those that it was not asked, or that tell
  // nothing.
  std::vector<std::string> fail_together, not_reproduced, not_asked;
  // The defects of its shapes and settings, part of each explanation, where all else was judged on weights of
  // its own shapes; `of_shapes`: what they are, as a clause.
  std::vector<std::string> shapes;
  std::string of_shapes;
  std::int64_t known = 0;              // of what has no code: defects that were tried
  std::vector<std::string> undecided;  // of these, those that leave names, shapes and settings as they are
  std::vector<Advice> advice;          // on each defect of the best, where it explains all or a part
};

// Numbers that belong together: y over x. low and high bound y where it has an interval, else they are empty.
struct Series {
  std::string name;
  std::vector<double> x, y;
  std::vector<double> low, high;
};

// A picture of a requirement's evidence, or of the whole run where `requirement` is empty.
struct Plot {
  std::string requirement, title, x_name, y_name;  // names with their units: "position", "seconds"
  bool log_x = false, log_y = false;
  std::vector<Series> series;
  std::vector<std::pair<std::string, double>> bounds;  // values of y that mean something: "tolerance"
};

// Likewise, of a number for each pair of a row and a column.
struct Matrix {
  std::string requirement, title;
  std::vector<std::string> rows, columns;
  std::vector<std::vector<double>> values;  // of each row, its columns
  std::string value_name;
};

// What a document keeps of a text, in characters; of what is longer its beginning and a note.
constexpr std::size_t longest_text = 10'000;

// What a document holds at most of these; of more, to_json keeps an even choice of the points, and the first
// of the rest.
constexpr std::size_t most_pictures = 100, most_series = 50, most_points = 10'000, most_rows = 500;

struct Result {
  Header header;
  std::vector<Chapter> chapters;
  std::vector<Requirement> requirements;     // in the specification's order
  std::optional<Localisation> localisation;  // of a model whose code was run, and which failed
  std::optional<Diagnosis> diagnosis;        // likewise, where one was judged
  std::vector<Plot> plots;
  std::vector<Matrix> matrices;
  Footer footer;
};

// Fills result.footer's counts, status and sentence from its requirements; keeps footer.seconds. Status: 1 if
// a must failed that no waiver in force answers for; else 2 if a must is an error, or a waiver is of what did
// not fail; else 3 if a must was not assessed, nothing passed, or this is one shard of several; else 0. A
// "should" is counted and never decides.
void conclude(Result& result);

std::string to_string(Verdict verdict);   // "pass", "fail", "error", "not assessed", "not applicable"
std::string to_string(Level level);       // "must", "should"
std::string to_string(Form form);         // "values", "same bits", as in the document
std::string to_string(Outcome outcome);   // "explained", "errors alone"
std::string to_string(Basis basis);       // "everything", "no pass"
std::string to_string(Trait::Kind kind);  // "factor each", as in the document
std::optional<Form> form_of(const std::string& text);  // empty for what is none
std::optional<Outcome> outcome_of(const std::string& text);
std::optional<Basis> basis_of(const std::string& text);
std::optional<Trait::Kind> kind_of_trait(const std::string& text);

std::string to_json(const Result& result);      // result.json, schema: harness/result/result.schema.json
std::string to_junit(const Result& result);     // JUnit XML, a test case a requirement
std::string to_markdown(const Result& result);  // fit for a pull request or a step summary

// The document back from its JSON. Errors: InputError for a missing footer, counts that do not add up, an
// unknown verdict, a version this program does not know.
Result from_json(const std::string& text, const std::string& path);

// Writes the bundle of `result` into `directory`: see bundle.hpp. Errors: InputError when it cannot be
// written.
void write(const Result& result, const std::string& directory);

}  // namespace plumbline::reports
