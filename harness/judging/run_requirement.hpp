// Judges one requirement.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "harness/judging/recorder.hpp"

namespace plumbline {

// Callbacks for showing progress; by default nothing is shown.
struct Progress {
  std::function<void(const std::string& id, const std::string& title)> begin = [](const auto&, const auto&) {
  };
  std::function<void(const reports::Requirement& judged)> end = [](const auto&) {};
};

// Calls `look`, which records checks, with LibTorch's generator at `seed`. An exception becomes a verdict:
// NotShown means not assessed, CacheOverrun (a cache that refuses tokens within its capacity) fail, anything
// else error.
void run_requirement(Recorder& recorder, const Progress& progress, const std::string& id,
                     const std::string& title, std::uint32_t seed, const std::function<void()>& look);

// The first line of the message, without LibTorch's backtrace.
std::string one_line(const std::exception& exception);

}  // namespace plumbline
