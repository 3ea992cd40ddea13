// A document against itself: what it says and does not bear out.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// Verdicts, checks, a localisation, a diagnosis and statements about the run that what is recorded beside
// them does not bear out, one sentence each.
std::vector<std::string> contradictions(const Result& result);

// Every check of a document, with what it is of: a requirement's id, or "localisation".
void each_check(const Result& result,
                const std::function<void(const std::string& of, const Check& check)>& use);

}  // namespace plumbline::reports
