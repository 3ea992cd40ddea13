// JSON from files that we did not write.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace plumbline {

// Strict: one value and nothing after it, valid UTF-8 without a byte order mark, no key twice in one object,
// at most 64 levels of arrays and objects. `where` (a file, or a file and the object in it) begins the
// InputError's message, which names the byte or the key.
nlohmann::json parse_json(std::string_view text, const std::string& where);

}  // namespace plumbline
