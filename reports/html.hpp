// HTML that no text can break out of.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "harness/system/visible.hpp"

namespace plumbline::reports::html {

// `untrusted` as one visible line, cut after `limit` characters, fit for an element's content and for a
// quoted attribute.
std::string text(std::string_view untrusted, std::size_t limit = usual_limit);

// The same in an element of its own, so that its direction of writing does not reach what stands around it.
// `language`: a BCP 47 tag where it is another than the page's.
std::string bdi(std::string_view untrusted, std::size_t limit = usual_limit, const char* language = nullptr);

// The same, with what stands between backticks as code.
std::string with_code(std::string_view untrusted, std::size_t limit = usual_limit);

// What a Content-Security-Policy calls an inline style or script with exactly this content.
std::string csp_hash(std::string_view content);

// "4,007,753".
std::string digits(std::int64_t count);

// A number as a person reads it: "0", "3.0e-07", "64", "25,364", "NaN", "∞".
std::string amount(double value);

}  // namespace plumbline::reports::html
