// The parts of a result's page. Each is complete HTML, or empty where the document has nothing for it.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <vector>

#include "harness/result/words.hpp"
#include "reports/html.hpp"
#include "reports/page.hpp"
#include "reports/page_words.hpp"

namespace plumbline::reports {

// One result on a page, with the functions that write its texts.
struct Page {
  Page(const Result& page_result, Language page_language, const Translation* page_translation,
       std::string id_prefix = "", int first_level = 1);

  const Result& result;
  Language language;
  const Translation* translation;
  std::string prefix;                // of every id, so that several results share a page
  int level;                         // of its first heading
  std::vector<std::string> anchors;  // of its requirements, as they stand in the document

  const char* operator()(Word word) const { return say(word, language); }

  // A sentence of the page's own, with arguments that are safe already.
  template <typename... Arguments>
  std::string operator()(Word word, const Arguments&... arguments) const {
    return fmt::format(fmt::runtime(say(word, language)), arguments...);
  }

  // Text of the document, which is in English or a candidate's.
  std::string quoted(std::string_view text, std::size_t limit = usual_limit) const;
  // The same, translated into the language of the page where a translation is known.
  std::string translated(const std::string& text, std::size_t limit = usual_limit) const;
  // The name of a situation, part by part: "training mode, padding on the left, 24 tokens".
  std::string translated_situation(const std::string& name, std::size_t limit = usual_limit) const;
  // The same, not yet safe: for pictures, which make their texts safe when they are drawn.
  std::string in_its_words(const std::string& text) const;
  std::string title(const Chapter& chapter) const;
  std::string heading(int below, const std::string& id, const std::string& content) const;
  std::string anchor(const Requirement& requirement) const;
  // The end of a sentence that another one follows.
  const char* stop() const { return language == Language::chinese ? "。" : ". "; }
  std::string joined(const std::vector<std::string>& parts) const;
};

// A check's error as a share of its tolerance; nothing where it has no such numbers, or is exact.
std::optional<double> share_of(const Check& check);
// The largest of a requirement's checks; NaN is larger than any.
std::optional<double> share_of(const Requirement& requirement);
// "3.7 % of its tolerance", "154 times its tolerance".
std::string share_in_words(const Page& page, double share);

// What a check found, as a sentence: the document's own, or one made of its numbers.
std::string finding_of(const Page& page, const Check& check);

// A mark and a word, never a colour alone.
std::string badge(const Page& page, Verdict verdict);

// Measurements of some checks that pictures show; empty where the document has none.
std::optional<Matrix> causality(const Page& page);
struct CacheBytes {
  double held = 0, needed = 0, multi_head = 0;
};
std::optional<CacheBytes> cache_bytes(const Page& page);

std::string first_screen(const Page& page);
std::string chapters_part(const Page& page);
std::string pictures_part(const Page& page);
std::string requirements_part(const Page& page);

std::string picture_of(const Page& page, const Plot& plot, const std::string& id);
std::string picture_of(const Page& page, const Matrix& matrix, const std::string& id);

// The style and the script of every page.
const char* page_style();
const char* page_script();

// Where the model is wrong, or where two differ: the conclusion of the localisation.
std::string stage_sentence(const Page& page);

// Why it is wrong: the conclusion of the diagnosis.
std::string diagnosis_sentence(const Page& page, const Diagnosis& found);

}  // namespace plumbline::reports
