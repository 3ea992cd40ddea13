// A result document as a page that a person reads: self-contained, without scripts but for a filter, fit for
// a file, a phone, paper and a screen reader.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline::reports {

enum class Language { english, chinese };

// Translations of chapters' titles and requirements' statements. They are found by the English text, so that
// a document with another statement never gets a wrong translation.
struct Translation {
  std::map<std::string, std::string> sentences;
  const std::string* find(const std::string& english) const;  // nullptr: not among them
};

// Adds what the JSON `text` of the file `path` has in both languages: titles of chapters, statements, words
// of plots. Errors: InputError.
void read_translation(Translation& translation, const std::string& text, const std::string& path);

// What requirements.json, comparison.json and plots.zh.json in fixtures/ held when the program was built, so
// that a rendering depends on its document alone.
const Translation& in_chinese();

// The page of one result. `translation` may be null: statements and titles then stay as the document has
// them.
std::string to_html(const Result& result, Language language, const Translation* translation = nullptr);

// Several side by side: each requirement's verdict for each candidate, then each one's own page below.
std::string to_html(const std::vector<Result>& results, Language language,
                    const Translation* translation = nullptr);

}  // namespace plumbline::reports
