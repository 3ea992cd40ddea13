#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "harness/result/examples.test.hpp"
#include "harness/result/result.hpp"

using namespace plumbline::reports;
using examples::has;

namespace {

// What Markdown makes of `text` as a requirement's statement.
std::string statement(const std::string& text) {
  Result result = examples::failing();
  result.requirements[3].id = "ID";
  result.requirements[3].statement = text;
  const std::string document = to_markdown(result);
  const std::string before = "- **ID** ";
  const std::size_t start = document.find(before) + before.size();
  return document.substr(start, document.find('\n', start) - start);
}

// The same where it begins a list entry.
std::string finding(const std::string& text) {
  Result result = examples::passing();
  for (Requirement& one : result.requirements) one.finding.clear();
  result.requirements[0].finding = text;
  const std::string document = to_markdown(result);
  const std::string before = "entries\n  - ";
  const std::size_t start = document.find(before) + before.size();
  return document.substr(start, document.find('\n', start) - start);
}

}  // namespace

TEST_CASE("the summary begins with the verdict in a plain word and the whole sentence") {
  CHECK(to_markdown(examples::passing())
            .starts_with("## ✔ Pass: the model conforms to minimind2-small: 4 requirements passed\n"));
  CHECK(to_markdown(examples::failing())
            .starts_with("## ✘ Fail: the checkpoint does not conform to minimind2-small: 1 of 5 mandatory "
                         "requirements failed, explained by softmax-bfloat16\n"));
  CHECK(to_markdown(examples::incomplete())
            .starts_with("## ? Incomplete: nothing failed, but 2 applicable musts were "));
}

TEST_CASE("the summary says what was judged, counts by chapter, and explains what did not pass") {
  const std::string text = to_markdown(examples::failing());
  CHECK(has(text, "| Candidate | out/model |\n| Kind | checkpoint |\n| SHA-256 of the candidate | bbbb"));
  CHECK(has(text, "| Versions | plumbline 0.1.0, libtorch 2.13.0, catch2 3.7.1, requirements f00 |\n"));
  CHECK(has(text, "| 3 Grouped-query attention | 1 | 1 | 1 | 0 | 1 | 0.5 s |\n"));
  CHECK(has(text, "| all | 3 | 1 | 1 | 0 | 1 | 0.5 s |\n\n41,216 elements compared.\n"));
  CHECK(has(text,
            "### Failed\n\n- **GQA-2** query head h reads key/value head h div 4\n"
            "  - layers.3.scores\\[0,3,7,2\\]: got 0.1931, expected 0.1934 (off by 3.000e-04, allowed "
            "2.000e-06: float32 sum of 64); 5 of 8192 elements are off\n"));
  CHECK(has(text,
            "### Where it goes wrong\n\n- in evaluation, layers.3.context is the first stage that does not "
            "follow from its own inputs\n- first divergent: layers.3.probabilities\\[0,3,7,2\\]: "));
  CHECK(has(text, "- right: 1 token\n- wrong: 24 tokens\n"));
  CHECK(has(
      text,
      "| embedding | ✔ | ✔ |\n| layers.3.scores | not shown | not shown |\n| layers.3.probabilities ← first "
      "divergent | ✘ 3.0e-04 of 2.0e-06 | not shown |\n| layers.3.context ← first locally wrong | ✘ "
      "3.0e-04 of 2.0e-06 | ✘ 3.0e-04 of 2.0e-06 |\n"));
  CHECK(has(text, "### Errors\n\n- **GQA-4** scores are scaled by 1/8\n  - golden/tiny.h5 has no tensor"));
  CHECK(has(text, "<details><summary>Not applicable: 1 requirement</summary>\n\n- **GQA-3** "));
  CHECK(has(text,
            "### Findings\n\n- **CFG-1** the vocabulary has 6400 entries\n  - confirmed: the vocabulary is "
            "6400\n"));
  CHECK(has(to_markdown(examples::incomplete()),
            "### Not assessed\n\n- **GQA-1** two key/value heads serve four query heads each — the candidate "
            "shows no "
            "stage scores\n"));
}

TEST_CASE("the summary says who answers for a failure, and of which shard and commit it is") {
  Result result = examples::waived();
  result.header.shard = {2, 4};
  result.header.commit = {"0f3a", false};
  result.header.waivers.push_back(examples::waiver("CFG-1", "2026-01-01"));
  conclude(result);
  const std::string text = to_markdown(result);
  for (const char* part :
       {"| Shard | shard 2 of 4 |", "| Commit | 0f3a, with changes that are not committed |",
        "| Waiver | GQA-2: waived by Ada until 2026-12-31: an older kernel |",
        "| Waiver | CFG-1: waived by Ada until 2026-01-01: an older kernel (expired) |",
        "### Failed and waived\n\n- **GQA-2**"}) {
    INFO(part);
    CHECK(text.find(part) != std::string::npos);
  }
  CHECK(text.find("### Failed\n") == std::string::npos);
  CHECK(to_markdown(examples::waived("2026-01-01")).find("### Failed\n\n- **GQA-2**") != std::string::npos);
}

TEST_CASE("a failure tells five findings and how many more there are") {
  Result result = examples::failing();
  for (int i = 0; i < 12; ++i) result.requirements[3].checks.push_back(examples::wrong("logits"));
  CHECK(has(to_markdown(result), "  - … and 12 more in result.json\n"));
}

TEST_CASE("text from strangers is shown, and nothing else happens") {
  CHECK(statement("<script>alert(1)</script> &amp;") == "&lt;script&gt;alert(1)&lt;/script&gt; &amp;amp;");
  CHECK(statement("a | b `c` **d** _e_ ~f~ \\") == "a \\| b \\`c\\` \\*\\*d\\*\\* \\_e\\_ \\~f\\~ \\\\");
  CHECK(statement("[a](http://b) ![c](d) www.e.org") == "\\[a\\](http&#58;//b) !\\[c\\](d) www&#46;e.org");
  CHECK(statement("@everyone #1 $x$") == "@&#8203;everyone \\#1 &#36;x&#36;");
  CHECK(statement("a\n# b\r\n\n| c |") == "a\\\\n\\# b\\\\r\\\\n\\\\n\\| c \\|");
  CHECK(statement("\x1b[31m\u202e\u200b\x01") == "\\\\x1b\\[31m\\\\u202e\\\\u200b\\\\x01");
  CHECK(statement("\xff\xed\xa0\x80") == "\ufffd\ufffd\ufffd\ufffd");
  CHECK(statement(std::string(10U << 20U, 'a')) ==
        fmt::format("{}… (10485760 characters)", std::string(300, 'a')));
}

TEST_CASE("text from strangers opens no list, heading or rule where it begins an entry") {
  CHECK(finding("- a") == "\\- a");
  CHECK(finding("+ a") == "\\+ a");
  CHECK(finding("1. a") == "1\\. a");
  CHECK(finding("12) a") == "12\\) a");
  CHECK(finding("# a") == "\\# a");
  CHECK(finding("===") == "\\===");
  CHECK(finding("12 a") == "12 a");
}

TEST_CASE("a hostile result keeps the summary's shape") {
  const auto shape = [](const std::string& text) {
    std::string heads;
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) heads += text.substr(at, 2);
    return heads;
  };
  Result plain = examples::with_text("plain");
  CHECK(shape(to_markdown(examples::with_text(examples::hostile()))) == shape(to_markdown(plain)));
}

TEST_CASE("a result with thousands of failures still fits a step summary") {
  Result result = examples::failing();
  for (int i = 0; i < 5000; ++i) {
    result.requirements.push_back(
        examples::requirement("X-" + std::to_string(i), 3, "it holds", Verdict::fail));
  }
  conclude(result);
  const std::string text = to_markdown(result);
  CHECK(text.size() < 500'000);
  CHECK(has(text, "- … and 4951 more in result.json\n"));
}
