#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <filesystem>
#include <regex>
#include <string>
#include "harness/system/json.hpp"

#include "harness/result/examples.test.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "reports/page_parts.hpp"
#include "reports/rerun.hpp"

using namespace plumbline;
using namespace plumbline::reports;
using examples::committed;
using examples::count;
using examples::has;

namespace {

constexpr auto limit = 1U << 24U;

// The names of all elements in order, but for what backticks make code. No text may hold a raw '<', so that
// each begins a tag.
std::string tree(const std::string& page) {
  std::string names;
  for (std::size_t at = page.find("<body>"); (at = page.find('<', at)) != std::string::npos; ++at)
    if (const std::string name = page.substr(at + 1, page.find_first_of(" >", at) - at - 1);
        name != "code" && name != "/code")
      names += name + " ";
  return names;
}

const Translation& translation() {
  return in_chinese();
}

const std::vector<Language> both = {Language::english, Language::chinese};

}  // namespace

TEST_CASE("the first screen says the verdict, what was judged, how much, where and why") {
  const std::string page = to_html(examples::failing(), Language::english);
  const std::size_t requirements = page.find("id=\"requirements\"");
  REQUIRE(requirements != std::string::npos);
  for (const char* part :
       {"<h1 id=\"verdict\">The checkpoint does not conform to minimind2-small: 1 of 5 mandatory "
        "requirements failed, explained by softmax-bfloat16",
        "<th scope=\"row\"><code><bdi>softmax-bfloat16</bdi></code></th>", "<td><bdi>GQA-2</bdi></td>",
        "</span> Does not conform</p>", "<bdi>out/model</bdi>", "a checkpoint", "<bdi>bbbbbbbbbbbb…</bdi>",
        "<bdi>libtorch</bdi> <bdi>2.13.0</bdi>", "cpu: AMD EPYC", "3 passed", "1 failed",
        "1 without usable evidence", "1 not applicable", "41,216 elements compared",
        "<bdi>layers.3.context</bdi></code>", "150 times its tolerance",
        "<bdi>Softmax is computed in bfloat16.</bdi>"}) {
    INFO(part);
    CHECK(page.find(part) < requirements);
  }
  CHECK(has(page, std::string(64, 'b')));
}

TEST_CASE("a shard, a part, and waivers in force and expired stand right under the verdict") {
  Result result = examples::failing();
  result.header.shard = {2, 4};
  result.header.scope = "chapter 1, 3";
  result.header.waivers = {{"GQA-2", "known until the next release", "Ada", "2026-12-31"},
                           {"GQA-4", "old", "Bob", "2026-01-31"},
                           {"GQA-1", "needless", "Eve", "2026-12-31"}};
  result.footer.waived = 1;
  const std::string page = to_html(result, Language::english);
  const std::size_t judged = page.find("class=\"identity\"");
  for (const char* part : {"This is part 2 of 4 of one run. It decides nothing by itself",
                           "Only a part was asked for: <bdi>chapter 1, 3</bdi>",
                           "<li class=\"held\"><strong><bdi>GQA-2</bdi></strong> In force",
                           "<bdi>known until the next release</bdi> (answered for by <bdi>Ada</bdi>, until "
                           "<bdi>2026-12-31</bdi>",
                           "<li class=\"expired\"><strong><bdi>GQA-4</bdi></strong> Expired",
                           "<strong><bdi>GQA-1</bdi></strong> In force, and wrong"}) {
    INFO(part);
    CHECK(page.find(part) < judged);
  }
  CHECK(has(page, "1 of them waived"));
  CHECK(has(page, "<span class=\"tag\">waived</span>"));
  CHECK(has(to_html(result, Language::chinese), "只检查了一部分：<bdi>第 1、3 章</bdi>"));
  CHECK_FALSE(has(to_html(examples::failing(), Language::english), "class=\"waivers\""));
}

TEST_CASE("each requirement opens its evidence") {
  const std::string page = to_html(examples::failing(), Language::english);
  const std::size_t start = page.find("<details id=\"GQA-2\" open>");
  REQUIRE(start != std::string::npos);
  const std::string details = page.substr(start, page.find("</details></li>", start) - start);
  for (const char* part : {"query head h reads", "<bdi>0.1934</bdi>", "<bdi>0.1931</bdi>", "3.0e-04",
                           "2.0e-06", "float32 sum of 64", "8,192", "[0,3,7,2]", "model/model_minimind.py",
                           "Took 0.125 s", "./plumbline verify --only 3 --out out/chapter-3"}) {
    INFO(part);
    CHECK(has(details, part));
  }
  CHECK(has(page, "<a class=\"fail\" href=\"#GQA-2\" title=\"GQA-2: fail\">"));
  CHECK(has(page, "golden/tiny.h5 has no tensor layers.3.scores"));
}

TEST_CASE("all failed checks are shown, and of those that held the nearest to failing") {
  Result result = examples::passing();
  result.requirements[0].checks.clear();
  for (int i = 0; i < 30; ++i) {
    Check check = examples::exact(fmt::format("held-{}", i), "1");
    check.worst_difference = i;
    check.tolerance = 100;
    result.requirements[0].checks.push_back(check);
  }
  std::string page = to_html(result, Language::english);
  CHECK(has(page, "<bdi>held-29</bdi>"));
  CHECK(has(page, "<bdi>held-22</bdi>"));
  CHECK_FALSE(has(page, "<bdi>held-21</bdi>"));
  CHECK(has(page, "22 more checks held"));
  CHECK(has(page, "29 % of its tolerance"));
  for (Check& check : result.requirements[0].checks) check.within = false;
  result.requirements[0].verdict = Verdict::fail;
  page = to_html(result, Language::english);
  CHECK(has(page, "<bdi>held-0</bdi>"));
  CHECK_FALSE(has(page, "more checks"));
}

TEST_CASE("the command runs that chapter alone, and nothing over again where the run itself was kept") {
  Header header;
  header.command =
      "plumbline verify 'my model.py' --only cache,text --spec tiny --out DIR --shard 1/4 --threads=2 "
      "--out=x";
  CHECK(command_for(header, 4) ==
        "plumbline verify 'my model.py' --spec tiny --threads=2 --only 4 --out out/chapter-4");
  header.command = "plumbline verify 'it'\\''s --only a.py' --only=2";
  CHECK(command_for(header, 4) == "plumbline verify 'it'\\''s --only a.py' --only 4 --out out/chapter-4");
  header.command = "plumbline record a.py -o before.h5";
  CHECK(command_for(header, 4) == header.command);
  header.command = "";
  CHECK(command_for(header, 4).empty());
}

TEST_CASE("advice speaks of the command that judged the model, where that is somebody's own") {
  Header header;
  header.candidate_kind = "live";
  header.command = "./plumbline verify 'my model.py' --only text --out DIR --python p";
  const std::string advice = "`plumbline verify MODEL --only rope` then passes";
  CHECK(for_candidate(header, advice) ==
        "`./plumbline verify 'my model.py' --python p --only rope` then passes");
  header.candidate_kind = "reference";
  CHECK(for_candidate(header, advice) == advice);
  header = {};
  header.command = "./plumbline verify 'a`b.py'";
  CHECK(for_candidate(header, advice) == advice);
  header.command = "./plumbline compare a.py b.py";
  CHECK(for_candidate(header, advice) == advice);
}

TEST_CASE("no text makes an element, leaves its place, or hides") {
  for (const Language language : both) {
    const Result plain = examples::with_text("plain"), hostile = examples::with_text(examples::hostile());
    const std::string page = to_html(hostile, language);
    CHECK(tree(page) == tree(to_html(plain, language)));
    CHECK(tree(to_html(std::vector{hostile, hostile}, language)) ==
          tree(to_html(std::vector{plain, plain}, language)));
    CHECK_FALSE(has(page, "<script>alert"));
    for (std::size_t at = 0; at < page.size();) {
      const CodePoint next = decode(std::string_view(page).substr(at));
      if (is_hidden(next.value) && next.value != U'\n') FAIL("a hidden character at " << at);
      at += next.bytes;
    }
  }
}

TEST_CASE("what stands between backticks is code, and nothing else becomes an element") {
  using html::with_code;
  CHECK(with_code("call `f(x)` before `g`") == "<bdi>call <code>f(x)</code> before <code>g</code></bdi>");
  CHECK(with_code("`<script>`") == "<bdi><code>&lt;script&gt;</code></bdi>");
  CHECK(with_code("one ` alone") == "<bdi>one ` alone</bdi>");
  CHECK(with_code("") == "<bdi></bdi>");
}

TEST_CASE("a text of ten megabytes is cut wherever it stands") {
  CHECK(to_html(examples::with_text(std::string(10U << 20U, 'a')), Language::english).size() < 300'000);
  CHECK(to_html(examples::with_text(std::string(10U << 20U, 'a')), Language::chinese).size() < 300'000);
}

TEST_CASE("an id stands once, whatever the requirements are called") {
  Result result = examples::with_text(examples::hostile());
  result.requirements[1].id = result.requirements[2].id = "GQA-9";
  const std::string page =
      to_html(std::vector{result, examples::pictured(), examples::pictured()}, Language::english);
  static const std::regex id(" id=\"([^\"]*)\"");
  std::map<std::string, int> ids;
  for (std::sregex_iterator at(page.begin(), page.end(), id), end; at != end; ++at) ++ids[(*at)[1]];
  for (const auto& [name, times] : ids) {
    INFO(name);
    CHECK(times == 1);
    CHECK(name.find_first_of(" \\<&") == std::string::npos);
  }
  static const std::regex link(" href=\"#([^\"]*)\"");
  for (std::sregex_iterator at(page.begin(), page.end(), link), end; at != end; ++at) {
    INFO((*at)[1]);
    CHECK(ids.contains((*at)[1]));
  }
}

TEST_CASE("nothing is loaded, and only the page's own style and script may run") {
  CHECK(html::csp_hash("") == "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
  CHECK(html::csp_hash("abc") == "'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='");
  const std::string page = to_html(committed(), Language::english);
  CHECK(has(page, "default-src 'none'; style-src " + html::csp_hash(page_style()) + "; script-src " +
                      html::csp_hash(page_script())));
  CHECK(count(page, "<script>") == 1);
  for (const char* part : {"http:", "https:", " src=", "<link", "url(", "@import", " style=", " onclick="}) {
    INFO(part);
    CHECK_FALSE(has(page, part));
  }
}

TEST_CASE("candidates stand side by side, requirement by requirement") {
  Result other = examples::failing();
  other.requirements.erase(other.requirements.begin());
  const std::string page = to_html(std::vector{examples::passing(), other}, Language::english);
  CHECK(has(page, "<h1 id=\"requirements\">2 candidates side by side</h1>"));
  const std::size_t row = page.find("<bdi>GQA-2</bdi>");
  const std::string cells = page.substr(row, page.find("</tr>", row) - row);
  CHECK(has(cells, "<a href=\"#candidate-1-GQA-2\"><span class=\"badge pass\">"));
  CHECK(has(cells, "<a href=\"#candidate-2-GQA-2\"><span class=\"badge fail\">"));
  CHECK(count(page, "not in its document") == 3);
  CHECK(has(page, "<h2 id=\"candidate-2-verdict\">The checkpoint does not conform"));
  CHECK(count(page, "<h1") == 1);
  CHECK(to_html(std::vector{examples::passing()}, Language::english) ==
        to_html(examples::passing(), Language::english));
  CHECK(has(to_html(std::vector<Result>(), Language::english), "0 candidates"));
}

TEST_CASE("a page of a whole run, and of one in which everything fails, is of a size that opens") {
  Result result = committed();
  const Translation known = translation();
  CHECK(to_html(result, Language::chinese, &known).size() < 1'000'000);
  for (Requirement& one : result.requirements) {
    if (one.checks.empty()) continue;
    one.verdict = Verdict::fail;
    for (Check& check : one.checks) check.within = false;
  }
  conclude(result);
  CHECK(to_html(result, Language::english).size() < 3'000'000);
}
