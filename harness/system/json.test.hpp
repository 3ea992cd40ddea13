// Places in a document, for tests that edit one.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/system/json.hpp"

namespace plumbline {

// The value at "/files/0/name" (RFC 6901, without its escapes). A member that there is not is added, and so
// is an element behind the last.
inline Json& at_pointer(Json& document, std::string_view pointer) {
  Json* value = &document;
  while (!pointer.empty()) {
    const auto end = pointer.find('/', 1);
    const std::string step(pointer.substr(1, end == std::string_view::npos ? end : end - 1));
    if (value->is_array() && std::stoul(step) == value->size()) value->push_back(nullptr);
    value = value->is_array() ? &(*value)[std::stoul(step)] : &(*value)[step];
    pointer.remove_prefix(end == std::string_view::npos ? pointer.size() : end);
  }
  return *value;
}

// Every single value, and every empty array or object, with its pointer.
inline void add_places(const Json& value, const std::string& pointer,
                       std::vector<std::pair<std::string, Json>>& all) {
  if (value.is_object() && !value.empty())
    for (const auto& [key, member] : value.items()) add_places(member, pointer + "/" + key, all);
  else if (value.is_array() && !value.empty())
    for (std::size_t i = 0; i < value.size(); ++i)
      add_places(value[i], pointer + "/" + std::to_string(i), all);
  else
    all.emplace_back(pointer, value);
}

inline std::vector<std::pair<std::string, Json>> places_of(const Json& document) {
  std::vector<std::pair<std::string, Json>> all;
  add_places(document, "", all);
  return all;
}

}  // namespace plumbline
