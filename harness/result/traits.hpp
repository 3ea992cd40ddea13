// What the numbers of a wrong stage tell, in words. It follows from the document; nothing stores it.
#pragma once

#include <string>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// "each element is 0.9 times what its inputs call for"
std::string sentence_of(const Trait& trait);
std::string chinese_sentence_of(const Trait& trait);

// How many numbers a trait of this kind has; 0: any number of them.
std::size_t numbers_of(Trait::Kind kind);

}  // namespace plumbline::reports
