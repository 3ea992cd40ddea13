// What a live candidate says of itself when it is greeted (protocol.md, "hello"), read strictly.
#pragma once

#include <set>
#include <string>
#include <vector>
#include "harness/system/json.hpp"

#include "harness/candidate/candidate.hpp"

namespace plumbline {

struct Hello {
  std::string name, framework;
  std::map<std::string, Setting> configuration;
  std::vector<ParameterDescription> parameters;  // under the candidate's own names
  std::vector<std::vector<std::string>> tied;    // names that are one tensor
  Json mapping;                                  // null: its names are canonical
  std::vector<std::string> stages;               // that it means to show
  std::vector<std::string> notes;                // what trying the adapter has shown, for the reader
  std::set<std::string> capabilities;            // see Candidate::capabilities
  // Where batch, position, head and size stand among the axes of the cache's tensors; empty: it shows none.
  std::vector<std::int64_t> cache_axes;
};

// `type`: what the candidate was asked to run in; `name`: what the user called it. Errors: InputError naming
// the field.
Hello read_hello(const Json& fields, const Specification& specification, at::ScalarType type,
                 const std::string& name);

}  // namespace plumbline
