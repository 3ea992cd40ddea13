#include "reports/terminal.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <memory>
#include <optional>

#include "harness/result/examples.test.hpp"
#include "harness/system/visible.hpp"

using namespace plumbline::reports;

namespace {

// What a run that ends in `result` prints.
std::string shown(const Result& result, const TerminalStyle& style, const std::string& written_to = "out",
                  bool verbose = false) {
  char* bytes = nullptr;
  std::size_t size = 0;
  std::FILE* stream = open_memstream(&bytes, &size);
  REQUIRE(stream != nullptr);
  Terminal terminal(stream, style);
  terminal.begin(result.header);
  for (const Section& section : sections(result)) {
    terminal.chapter_begin(section.chapter, static_cast<int>(section.requirements.size()));
    for (const Requirement* requirement : section.requirements) {
      terminal.requirement_begin(requirement->id, requirement->statement);
      terminal.requirement_end(*requirement);
    }
    terminal.chapter_end();
  }
  terminal.end(result, written_to, verbose);
  std::fclose(stream);
  const std::unique_ptr<char, decltype(&std::free)> owner(bytes, std::free);
  return {bytes, size};
}

TerminalStyle plain() {
  return {.colour = false, .animated = false, .utf8 = true, .width = 100};
}

// An environment variable, put back afterwards.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

}  // namespace

TEST_CASE("a pass is calm: the verdict, a line a chapter, where it was written") {
  CHECK(shown(examples::passing(), plain()) == R"(
Judging reference against minimind2-small
plumbline 0.1.0, cpu: AMD EPYC, f32, 2 threads, seed 1
weights made by scheme 1
Chapters: 1 ✔  3 ✔

✔  The model conforms to minimind2-small: 4 requirements passed
   4 passed
   256 elements compared in 0.5 s

   1 Configuration                    0.2 s  2 passed
   3 Grouped-query attention          0.2 s  2 passed
   out/report.html to read, out/result.json; or --verbose
)");
}

TEST_CASE("a failure begins with what it is, where, why and what to do") {
  CHECK(shown(examples::failing(), plain()) == R"(
Judging out/model against minimind2-small
plumbline 0.1.0, cpu: AMD EPYC, f32, 2 threads, seed 1
weights made by scheme 1
Chapters: 1 ✔  3 ✘

✘  The checkpoint does not conform to minimind2-small: 1 of 5 mandatory requirements failed,
   explained by softmax-bfloat16
   3 passed, 1 failed, 1 error, 1 not applicable
   41,216 elements compared in 0.5 s

Where it goes wrong
  in evaluation, layers.3.context is the first stage that does not follow from its own inputs
  layers.3.context[0,3,7,2]: got 0.1931, expected 0.1934 (off by 3.000e-04, allowed 2.000e-06:
    float32 sum of 64); 5 of 8192 elements are off
  attention.py:55: context = probabilities @ v
  wrong only at position 1 to 3; each element is 0.5 times what its inputs call for

Why
  with this in the reference, it gives the same 33 answers, to rounding:
  softmax-bfloat16  softmax computed in bfloat16; fails GQA-2

What to do
  Softmax is computed in bfloat16.

Errors
  GQA-4  scores are scaled by 1/8
         golden/tiny.h5 has no tensor layers.3.scores

   3 Grouped-query attention          0.5 s  1 passed, 1 failed (GQA-2), 1 error (GQA-4)
     Chapter without a failure: 1
   out/report.html to read, out/result.json; or --verbose
)");
}

TEST_CASE("who asks for it is told everything, after the first screen") {
  const std::string screen = shown(examples::failing(), plain());
  const std::string all = shown(examples::failing(), plain(), "out", true);
  CHECK(all.starts_with(screen.substr(0, screen.find("; or --verbose"))));
  for (const char* part : {R"(
Failed
  GQA-2  query head h reads key/value head h div 4
         layers.3.scores[0,3,7,2]: got 0.1931, expected 0.1934 (off by 3.000e-04, allowed
           2.000e-06: float32 sum of 64); 5 of 8192 elements are off
         layers.3.probabilities[0,3,7,2]: got 0.1931, expected 0.1934 (off by 3.000e-04, allowed
           2.000e-06: float32 sum of 64); 5 of 8192 elements are off
         layers.3.context[0,3,7,2]: got 0.1931, expected 0.1934 (off by 3.000e-04, allowed
           2.000e-06: float32 sum of 64); 5 of 8192 elements are off
         … and 2 more in out/result.json
)",
                           R"(
Not applicable
  1 requirement: a checkpoint has no code
)",
                           R"(
Where it goes wrong
  in evaluation, layers.3.context is the first stage that does not follow from its own inputs
  first divergent      layers.3.probabilities[0,3,7,2]: got 0.1931, expected 0.1934 (off by
                       3.000e-04, allowed 2.000e-06: float32 sum of 64); 5 of 8192 elements are off
  first locally wrong  layers.3.context[0,3,7,2]: got 0.1931, expected 0.1934 (off by 3.000e-04,
                       allowed 2.000e-06: float32 sum of 64); 5 of 8192 elements are off
  right                1 token
  wrong                24 tokens
)",
                           R"(
Findings
  CFG-1  confirmed: the vocabulary is 6400
)"})
    CHECK(all.find(part) != std::string::npos);
}

TEST_CASE("what no cause accounts for is told, as far as there is room on the first screen") {
  Result result = examples::failing();
  const Requirement wrong = result.requirements[3];
  for (int i = 10; i < 40; ++i) {
    result.requirements.push_back(wrong);
    result.requirements.back().id = "GQA-" + std::to_string(i);
  }
  conclude(result);
  const std::string text = shown(result, plain());
  INFO(text);
  CHECK(std::count(text.begin(), text.end(), '\n') <= 41);  // one of them is before the first line
  CHECK(text.find("\nFailed\n  GQA-10  query head h") != std::string::npos);
  CHECK(text.find("more; --verbose tells all\n") != std::string::npos);
}

TEST_CASE("a failure that somebody answers for is told with who does") {
  const std::string text = shown(examples::waived(), plain(), "out", true);
  CHECK(text.find("\nFailed\n") == std::string::npos);
  CHECK(text.find("Failed and waived\n"
                  "  GQA-2  query head h reads key/value head h div 4\n"
                  "         layers.3.scores[0,3,7,2]: got 0.1931") != std::string::npos);
  CHECK(text.find("         waived by Ada until 2026-12-31: an older kernel\n") != std::string::npos);
  CHECK(text.find("The model conforms to minimind2-small but for 1 waived requirement") != std::string::npos);
  CHECK(shown(examples::waived("2026-01-01"), plain(), "out", true).find("\nFailed\n") != std::string::npos);
  CHECK(shown(examples::shard(examples::passing(), 2), plain()).find("seed 1, shard 2 of 2\n") !=
        std::string::npos);
}

TEST_CASE("the first screen tells as failed what decides, and recommendations apart") {
  Result result = examples::failing();
  result.requirements[0] = examples::requirement("CFG-1", 1, "it holds", Verdict::fail);
  result.requirements[1] = examples::requirement("CFG-2", 1, "it should hold", Verdict::fail);
  result.requirements[1].level = Level::should;
  result.header.waivers = {examples::waiver("GQA-2", "2026-12-31")};
  result.localisation.reset();
  result.diagnosis.reset();
  conclude(result);
  const std::string text = shown(result, plain());
  CHECK(text.find("\nFailed\n  CFG-1  it holds\n") != std::string::npos);
  CHECK(text.find("\nRecommendations not met\n  CFG-2  it should hold\n") != std::string::npos);
  CHECK(text.find("\n  GQA-2  ") == std::string::npos);
}

TEST_CASE("two that were compared are told as two, neither of them right") {
  const std::string page = shown(examples::compared(), plain(), "out", true);
  CHECK(page.find("\nComparing my_model.py with before.h5, both given what minimind2-small takes\n") == 0);
  for (const char* words :
       {"Where they differ", "first difference", "first local difference", "A difference: my_model.py"})
    CHECK(page.find(words) != std::string::npos);
  for (const char* words : {"Judging", "goes wrong", "conform"}) CHECK(page.find(words) == std::string::npos);
}

TEST_CASE("what was not assessed is grouped by its reason; without UTF-8 and files it is told in ASCII") {
  TerminalStyle style = plain();
  style.utf8 = false;
  style.width = 72;
  CHECK(shown(examples::incomplete(), style, "") == R"(
Judging reference against minimind2-small
plumbline 0.1.0, cpu: AMD EPYC, f32, 2 threads, seed 1
weights made by scheme 1
Chapters: 1 +  3 ?

?  Incomplete: nothing failed, but 2 applicable musts were not assessed,
   first GQA-1: two key/value heads serve four query heads each (the
   candidate shows no stage scores)
   2 passed, 2 not assessed
   128 elements compared in 0.5 s

Not assessed
  GQA-1, 2: the candidate shows no stage scores

   1 Configuration                    0.2 s  2 passed
   3 Grouped-query attention          0.2 s  2 not assessed
)");
}

TEST_CASE("on a terminal the line of progress is redrawn within its width, and erased at the end") {
  TerminalStyle style = plain();
  style.animated = true;
  style.colour = true;
  style.width = 80;
  const std::string text = shown(examples::failing(), style);
  CHECK(text.find("\r\x1b[1m1 Configuration\x1b[0m  \x1b[2m··\x1b[0m") != std::string::npos);
  CHECK(text.find("\r\x1b[K\n\x1b[1;31m✘\x1b[0m  ") != std::string::npos);
  CHECK(text.find("CFG-1  the vocabulary has") != std::string::npos);
  CHECK(text.find("\x1b[1;31m✘") != std::string::npos);
  std::size_t drawn = 0;
  for (std::size_t at = text.find('\r'); at != std::string::npos; at = text.find('\r', at + 1)) {
    std::string line = text.substr(at + 1, text.find("\x1b[K", at) - at - 1);
    for (std::size_t code = line.find('\x1b'); code != std::string::npos; code = line.find('\x1b')) {
      line.erase(code, line.find('m', code) - code + 1);
    }
    CHECK(columns(line) < 80);
    ++drawn;
  }
  CHECK(drawn == 2 + 2 * 6 + 1);
}

TEST_CASE("a stranger's text reaches the terminal without control characters") {
  for (const bool utf8 : {true, false}) {
    TerminalStyle style = plain();
    style.utf8 = utf8;
    const std::string text = shown(examples::with_text(examples::hostile()), style);
    for (std::string_view rest = text; !rest.empty();) {
      const CodePoint next = decode(rest);
      if (next.value != U'\n' && is_hidden(next.value)) FAIL(static_cast<unsigned>(next.value));
      if (!utf8 && next.value > 0x7E) FAIL("not ASCII");
      rest.remove_prefix(next.bytes);
    }
    CHECK(text.find("\\x1b[31m") != std::string::npos);
  }
  Result huge = examples::failing();
  huge.header.candidate = huge.requirements[3].statement = huge.requirements[3].checks[1].note =
      std::string(10U << 20U, 'a');
  conclude(huge);
  CHECK(shown(huge, plain(), std::string(10U << 20U, 'b')).size() < 10'000);
}

TEST_CASE("any width and any order of calls prints something and breaks nothing") {
  for (int width = 1; width < 130; ++width) {
    for (const bool animated : {true, false}) {
      CHECK_FALSE(
          shown(examples::failing(), {.colour = true, .animated = animated, .utf8 = true, .width = width})
              .empty());
    }
  }
  std::FILE* stream = std::tmpfile();
  REQUIRE(stream != nullptr);
  Terminal terminal(stream);
  terminal.chapter_end();
  terminal.requirement_end(examples::requirement("A-1", 1, "it holds", Verdict::pass));
  terminal.chapter_begin({1, "One"}, -5);
  terminal.requirement_end(examples::requirement("A-1", 1, "it holds", Verdict::pass));
  terminal.chapter_begin({2, "Two"}, 1);
  terminal.end({}, "");
  CHECK(std::ftell(stream) > 0);
  std::fclose(stream);
}

TEST_CASE("what is no terminal gets neither colour nor animation; the locale decides about UTF-8") {
  std::FILE* stream = std::tmpfile();
  REQUIRE(stream != nullptr);
  const Variable terminal("TERM", "xterm-256color");
  const Variable language("LANG", "en_GB.UTF-8");
  const Variable kind("LC_CTYPE", "");
  {
    const Variable all("LC_ALL", "");
    const TerminalStyle style = terminal_style(stream);
    CHECK_FALSE(style.colour);
    CHECK_FALSE(style.animated);
    CHECK(style.utf8);
  }
  const Variable all("LC_ALL", "C");
  CHECK_FALSE(terminal_style(stream).utf8);
  std::fclose(stream);
}
