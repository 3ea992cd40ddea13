// Moments as the document has them, "2026-11-22T16:00:00Z", for formats that count in milliseconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "harness/result/result.hpp"

namespace plumbline::reports {

// Milliseconds since 1970; empty for what is no moment.
std::optional<std::int64_t> milliseconds_of(const std::string& moment);

// A length of time in milliseconds, 0 for what is none; at most a thousand years.
std::int64_t milliseconds_of(double seconds);

// "2026-11-22T16:00:00Z"
std::string moment_of(std::int64_t milliseconds);

// When a run ended, as far as its header says when it began.
std::optional<std::int64_t> end_of(const Result& result);

}  // namespace plumbline::reports
