// The answers that a recording holds, see recording.hpp.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "harness/evidence/hdf5_handle.hpp"
#include "harness/model/weights.hpp"
#include "harness/system/json.hpp"

namespace plumbline {

class RecordedAnswers {
 public:
  // Errors: InputError for what is no recording, is damaged, or was written by a version that is not known.
  explicit RecordedAnswers(const std::filesystem::path& path);

  // What the candidate was asked when it was greeted.
  const Json& asked_in_hello() const { return asked_in_hello_; }

  // The answer to what has this key, the n-th to the n-th question; nullptr where it was never asked.
  const Json* answer(const std::string& key);

  // The tensor of this hash. Errors: InputError where it is not there as it was stored.
  at::Tensor tensor(const std::string& hash) const;

 private:
  std::string read_exchanges() const;

  Hdf5Handle file_;
  Json asked_in_hello_;
  std::map<std::string, std::vector<Json>> answers_;        // by key
  std::map<std::string, std::size_t> number_of_questions_;  // by key
};

}  // namespace plumbline
