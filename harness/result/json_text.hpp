// JSON as every document here is written.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "harness/system/json.hpp"

namespace plumbline::reports {

// What a document keeps of a text: at most longest_text characters. A name of ten megabytes, said of every
// layer, would make a document that nobody can open. The note that a text was cut has room beyond the limit,
// so that a document that is read and written again stays as it is.
std::string text(std::string_view value);

// JSON has no NaN and no infinity, and a document must not lose that one was seen: "nan", "inf", "-inf".
Json json_number(double value);
Json json_number(const std::optional<double>& value);

// Indented, ending in a line break, in valid UTF-8 with every hidden character escaped. Those can stand only
// inside strings, so escaping them anywhere keeps the document's meaning; line breaks are the serializer's
// own: it has escaped all others.
std::string dump(const Json& document);

}  // namespace plumbline::reports
