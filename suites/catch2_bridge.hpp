// Catch2 calls its tests without arguments: here they come by the subject that they judge.
#pragma once

#include <string>
#include <vector>

#include "harness/judging/run_requirement.hpp"
#include "harness/judging/subject.hpp"

namespace plumbline {

// Judges these requirements of the subject, by the tests that carry their tags.
void judge(Subject& subject, const std::vector<std::string>& ids, const Progress& progress);

// For REQUIREMENT alone, within judge().
void judge_the_subject_of_this_run(const char* id, const char* title, void (*look)(Subject&));

}  // namespace plumbline
