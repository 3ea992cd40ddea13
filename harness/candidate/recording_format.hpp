// What the writer and the reader of recordings agree on, see recording.hpp.
#pragma once

#include <hdf5.h>

#include <string>

#include "harness/model/weights.hpp"
#include "harness/system/json.hpp"

namespace plumbline {

constexpr std::int64_t kRecordingVersion = 1;

// How a type is stored. HDF5 has no 16-bit floating types of its own: their bits are kept, and `dtype` says
// what they are.
struct StoredType {
  at::ScalarType type;
  const char* name;
  hid_t (*in_hdf5)();
};

// nullptr: it cannot be stored.
const StoredType* stored_type_of(at::ScalarType type);
const StoredType* stored_type_named(const std::string& name);

// Of a tensor's type, shape and values: the name that it is stored under.
std::string hash_of_tensor(const at::Tensor& tensor);

// What a request asks for; empty where it does not say.
std::string name_of_request(const Json& request);

}  // namespace plumbline
