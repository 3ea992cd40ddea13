// The format of recordings, see recording.hpp.
#pragma once

#include <hdf5.h>

#include <string>

#include "harness/model/weights.hpp"
#include "harness/system/json.hpp"

namespace plumbline {

constexpr std::int64_t kRecordingVersion = 1;

// The HDF5 type in which a tensor type is stored. 16-bit floating types are stored as their bits, with the
// attribute `dtype`.
struct StoredType {
  at::ScalarType type;
  const char* name;
  hid_t (*in_hdf5)();
};

// nullptr: not supported.
const StoredType* stored_type_of(at::ScalarType type);
const StoredType* stored_type_named(const std::string& name);

// The hash of a tensor's type, shape and values, which is its name in a recording.
std::string hash_of_tensor(const at::Tensor& tensor);

// The field "request"; empty where it is missing.
std::string request_name(const Json& request);

}  // namespace plumbline
