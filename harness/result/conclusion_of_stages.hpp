// What the stages and the passes of a localisation come to. It follows from the document; nothing stores it.
#pragma once

#include <string>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// The situation after which those follow that are of single blocks.
constexpr const char* every_block_silenced = "every block silenced";

// Whether the model is right (of two: the same) in the situation of that name; so where there is none.
bool right_in(const std::vector<Situation>& situations, const std::string& name);

// Whether the stages alone tell where the model is wrong.
bool told_by_stages(const Localisation& found);

// Where a model is wrong, or where two differ.
struct StageConclusion {
  enum class Kind {
    none,               // there is nothing to conclude from
    not_assessed,       // `words` says why
    wrong_stage,        // `stage` is not what its own inputs call for
    after_shown_stage,  // `stage` diverges, and no shown stage is wrong: it is in what follows `words`
    no_pass,            // every pass is right; of two, `words` is the first check that differs
    other_passes,       // a plain pass is right, and those of `names` are not
    fixed_weights,      // a plain pass is wrong, and blocks cannot be silenced
    unusable_block,     // likewise, and a block could not be looked at: `words`
    outside_blocks,     // it is wrong with every block silenced
    between_blocks,     // each block is right on its own
    within_blocks,      // those of `names` are wrong on their own
  };
  Kind kind = Kind::none;
  bool of_two = false;
  std::string mode, stage, words;
  std::vector<std::string> names;
  bool token_right = false;  // of within_blocks: a single token is right
};

// Of the localisation of a document; Kind::none where it has none.
StageConclusion stage_conclusion(const Result& result);

// The conclusion in one English sentence; empty for none.
std::string sentence_of(const StageConclusion& conclusion);

// Both together.
std::string conclusion_of(const Result& result);

}  // namespace plumbline::reports
