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

  // The recorded request "hello".
  const Json& hello_request() const { return hello_request_; }

  // The answer to the request with this key, at the n-th call the n-th; nullptr where there is none.
  const Json* answer(const std::string& key);

  // The tensor with this hash. Errors: InputError where it is missing or changed.
  at::Tensor tensor(const std::string& hash) const;

 private:
  std::string read_exchanges() const;

  Hdf5Handle file_;
  Json hello_request_;
  std::map<std::string, std::vector<Json>> answers_;  // by key
  std::map<std::string, std::size_t> times_asked_;    // by key
};

}  // namespace plumbline
