// The sentence of a check, made of its fields wherever it is shown.
#pragma once

#include <string>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// "12", "0.1931", "3.000e-04": four significant digits, whole numbers as they are.
std::string number(double value);

constexpr const char* not_judged = "reported, not judged";  // what is expected of what is measured

// "layers.3.scores[0,3,7,2]: got 0.1931, expected 0.1934 (off by 3.0e-4, allowed 2.0e-6: float32 sum of 64)".
// The tolerance's reason stands in it once.
std::string sentence_of(const Check& check);

// "outside --only", "outside --shard 1/2", or what was stated.
std::string sentence_of(const Reason& reason);

// A check that found nothing to look at.
Check nothing_compared(const std::string& what, const std::string& why);

// What speaks against its numbers and values; empty where nothing does.
std::string disagreement(const Check& check);

}  // namespace plumbline::reports
