// The reply of a live candidate to "hello" (protocol.md), validated.
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
  std::vector<std::string> stages;               // that it declares to show
  std::map<std::string, SourceLine> lines;       // of the code that makes a stage, by its name
  std::vector<std::string> notes;                // of the adapter's own checks, for the reader of the results
  std::set<std::string> capabilities;            // see Candidate::capabilities
  // The axes of batch, position, head and size in the cache's tensors; empty: it shows no cache.
  std::vector<std::int64_t> cache_axes;
};

// `type`: the requested type; `name`: the candidate's, as the user gave it. Errors: InputError naming
// the field.
Hello read_hello(const Json& fields, const Specification& specification, at::ScalarType type,
                 const std::string& name);

}  // namespace plumbline
