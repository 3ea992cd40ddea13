// What a diagnosis comes to, in words. It follows from the document; nothing stores it.
#pragma once

#include <string>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// The defects of an explanation apart from those of the candidate's shapes.
std::vector<std::string> beside_shapes(const Diagnosis& diagnosis, const Explanation& explanation);

// Whether the best explanation, though not the whole, accounts for most and contradicts nothing.
bool accounts_for_most(const Diagnosis& diagnosis);

// Whether the best explanation is several defects that account for most and contradict nothing: each explains
// what it does to rounding, and something else is left.
bool explains_a_part(const Diagnosis& diagnosis);

// The diagnosis in one English sentence.
std::string sentence_of(const Diagnosis& diagnosis);

// The causes that a verdict names, separated by commas: "mask-none@evaluation, feed-forward-bias". Empty
// where none is known, or several accounts are as good.
std::string named_causes(const Diagnosis& diagnosis, const std::string& separator = ", ");

}  // namespace plumbline::reports
