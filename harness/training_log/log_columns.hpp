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
  summary,     // stands in what is written when training has ended
  reward,      // is logged by runs that learn from rewards
  preference,  // by those that learn from pairs of answers
  value,       // what a table calls it that has the name in another column, or nowhere
  wall_time,
  tag,  // holds that name
};

struct Meaning {
  Role role = Role::other;
  int rank = 0;  // of several columns of one role the one of the lowest is taken
};

// Of "10/2000" without a name.
constexpr int kProgressRank = 100;
constexpr Meaning kProgress{Role::step, kProgressRank};

// Of a whole name, as in a table or in JSON: "train/loss", "Run 3 - loss", "trainLoss".
Meaning meaning_of_name(std::string_view name);

// Of the text before a number in a line, of which only the last words are its name.
struct NameInText {
  Meaning meaning;
  std::string name;
  bool speaks_of_validation = false;  // a word apart from the name does
};
NameInText name_in_text(std::string_view before);

// Normalises case and the signs between words.
std::string comparable(std::string_view name);

}  // namespace plumbline
