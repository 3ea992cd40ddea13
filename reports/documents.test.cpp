// The documents as others read them: JUnit by Python's XML parser, JSON against its published schema.
#include <catch2/catch_test_macros.hpp>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "harness/result/examples.test.hpp"
#include "harness/result/result.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

using namespace plumbline::reports;
using plumbline::InputError;
using plumbline::TemporaryDirectory;

namespace {

// What `script` prints when it runs with `argument`; it is given by its text.
std::string python(const TemporaryDirectory& directory, const std::string& script,
                   const std::string& argument) {
  const std::filesystem::path file = directory.path() / "script.py";
  std::ofstream(file) << script;
  const std::string command =
      std::string("'") + PLUMBLINE_PYTHON + "' '" + file.string() + "' '" + argument + "' 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string output;
  for (int next = std::fgetc(pipe); next != EOF; next = std::fgetc(pipe)) output += static_cast<char>(next);
  pclose(pipe);
  return output;
}

constexpr const char* count_cases = R"(
import sys
import xml.etree.ElementTree as tree

root = tree.parse(sys.argv[1]).getroot()
cases = list(root.iter("testcase"))
found = {"tests": len(cases)}
for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
    found[key] = sum(case.find(tag) is not None for case in cases)
suites = list(root.iter("testsuite"))
for key, value in found.items():
    assert int(root.get(key)) == value, (key, root.get(key), value)
    assert sum(int(suite.get(key)) for suite in suites) == value, key
assert all(suite.find("properties") is not None for suite in suites if suite.get("name") != "Verdict")
print(*found.values())
)";

// "tests failures errors skipped" of the result's JUnit, counted by another parser.
std::string counts(const Result& result) {
  const TemporaryDirectory directory;
  const std::string path = (directory.path() / "result.xml").string();
  std::ofstream(path) << to_junit(result);
  return python(directory, count_cases, path);
}

constexpr const char* validate = R"(
import json, sys
try:
    import jsonschema
except ImportError:
    sys.exit(print("no jsonschema"))
schema, document = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1].split("|"))
jsonschema.Draft202012Validator.check_schema(schema)
errors = list(jsonschema.Draft202012Validator(schema).iter_errors(document))
print(len(errors) or "valid", *(error.json_path for error in errors))
)";

std::string schema_says(const Result& result) {
  const TemporaryDirectory directory;
  const std::string path = (directory.path() / "result.json").string();
  std::ofstream(path) << to_json(result);
  return python(directory, validate, PLUMBLINE_SOURCE_DIR "/harness/result/result.schema.json|" + path);
}

Result with_one_text_of_ten_megabytes() {
  const std::string text(10U << 20U, 'a');
  Result result = examples::failing();
  result.header.candidate = text;
  result.requirements[3].statement = text;
  result.requirements[3].checks[1].note = text;
  result.requirements[4].reason = text;
  conclude(result);
  return result;
}

}  // namespace

TEST_CASE("JUnit has a test case a requirement, and another parser counts the same") {
  CHECK(counts(examples::passing()) == "4 0 0 0\n");
  CHECK(counts(examples::failing()) == "6 1 1 1\n");
}

TEST_CASE("JUnit is well formed whatever the texts") {
  CHECK(counts(examples::with_text(examples::hostile())) == "6 1 1 1\n");
  CHECK(counts(with_one_text_of_ten_megabytes()) == "6 1 1 1\n");
}

TEST_CASE("an incomplete run does not look green to a reader of JUnit") {
  CHECK(counts(examples::incomplete()) == "5 0 1 2\n");
  Result empty = examples::passing();
  empty.requirements.clear();
  conclude(empty);
  CHECK(counts(empty) == "1 0 1 0\n");
}

TEST_CASE("a should that fails does not turn a conforming model's build red") {
  Result result = examples::passing();
  result.requirements.push_back(examples::requirement("GQA-9", 3, "it may hold", Verdict::fail));
  result.requirements.back().level = Level::should;
  conclude(result);
  CHECK(counts(result) == "5 0 0 1\n");
  CHECK(to_junit(result).find("recommendation not met: layers.3.scores[0,3,7,2]: got 0.1931") !=
        std::string::npos);
}

TEST_CASE(
    "a failure that somebody answers for does not turn the build red, and a shard's pass does not turn it "
    "green") {
  CHECK(counts(examples::waived()) == "4 0 0 1\n");
  CHECK(to_junit(examples::waived())
            .find("waived by Ada until 2026-12-31: an older kernel; failed: layers.3") != std::string::npos);
  CHECK(counts(examples::waived("2026-01-01")) == "4 1 0 0\n");
  CHECK(counts(examples::shard(examples::passing(), 1)) == "5 0 1 2\n");
}

TEST_CASE("JUnit shows no raw control character and no end of a CDATA section") {
  const std::string text = to_junit(examples::with_text(examples::hostile()));
  for (const char byte : text) {
    if (byte != '\n' && (static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f))
      FAIL("a raw control character");
  }
  CHECK(text.find("]]>") == std::string::npos);
  CHECK(text.find("<script>") == std::string::npos);
}

TEST_CASE("every document written is valid against the published schema") {
  Result not_finite = examples::failing();
  not_finite.requirements[3].checks[1].worst_difference = std::numeric_limits<double>::quiet_NaN();
  for (const Result& result :
       {examples::passing(), examples::failing(), examples::incomplete(), not_finite, examples::waived(),
        examples::pictured(), examples::shard(examples::failing(), 1),
        examples::with_text(examples::hostile()), with_one_text_of_ten_megabytes()}) {
    const std::string says = schema_says(result);
    if (says == "no jsonschema\n") SKIP("jsonschema is not installed");
    CHECK(says == "valid\n");
  }
}

TEST_CASE("the schema refuses a pass that its evidence does not bear out") {
  Result result = examples::passing();
  result.requirements[1].checks[0].elements = 0;
  result.requirements[2].checks.clear();
  result.requirements[3].checks[0].worst_difference = std::numeric_limits<double>::infinity();
  const std::string says = schema_says(result);
  if (says == "no jsonschema\n") SKIP("jsonschema is not installed");
  CHECK(says ==
        "3 $.requirements[1].checks[0].elements $.requirements[2].checks "
        "$.requirements[3].checks[0].worst_difference\n");
}

TEST_CASE("a directory that cannot be written is named") {
  const TemporaryDirectory directory;
  std::ofstream(directory.path() / "file") << "x";
  for (const char* name : {"file", "file/below"}) {
    try {
      write(examples::passing(), (directory.path() / name).string());
      FAIL("it was written");
    } catch (const InputError& error) {
      CHECK(std::string(error.what()).find("/file") != std::string::npos);
      CHECK(std::string(error.what()).find("--out DIR") != std::string::npos);
    }
  }
}

TEST_CASE("the runs that are committed are whole results, each of the device whose name its directory has") {
  int runs = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(PLUMBLINE_SOURCE_DIR "/reports/runs")) {
    if (entry.path().filename() != "result.json.gz") continue;
    INFO(entry.path().string());
    const Result result = from_json(examples::unpacked(entry.path().string()), entry.path().string());
    CHECK(result.footer.status == 0);
    CHECK(result.footer.elements_compared > 100'000'000);
    std::string device = result.header.device.substr(result.header.device.find(": ") + 2);
    for (char& character : device)
      character =
          character == ' ' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
    CHECK(device == entry.path().parent_path().parent_path().filename());
    ++runs;
  }
  CHECK(runs >= 4);
}
