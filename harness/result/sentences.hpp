// The sentences of checks, each made of the check's own numbers and words: whoever reads a document makes
// them again, and so sees whether one of the two was edited.
#pragma once

#include <cstdint>
#include <string>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// "12", "0.1931", "3.000e-04": four significant digits, whole numbers as they are.
std::string number(double value);

// "layers.3.scores: got [8, 64], expected [2, 64]"; of two that are compared: "now ..., before ...".
std::string got(const Check& check);
std::string now_and_before(const Check& check);

// "layers.3.scores[0,3]: got 0.1931, expected 0.1934 (off by 3.000e-04, allowed 2.000e-06: float32 sum of
// 64)"; `beyond`: how many of the elements are not within their tolerance.
std::string off_by(const Check& check, std::int64_t beyond);

// Of a check whose difference and tolerance are root mean squares of all its elements.
std::string off_on_the_whole(const Check& check);

// "logits: the largest change is 0.1, expected at least 1.000e-05: each position reads every earlier one"
std::string changed_by(const Check& check);

// "logits: all 64 elements are finite"; "logits[3]: got nan, expected a finite number; 2 of 64 elements are
// not"
std::string all_are_finite(const Check& check);
std::string not_finite(const Check& check, std::int64_t bad);

// Of a check whose tolerance is not finite, so that it would allow anything.
std::string not_bounded(const Check& check);

// Of two that are compared: "logits: the same bits"; what is measured and not judged: "a pass: 0.8 x the
// time".
std::string same_bits(const Check& check);
std::string reported(const Check& check);
constexpr const char* not_judged = "reported, not judged";  // what a check of that kind expects

// Of a check that found nothing to look at: "logits: why".
std::string nothing_compared(const std::string& what, const std::string& why);

// Why the sentence, the two values and the difference are not those of one check; empty where nothing speaks
// against it. `compares`: of two candidates; where they differ, more is said than there are forms above.
std::string disagreement(const Check& check, bool compares);

}  // namespace plumbline::reports
