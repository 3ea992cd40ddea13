// The words of column names, and their meanings.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "harness/training_log/log_columns.hpp"

namespace plumbline {

enum class WordKind {
  loss,
  pure,        // the cross-entropy alone, without other terms
  plain,       // does not change the meaning
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

// The kind of a word in lower case; empty: it is not known.
std::optional<WordKind> kind_of_word(std::string_view word);

// A complete name with a known meaning: words in lower case, separated by spaces.
struct KnownName {
  std::string_view name;
  Meaning meaning;
  bool with_words_before = false;
};
std::span<const KnownName> known_names();
// Whether the word is part of a known English name.
bool is_in_a_known_name(std::string_view word);

}  // namespace plumbline
