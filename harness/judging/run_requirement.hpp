// One requirement, from its beginning to its verdict.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "harness/judging/recorder.hpp"

namespace plumbline {

constexpr std::uint32_t kSeed = 1;  // of what candidates draw

// What a screen may show while requirements are judged.
struct Progress {
  std::function<void(const std::string& id, const std::string& title)> begin;
  std::function<void(const reports::Requirement& judged)> end;
};

// `look` records checks. What it throws becomes a verdict: NotShown leaves the requirement unassessed, a
// cache that refuses what it was opened for fails it, anything else is an error of the evidence.
void run_requirement(Recorder& recorder, const Progress& progress, const std::string& id,
                     const std::string& title, const std::function<void()>& look);

// The first line of what happened, without LibTorch's backtrace.
std::string one_line(const std::exception& exception);

}  // namespace plumbline
