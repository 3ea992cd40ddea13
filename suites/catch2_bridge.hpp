// Passes a subject to Catch2's tests, which take no arguments.
#pragma once

#include <string>
#include <vector>

#include "harness/judging/run_requirement.hpp"
#include "harness/judging/subject.hpp"

namespace plumbline {

// Judges these requirements by the tests with their tags.
void judge(Subject& subject, const std::vector<std::string>& ids, const Progress& progress);

// Called by REQUIREMENT, within judge().
void judge_requirement(const char* id, const char* title, void (*look)(Subject&));

}  // namespace plumbline
