// The storage of an object's members, for the files that implement json.hpp.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "harness/system/json.hpp"

namespace plumbline {

// A map, whose nodes have stable addresses, and the order in which members were added.
struct Json::Object {
  Members members;
  std::vector<const Members::value_type*> written;

  Object() = default;
  Object(const Object& other) : members(other.members) {
    written.reserve(other.written.size());
    for (const auto* member : other.written) written.push_back(&*members.find(member->first));
  }
  Object& operator=(const Object&) = delete;

  // The member of that name, and whether it is new.
  std::pair<Json*, bool> add(std::string key) {
    const auto [at, is_new] = members.try_emplace(std::move(key));
    if (is_new) written.push_back(&*at);
    return {&at->second, is_new};
  }
};

}  // namespace plumbline
