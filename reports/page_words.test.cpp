#include "reports/page_words.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <cmath>
#include <map>
#include <regex>
#include <set>
#include <string>
#include "harness/system/json.hpp"

#include "harness/result/examples.test.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "reports/page_parts.hpp"

using namespace plumbline;
using namespace plumbline::reports;

namespace {

constexpr auto limit = 1U << 24U;

bool has_chinese(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = decode(std::string_view(text).substr(at));
    if (next.value >= 0x4E00 && next.value <= 0x9FFF) return true;
    at += next.bytes;
  }
  return false;
}

std::multiset<std::string> holes(const std::string& text) {
  static const std::regex hole("\\{[0-9]*\\}");
  std::multiset<std::string> found;
  for (std::sregex_iterator at(text.begin(), text.end(), hole), end; at != end; ++at) found.insert(at->str());
  return found;
}

// What a reader of `page` reads or hears: texts between tags, titles and labels.
std::string read(std::string page) {
  page = page.substr(page.find("<body>"));
  page.erase(page.find("<script>"));
  static const std::regex attribute(" (?:title|aria-label)=\"([^\"]*)\"");
  std::string texts;
  for (std::sregex_iterator at(page.begin(), page.end(), attribute), end; at != end; ++at)
    texts += (*at)[1].str() + "\n";
  static const std::regex tag("<[^>]*>"), entity("&[a-z#0-9]+;");
  return texts + std::regex_replace(std::regex_replace(page, tag, "\n"), entity, " ");
}

// With the candidate's and the document's own texts in Chinese, what is left in Latin letters is ours.
Result in_chinese(Result result) {
  const Result texts = examples::with_text("例");
  const bool two = result.header.baseline.has_value();
  const auto status = result.footer.status;
  const std::string kind = result.header.candidate_kind;
  const auto verdicts = result.requirements;
  result.header = texts.header;
  result.header.candidate_kind = kind;
  result.header.candidate_sha256 = result.header.specification_sha256 = std::string(64, '0');
  if (!result.plots.empty()) result.plots = texts.plots, result.matrices = texts.matrices;
  for (Matrix& one : result.matrices) one.rows.assign(one.rows.size(), "例");
  if (!two) result.header.baseline.reset();
  for (Requirement& one : result.requirements) {
    one.statement = one.source = one.finding = "例";
    if (one.reason.kind == Reason::Kind::stated) one.reason = "例";
    for (Check& check : one.checks)
      check.what = check.expected = check.actual = check.note = check.tolerance_reason = "例";
  }
  if (result.localisation) result.localisation = texts.localisation;
  if (result.diagnosis) result.diagnosis = texts.diagnosis;
  if (result.localisation)
    for (StageErrors& one : result.localisation->stages)
      for (std::optional<Check>* check : {&one.inherited, &one.local})
        if (*check) (*check)->tolerance_reason = "例";
  for (Chapter& chapter : result.chapters) chapter.title = "例";
  result.footer.status = status;
  return result;
}

}  // namespace

TEST_CASE("every word is there in both languages, with the same holes") {
  for (int i = 0; i < word_count; ++i) {
    const std::string english = say(static_cast<Word>(i), Language::english);
    const std::string chinese = say(static_cast<Word>(i), Language::chinese);
    INFO(english << " | " << chinese);
    CHECK_FALSE(english.empty());
    CHECK_FALSE(has_chinese(english));
    CHECK(has_chinese(chinese));
    CHECK(holes(english) == holes(chinese));
  }
}

TEST_CASE("no English of ours is left on a Chinese page") {
  Result only = examples::passing();
  only.header.scope = "chapter 1";
  only.requirements[3] = examples::requirement("GQA-2", 3, "it holds", Verdict::not_assessed);
  conclude(only);
  const std::regex technical(
      "Plumbline|plumbline|SHA|Git|result|json|NaN|logits|KVC|KV|[A-Z]+-[0-9]+|layers\\.[0-9]\\.[a-z]+|"
      "embedding");
  for (Result result : {examples::passing(), examples::failing(), examples::incomplete(),
                        examples::compared(), examples::pictured(), only}) {
    result = in_chinese(result);
    for (const std::string& page :
         {to_html(result, Language::chinese), to_html(std::vector{result, result}, Language::chinese)}) {
      const std::string texts = std::regex_replace(read(page), technical, " ");
      std::smatch left;
      static const std::regex letters("[A-Za-z]{2,}[^\n]*");
      const bool found = std::regex_search(texts, left, letters);
      INFO((found ? left.str() : ""));
      CHECK_FALSE(found);
    }
  }
}

TEST_CASE("the verdict is one sentence in Chinese, too, from the same counts") {
  const auto says = [](const Result& result) { return verdict_sentence(result, Language::chinese, nullptr); };
  CHECK(says(examples::passing()) == "该模型符合 minimind2-small：4 项要求通过");
  CHECK(says(examples::failing()) ==
        "该检查点不符合 minimind2-small：5 项强制要求中有 1 项未通过，由 softmax-bfloat16 解释");
  Result unknown = examples::failing();
  unknown.diagnosis->causes.clear();
  conclude(unknown);
  CHECK(
      says(unknown) ==
      "该检查点不符合 minimind2-small：5 项强制要求中有 1 项未通过，首先是 GQA-2，它要求：query head h reads "
      "key/value head h div 4");
  CHECK(says(examples::incomplete())
            .starts_with("没有未通过的要求，但有 2 项适用的强制要求未评估，首先是 GQA-1：two"));
  CHECK(says(examples::compared())
            .starts_with("my_model.py 与 before.h5 有差别：5 项比较中有 1 项不同，首先是 GQA-2，它要求："));
  Result result = examples::passing();
  result.header.candidate_kind = "checkpoint";
  CHECK(says(result) == "权重和配置符合 minimind2-small；运行它们的代码未经评判");
  result.requirements[0] = examples::requirement("CFG-1", 1, "it holds", Verdict::error);
  conclude(result);
  CHECK(says(result) == "该检查点无法评判：4 项强制要求中有 1 项没有可用的证据，首先是 CFG-1：it holds");
  result = examples::passing();
  result.header.scope = "chapter 1";
  for (std::size_t i : {2U, 3U}) {
    result.requirements[i].verdict = Verdict::not_assessed;
    result.requirements[i].reason = Reason::not_asked_for();
  }
  conclude(result);
  REQUIRE(result.footer.status == 3);
  CHECK(says(result) == "第 1 章的各项强制要求全部成立；其余没有检查");
  CHECK(verdict_sentence(result, Language::english, nullptr) ==
        "Chapter 1 holds; the rest was not looked at");
  Result failing = examples::failing();
  failing.requirements[0] = examples::requirement("CFG-1", 1, "it holds", Verdict::fail);
  failing.header.waivers = {examples::waiver("CFG-1", "2026-12-31"), examples::waiver("GQA-2", "2026-01-31")};
  conclude(failing);
  CHECK(says(failing) ==
        "该检查点不符合 minimind2-small：5 项强制要求中有 1 项未通过，由 softmax-bfloat16 解释；另有 1 "
        "项已豁免；"
        "其中 1 项的豁免已过期");
  CHECK(says(examples::waived()) ==
        "该模型符合 minimind2-small：3 项要求通过；有 1 项未通过的强制要求已获豁免");
  Result idle = examples::passing();
  idle.header.waivers = {examples::waiver("CFG-1", "2026-12-31")};
  conclude(idle);
  REQUIRE(idle.footer.status == 2);
  CHECK(says(idle) == "豁免有误：CFG-1 已豁免，却并没有未通过；请去掉该豁免后重新运行");
  CHECK(says(examples::shard(examples::passing(), 1)) ==
        "2 个分片中的第 1 个各项要求全部成立；其余由其他分片承担，合并后才有结论");
}

TEST_CASE("every chapter and requirement has its Chinese") {
  const Translation& translation = reports::in_chinese();
  for (const char* name : {"requirements", "comparison"}) {
    const auto fixture =
        parse_json(read_text(fmt::format("{}/fixtures/{}.json", PLUMBLINE_SOURCE_DIR, name), limit), "test");
    for (const auto& chapter : fixture["chapters"]) {
      INFO(chapter);
      const std::string* chinese = translation.find(chapter["title"].text());
      CHECK((chinese != nullptr && has_chinese(*chinese)));
    }
    for (const auto& one : fixture["requirements"]) {
      INFO(one["id"]);
      const std::string* chinese = translation.find(one["statement"].text());
      CHECK((chinese != nullptr && has_chinese(*chinese)));
    }
  }
  const std::string page = to_html(examples::passing(), Language::chinese, &translation);
  CHECK(page.find("分组查询注意力") != std::string::npos);
  CHECK(page.find("<bdi lang=\"en\">the vocabulary has 6400 entries</bdi>") != std::string::npos);
}

TEST_CASE("the name of a situation is translated part by part") {
  const Result result = examples::passing();
  const Page page(result, Language::chinese, &reports::in_chinese()),
      plain(result, Language::english, nullptr);
  const std::string name = "training mode, padding on the left, in a batch, 24 tokens";
  CHECK(page.translated_situation(name).find("训练模式，左侧填充，在批次中，24 个词元") != std::string::npos);
  CHECK(page.translated_situation("prefill").find("预填充") != std::string::npos);
  CHECK(page.translated_situation("1 token").find("1 个词元") != std::string::npos);
  CHECK(page.translated_situation("prefill, then <b>") == page.quoted("prefill, then <b>"));
  CHECK(plain.translated_situation(name) == plain.quoted(name));
}

TEST_CASE("a translation is refused where a text is empty, and left out where there is none") {
  Translation translation;
  read_translation(translation, R"({"chapters": [{"title": "a", "title_zh": "一"}, {"title": "b"}]})",
                   "x.json");
  CHECK(translation.sentences == std::map<std::string, std::string>{{"a", "一"}});
  for (const char* bad :
       {R"({"words": [{"zh": "一"}]})", R"({"requirements": [{"statement": "a", "statement_zh": ""}]})",
        R"({"chapters": [{"title": "a", "title_zh": 1}]})", "{"})
    CHECK_THROWS_AS(read_translation(translation, bad, "x.json"), InputError);
}

TEST_CASE("every colour of a text stands out from what it lies on, in light and in dark") {
  const std::string style = page_style();
  const auto luminance = [](const std::string& hex) {
    double sum = 0;
    const double weights[] = {0.2126, 0.7152, 0.0722};
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string digits = hex.size() == 3 ? std::string(2, hex[i]) : hex.substr(2 * i, 2);
      const double value = std::stoi(digits, nullptr, 16) / 255.0;
      sum += weights[i] * (value <= 0.04045 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4));
    }
    return sum;
  };
  std::map<std::string, std::string> colours;
  static const std::regex colour("--([a-z0-9-]+):#([0-9a-f]{6}|[0-9a-f]{3})[;}]");
  const std::size_t dark = style.find("prefers-color-scheme:dark");
  REQUIRE(dark != std::string::npos);
  int compared = 0;
  for (const std::string& part :
       {style.substr(0, dark), style.substr(dark, style.find("}}", dark) + 1 - dark)}) {
    for (std::sregex_iterator at(part.begin(), part.end(), colour), end; at != end; ++at)
      colours[(*at)[1]] = (*at)[2];
    const auto contrast = [&](const std::string& text, const std::string& on) {
      const double a = luminance(colours.at(text)) + 0.05, b = luminance(colours.at(on)) + 0.05;
      INFO(text << " on " << on << " " << std::max(a, b) / std::min(a, b));
      CHECK(std::max(a, b) / std::min(a, b) >= 4.5);
      ++compared;
    };
    for (const char* text :
         {"text", "dim", "link", "pass", "fail", "error", "open", "none", "c0", "c1", "c2", "c3", "c4", "c5"})
      for (const char* on : {"page", "card"}) contrast(text, on);
    for (const char* verdict : {"pass", "fail", "error", "open", "none"}) {
      contrast(verdict, verdict + std::string("-b"));
      contrast("dim", verdict + std::string("-b"));
      contrast("text", verdict + std::string("-b"));
    }
  }
  CHECK(compared == 86);
}
