#include "harness/evidence/safetensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "harness/evidence/safetensors.test.hpp"

using namespace plumbline;
using namespace plumbline::safetensors_tests;
using Catch::Matchers::ContainsSubstring;

namespace {

const at::Tensor& named(const SafetensorsFile& file, const std::string& name) {
  for (const auto& [each, tensor] : file.tensors) {
    if (each == name) return tensor;
  }
  FAIL("no tensor " << name);
  return file.tensors[0].second;
}

bool same_bits(const at::Tensor& left, const at::Tensor& right) {
  return left.scalar_type() == right.scalar_type() && left.sizes() == right.sizes() &&
         (left.numel() == 0 ||
          std::memcmp(left.const_data_ptr(), right.const_data_ptr(), left.nbytes()) == 0);
}

}  // namespace

TEST_CASE("safetensors: every type and shape that we write reads back bit by bit",
          "[evidence][safetensors]") {
  const OneFile place;
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const at::ScalarType type : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong,
                                    at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    const std::string name = at::toString(type);
    tensors.emplace_back(name, at::arange(15).remainder(2).reshape({3, 5}).to(type));
    tensors.emplace_back(name + ".scalar", at::ones({}, type));
    tensors.emplace_back(name + ".empty", at::empty({4, 0, 3}, type));
  }
  tensors.emplace_back("transposed é", at::arange(6.0).reshape({2, 3}).t());
  tensors.emplace_back("nan", at::full({2}, std::nan("")));
  write_safetensors(place.path, tensors, {{"format", "pt"}, {"note", "ü"}});
  const SafetensorsFile file = read_safetensors(place.path);
  CHECK(file.tensors.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    CHECK(same_bits(named(file, name), tensor.contiguous()));
    CHECK(named(file, name).is_contiguous());
  }
  CHECK(file.metadata == std::map<std::string, std::string>{{"format", "pt"}, {"note", "ü"}});
  CHECK(file.sha256 == sha256_of_file(place.path));
}

TEST_CASE("safetensors: tensors outlive the file and what was read", "[evidence][safetensors]") {
  const OneFile place;
  write_safetensors(place.path, {{"a", at::arange(5.0)}, {"b", at::arange(7)}});
  at::Tensor kept;
  {
    SafetensorsFile file = read_safetensors(place.path);
    std::filesystem::remove(place.path);
    kept = named(file, "b");
  }
  CHECK(at::equal(kept, at::arange(7)));
  kept.zero_();
}

TEST_CASE("safetensors: the header is padded to eight bytes, and the same tensors give the same bytes",
          "[evidence][safetensors]") {
  const OneFile place;
  for (std::size_t length = 1; length < 10; ++length) {
    write_safetensors(place.path, {{std::string(length, 'n'), at::ones({1}, at::kByte)}});
    const std::string bytes = read_text(place.path, 1000);
    CHECK(bytes.size() % 8 == 1);
    write_safetensors(place.path, {{std::string(length, 'n'), at::ones({1}, at::kByte)}});
    CHECK(read_text(place.path, 1000) == bytes);
  }
  write_safetensors(place.path, {});
  CHECK(read_safetensors(place.path).tensors.empty());
}

TEST_CASE("safetensors: what Python's package wrote reads back bit by bit", "[evidence][safetensors]") {
  const OneFile place;
  const std::string printed = place.python(R"PY(
import sys, torch
from safetensors.torch import save_file
g = torch.Generator().manual_seed(5)
tensors = {f"t.{d}".replace("torch.", ""): torch.randn(7, 3, generator=g).to(d) for d in
           (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
            torch.int8, torch.uint8, torch.bool)}
tensors |= {"scalar": torch.tensor(3.5), "empty": torch.empty(0, 4)}
save_file(tensors, sys.argv[1], {"format": "pt"})
for name, tensor in tensors.items():
    print(name, list(tensor.shape), bytes(tensor.reshape(-1).view(torch.uint8).tolist()).hex())
)PY");
  const SafetensorsFile file = read_safetensors(place.path);
  CHECK(file.tensors.size() == 12);
  for (const auto& [name, tensor] : file.tensors) {
    std::string hex;
    const auto* bytes = static_cast<const unsigned char*>(tensor.const_data_ptr());
    for (std::size_t i = 0; i < tensor.nbytes(); ++i) hex += fmt::format("{:02x}", bytes[i]);
    CHECK_THAT(printed, ContainsSubstring(
                            fmt::format("{} [{}] {}\n", name, fmt::join(tensor.sizes().vec(), ", "), hex)));
  }
  CHECK(file.metadata.at("format") == "pt");
}

TEST_CASE("safetensors: what we write Python's package reads", "[evidence][safetensors]") {
  const OneFile place;
  write_safetensors(place.path,
                    {{"byte", at::arange(3).to(at::kByte)},
                     {"half", at::tensor({0.5, -2.0}).to(at::kHalf).reshape({1, 2})},
                     {"brain", at::tensor({1.5}).to(at::kBFloat16)},
                     {"empty", at::empty({0, 2})},
                     {"double", at::tensor({1e-300}, at::kDouble)}},
                    {{"format", "pt"}});
  CHECK(place.python(R"PY(
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], "pt") as f:
    print(f.metadata(), [(k, f.get_tensor(k).dtype, f.get_tensor(k).tolist()) for k in sorted(f.keys())])
)PY") == "{'format': 'pt'} [('brain', torch.bfloat16, [1.5]), ('byte', torch.uint8, [0, 1, 2]), ('double', "
         "torch.float64, [1e-300]), ('empty', torch.float32, []), ('half', torch.float16, [[0.5, -2.0]])]\n");
}

TEST_CASE("safetensors: data at odd places are copied to where their type may stand",
          "[evidence][safetensors]") {
  const OneFile place;
  const std::string header = R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("d":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})";
  const double value = 2.5;
  write_atomically(place.path, file_of(header, header.size(),
                                       std::string("x").append(reinterpret_cast<const char*>(&value), 8)));
  const SafetensorsFile file = read_safetensors(place.path);
  CHECK(named(file, "d").item<double>() == 2.5);
  CHECK(reinterpret_cast<std::uintptr_t>(named(file, "d").const_data_ptr()) % 8 == 0);
}

TEST_CASE("safetensors: empty tensors may stand anywhere in the data", "[evidence][safetensors]") {
  const OneFile place;
  CHECK(place.refusal(file_of(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                              R"("z":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)"
                              R"("a":{"dtype":"F32","shape":[2,0],"data_offsets":[4,4]}})",
                              4)) == "accepted");
  CHECK(place.refusal(file_of("{}", 0)) == "accepted");
}

TEST_CASE("safetensors: what the format cannot hold is not written, and nothing appears",
          "[evidence][safetensors]") {
  const OneFile place;
  const at::Tensor one_value = at::ones({1});
  const auto refusal = [&](const std::vector<std::pair<std::string, at::Tensor>>& tensors) -> std::string {
    try {
      write_safetensors(place.path, tensors);
    } catch (const InputError& error) {
      CHECK(std::filesystem::is_empty(place.directory.path()));
      return error.what();
    }
    return "written";
  };
  CHECK_THAT(refusal({{"a", one_value}, {"a", one_value}}),
             ContainsSubstring("tensor \"a\" is listed twice"));
  CHECK_THAT(refusal({{"", one_value}}), ContainsSubstring("cannot be a tensor's name"));
  CHECK_THAT(refusal({{"__metadata__", one_value}}), ContainsSubstring("cannot be a tensor's name"));
  CHECK_THAT(refusal({{"a\xff", one_value}}), ContainsSubstring("cannot be a tensor's name"));
  CHECK_THAT(refusal({{"a", at::Tensor()}}), ContainsSubstring("tensor \"a\" cannot be written"));
  CHECK_THAT(refusal({{"a", one_value.to(at::kComplexFloat)}}),
             ContainsSubstring("tensor \"a\" cannot be written"));
  CHECK_THAT(refusal({{"a", one_value.to_sparse()}}), ContainsSubstring("only dense"));
}
