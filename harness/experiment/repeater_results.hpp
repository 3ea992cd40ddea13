// The results of a run as a file, which is read when the experiment is resumed.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <string>

#include "harness/experiment/repeater.hpp"
#include "harness/system/error.hpp"

namespace plumbline {

// A member of an object that was read from `where`. Errors: InputError naming it.
template <typename T>
T value_of(const Json& object, const char* key, const std::string& where) {
  if (!object.is_object() || !object.contains(key))
    throw InputError(fmt::format("{}: has no '{}'", where, key));
  try {
    return object[key].get<T>();
  } catch (const JsonError&) {
    throw InputError(fmt::format("{}: '{}' has another type than expected", where, key));
  }
}

// The settings that identify an experiment: with other settings it is another one.
Json settings_of(const RepeaterOptions& options, const Corpus& corpus);

// Empty where the run was not made yet. Errors: InputError where the file is of another experiment, or
// damaged.
std::optional<Json> read_results(const std::filesystem::path& file, const Run& run,
                                 const std::string& fingerprint);
void write_results(const std::filesystem::path& file, Json results, const std::string& fingerprint);

}  // namespace plumbline
