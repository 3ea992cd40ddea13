// The words of column names, and their meanings.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "harness/training_log/log_columns.hpp"

namespace plumbline {

enum class WordSays {
  loss,
  pure,        // the cross-entropy alone, without other terms
  plain,       // nothing that matters
  coarse,      // of many steps at once
  wrapper,     // how Python prints a number
  validation,  // of held-out text
  part,        // a term beside the cross-entropy, or a statistic of it
  reward,
  preference,
  step,
  step_of_what,  // stands before "step" or "epoch"
  epoch,
};

// Of a word in lower case; empty: it is not known.
std::optional<WordSays> meaning_of_word(std::string_view word);

// A name that means something as it is: of words in lower case with a space between them.
struct KnownName {
  std::string_view name;
  Meaning meaning;
  bool with_words_before = false;
};
std::span<const KnownName> known_names();
// Whether one of those in English has the word.
bool is_in_a_known_name(std::string_view word);

}  // namespace plumbline
