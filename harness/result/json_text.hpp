// JSON as every document here is written.
#pragma once

#include <string>
#include "harness/system/json.hpp"

namespace plumbline::reports {

// Indented, ending in a line break, in valid UTF-8 with every hidden character escaped. Those can stand only
// inside strings, so escaping them anywhere keeps the document's meaning; line breaks are the serializer's
// own: it has escaped all others.
std::string dump(const Json& document);

}  // namespace plumbline::reports
