#include "harness/candidate/recording_format.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "harness/system/files.hpp"

namespace plumbline {
namespace {

const std::vector<StoredType>& stored_types() {
  static const std::vector<StoredType> all = {{at::kFloat, "float32", [] { return H5T_IEEE_F32LE; }},
                                              {at::kDouble, "float64", [] { return H5T_IEEE_F64LE; }},
                                              {at::kBFloat16, "bfloat16", [] { return H5T_STD_U16LE; }},
                                              {at::kHalf, "float16", [] { return H5T_STD_U16LE; }},
                                              {at::kLong, "int64", [] { return H5T_STD_I64LE; }},
                                              {at::kInt, "int32", [] { return H5T_STD_I32LE; }},
                                              {at::kBool, "bool", [] { return H5T_STD_U8LE; }}};
  return all;
}

}  // namespace

const StoredType* stored_type_of(at::ScalarType type) {
  for (const auto& stored : stored_types())
    if (stored.type == type) return &stored;
  return nullptr;
}

const StoredType* stored_type_named(const std::string& name) {
  for (const auto& stored : stored_types())
    if (name == stored.name) return &stored;
  return nullptr;
}

std::string hash_of_tensor(const at::Tensor& given) {
  const auto tensor = given.to(at::kCPU).contiguous();
  Sha256 sum;
  sum.update(fmt::format("{} [{}]\n", at::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", ")));
  sum.update({static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()});
  return sum.hex();
}

std::string request_name(const Json& request) {
  return request.value("request", "");
}

}  // namespace plumbline
