// Meanings of the columns of training logs, by the names that trainers and trackers use.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace plumbline {

enum class Role {
  other,
  loss,
  validation_loss,
  reward_loss,      // of an actor or a critic: no cross-entropy
  preference_loss,  // of DPO and the like: no cross-entropy
  bits,             // a byte or a character
  perplexity,
  step,
  epoch,
  gradient_norm,
  learning_rate,
  summary,     // is part of the summary that is written after training
  reward,      // is logged by runs that learn from rewards
  preference,  // is logged by runs that learn from pairs of answers
  value,       // the values of a table that has their name in another column, or nowhere
  wall_time,
  tag,  // the names of such values
};

struct Meaning {
  Role role = Role::other;
  int rank = 0;  // of several columns of one role, the lowest rank is taken
};

// The meaning of "10/2000" without a name.
constexpr int kProgressRank = 100;
constexpr Meaning kProgress{Role::step, kProgressRank};

// The meaning of a whole name, as in a table or in JSON: "train/loss", "Run 3 - loss", "trainLoss".
Meaning meaning_of_name(std::string_view name);

// The name of a number in a line, from the text before it. Only the last words of that text are the name.
struct NameInText {
  Meaning meaning;
  std::string name;
  bool mentions_validation = false;  // a word outside of the name does
};
NameInText name_in_text(std::string_view before);

// Normalises case and the signs between words.
std::string comparable(std::string_view name);

}  // namespace plumbline
