// Reads texts to be measured from files of unknown origin.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>
#include "harness/system/json.hpp"

#include "harness/text/substrings.hpp"

namespace plumbline {

struct Sample {
  std::vector<Token>
      tokens;  // ids as in the file, or numbers of words and characters in the order of first occurrence
  std::string text;              // empty: ids alone are known
  std::string prompt;            // as it stands in the file; empty: unknown
  std::vector<Token> predicted;  // the model's choice before each token of a given text; empty: not recorded
  std::optional<bool> ended;     // whether it ended by itself; empty: unknown
  std::size_t line = 0;          // of the file, from 1
};

struct Samples {
  std::string file, sha256;
  std::string unit;      // "token ids", "words" (of scripts without spaces, characters), "characters"
  std::string strategy;  // "greedy", "sampled", "mixed"; empty: not said of every sample
  std::string settings;  // of its sampling, as the file has them; "several" where they differ
  std::vector<Sample> all;
  std::vector<std::string> notes;
  std::size_t tokens() const;
};

struct ReadingOptions {
  std::string unit;  // "ids", "words" or "characters"; empty: ids where they are given, else words
  std::optional<Token> vocabulary;  // ids have to be below
};

// .jsonl, .ndjson, or whatever begins with an object: an object a line, with `ids` (or `tokens`, `token_ids`)
// and/or `text` (or `completion`, `generated_text`, `output`, `response`), and where known `prompt`, `ended`
// (or `finish_reason`: "stop"), `predicted` and `strategy`. Anything else is plain text, UTF-8: samples are
// separated by empty lines. Errors: InputError with file, line and what was expected: an empty file, invalid
// UTF-8 or JSON, an id that is none, samples of different kinds, more than 2^27 tokens.
Samples read_samples(const std::filesystem::path& file, const ReadingOptions& options);

// The ids of a JSON array that is called `what`, each below `vocabulary` where that is given. Errors:
// InputError naming the first that is none.
std::vector<Token> token_ids(const Json& values, const std::string& where, const std::string& what,
                             std::optional<Token> vocabulary = std::nullopt);

// Errors: InputError naming the first byte that is no UTF-8.
void require_utf8(std::string_view text, const std::string& where);

// The units of a text: words are runs of letters and digits; each character of a script that is written
// without spaces between words (Chinese, Japanese, Thai, ...) and each other mark is one of its own.
std::vector<std::string_view> units_of(std::string_view text, bool characters);

// The sentences of a text, without the space around them: they end with one of . ! ? 。 ! ? … or a new line.
std::vector<std::string_view> sentences_of(std::string_view text);

}  // namespace plumbline
