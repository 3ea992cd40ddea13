#include "harness/evidence/safetensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "harness/system/child.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

using namespace plumbline;
using Catch::Matchers::ContainsSubstring;

namespace {

std::string file_of(const std::string& header, std::uint64_t length, const std::string& data) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

std::string file_of(const std::string& header, std::size_t data_bytes) {
  return file_of(header, header.size(), std::string(data_bytes, '\0'));
}

// A directory for one file.
struct Place {
  TemporaryDirectory directory;
  std::filesystem::path path = directory.path() / "model.safetensors";

  // What reading these bytes is refused with; "accepted" if it is not.
  std::string refusal(const std::string& bytes) const {
    write_atomically(path, bytes);
    return refusal();
  }
  std::string refusal() const {
    try {
      read_safetensors(path);
    } catch (const InputError& error) {
      const std::string message = error.what();
      CHECK_THAT(message, ContainsSubstring(path.string()));
      CHECK(message.find('\n') == std::string::npos);
      return message;
    }
    return "accepted";
  }
  std::string python(const std::string& script) const {
    const ChildResult result = run_child({PLUMBLINE_PYTHON, "-c", script, path.string()}, {});
    INFO(result.errors);
    REQUIRE(result.succeeded());
    return result.output;
  }
};

std::string one(const std::string& description) {
  return "{\"w\":" + description + "}";
}

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

const std::string valid = R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";

}  // namespace

TEST_CASE("safetensors: every type and shape that we write reads back bit by bit",
          "[evidence][safetensors]") {
  const Place place;
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
  const Place place;
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
  const Place place;
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
  const Place place;
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
  const Place place;
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
  const Place place;
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
  const Place place;
  CHECK(place.refusal(file_of(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                              R"("z":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)"
                              R"("a":{"dtype":"F32","shape":[2,0],"data_offsets":[4,4]}})",
                              4)) == "accepted");
  CHECK(place.refusal(file_of("{}", 0)) == "accepted");
}

TEST_CASE("safetensors: a header of a wrong length is refused", "[evidence][safetensors]") {
  const Place place;
  CHECK_THAT(place.refusal(), ContainsSubstring("cannot be read: No such file"));
  CHECK_THAT(place.refusal(""), ContainsSubstring("has 0 bytes; a safetensors file has at least 8"));
  CHECK_THAT(place.refusal("1234567"), ContainsSubstring("has 7 bytes"));
  CHECK_THAT(place.refusal(std::string(8, '\0')), ContainsSubstring("does not begin with '{'"));
  for (const std::uint64_t length :
       {valid.size() + 25, std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    CHECK_THAT(place.refusal(file_of(valid, length, std::string(24, '\0'))),
               ContainsSubstring(fmt::format("header's length {} passes the {} bytes after it", length,
                                             valid.size() + 24)));
  }
  CHECK_THAT(place.refusal(file_of(valid, valid.size() - 1, std::string(24, '\0'))),
             ContainsSubstring("header: not valid JSON"));
  CHECK_THAT(place.refusal(file_of(valid, valid.size() + 1, std::string(24, '\0'))),
             ContainsSubstring("zero byte"));
  write_atomically(place.path, file_of("{", 200'000'000, ""));
  std::filesystem::resize_file(place.path, 300'000'000);
  CHECK_THAT(place.refusal(), ContainsSubstring("passes the format's 100000000"));
}

TEST_CASE("safetensors: a file of more than may be read is refused before it is read",
          "[evidence][safetensors]") {
  const Place place;
  write_atomically(place.path, file_of(valid, 24));
  std::filesystem::resize_file(place.path, std::uintmax_t{1} << 42);
  CHECK_THAT(place.refusal(), ContainsSubstring("has 4398046511104 bytes, more than the"));
  write_atomically(place.path, file_of(valid, 24));
  CHECK_THROWS_AS(read_safetensors(place.path, {.limit_bytes = 80}), InputError);
}

TEST_CASE("safetensors: a header that is not the format's is refused", "[evidence][safetensors]") {
  const Place place;
  const auto refusal = [&](const std::string& header) { return place.refusal(file_of(header, 24)); };
  CHECK(refusal(valid) == "accepted");
  CHECK(refusal(valid + "   ") == "accepted");
  CHECK_THAT(refusal(" " + valid), ContainsSubstring("does not begin with '{'"));
  CHECK_THAT(refusal("[1]"), ContainsSubstring("does not begin with '{'"));
  CHECK_THAT(refusal("{"), ContainsSubstring("header: not valid JSON"));
  CHECK_THAT(refusal(valid + "x"), ContainsSubstring("header: not valid JSON"));
  CHECK_THAT(refusal("{\"\xff\":1}"), ContainsSubstring("header: not valid JSON"));
  CHECK_THAT(refusal(valid.substr(0, valid.size() - 1) + "," + valid.substr(1)),
             ContainsSubstring("the key \"w\" stands twice"));
  CHECK_THAT(refusal("{\"w\":" + std::string(5000, '[') + "}"), ContainsSubstring("nested deeper"));
  CHECK_THAT(refusal(R"({"":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})"),
             ContainsSubstring("a name must be"));
  CHECK_THAT(refusal(R"({"a\nb":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})"),
             ContainsSubstring("tensor \"a?b\": a name must be"));
  CHECK_THAT(refusal(R"({"__metadata__":[]})"), ContainsSubstring("__metadata__ is not an object"));
  CHECK_THAT(refusal(R"({"__metadata__":{"a":1}})"), ContainsSubstring("__metadata__ \"a\" is not a string"));
  CHECK_THAT(place.refusal("version https://git-lfs.github.com/spec/v1\noid sha256:00"),
             ContainsSubstring("git lfs pull"));
}

TEST_CASE("safetensors: a description that is not the format's is refused, with the tensor's name",
          "[evidence][safetensors]") {
  const Place place;
  const auto refusal = [&](const std::string& description) {
    const std::string message = place.refusal(file_of(one(description), 24));
    CHECK_THAT(message, ContainsSubstring("tensor \"w\""));
    return message;
  };
  CHECK_THAT(refusal("3"), ContainsSubstring("is not described by an object"));
  CHECK_THAT(refusal(R"({"shape":[6],"data_offsets":[0,24]})"), ContainsSubstring("has no \"dtype\""));
  CHECK_THAT(refusal(R"({"dtype":"F32","data_offsets":[0,24]})"), ContainsSubstring("has no \"shape\""));
  CHECK_THAT(refusal(R"({"dtype":"F32","shape":[6]})"), ContainsSubstring("has no \"data_offsets\""));
  CHECK_THAT(refusal(R"({"dtype":"F32","shape":[6],"data_offsets":[0,24],"x":1})"),
             ContainsSubstring("has the key \"x\""));
  CHECK_THAT(refusal(R"({"dtype":1,"shape":[6],"data_offsets":[0,24]})"),
             ContainsSubstring("dtype is not a string"));
  for (const char* dtype : {"U16", "U64", "C64", "f32", "", "F32 "}) {
    CHECK_THAT(refusal(fmt::format(R"({{"dtype":"{}","shape":[6],"data_offsets":[0,24]}})", dtype)),
               ContainsSubstring(fmt::format("has dtype \"{}\"; only F64, F32", dtype)));
  }
  for (const char* dtype : {"F8_E4M3", "F8_E5M2", "F4", "U32"}) {
    CHECK_THAT(refusal(fmt::format(R"({{"dtype":"{}","shape":[6],"data_offsets":[0,24]}})", dtype)),
               ContainsSubstring(fmt::format("has dtype \"{}\": the model is quantised", dtype)));
  }
  CHECK_THAT(refusal(R"({"dtype":"F32","shape":6,"data_offsets":[0,24]})"),
             ContainsSubstring("shape is not an array"));
  for (const char* axis :
       {"-6", "6.0", "\"6\"", "null", "9223372036854775808", "99999999999999999999", "[6]", "true"}) {
    CHECK_THAT(refusal(fmt::format(R"({{"dtype":"F32","shape":[1,{}],"data_offsets":[0,24]}})", axis)),
               ContainsSubstring("shape[1] is"));
  }
  std::string axes = "1";
  for (int i = 0; i < 64; ++i) axes += ",1";
  CHECK_THAT(refusal(R"({"dtype":"F32","shape":[)" + axes + R"(],"data_offsets":[0,4]})"),
             ContainsSubstring("shape has 65 axes"));
}

TEST_CASE("safetensors: a shape whose product overflows is refused", "[evidence][safetensors]") {
  const Place place;
  // 2^62 elements of four bytes are 2^64, which is zero again in 64 bits.
  for (const char* shape : {"4611686018427387904", "2147483648,2147483648,2", "4294967296,4294967296",
                            "9223372036854775807", "0,4294967296,4294967296", "4294967296,4294967296,0"}) {
    CHECK_THAT(place.refusal(file_of(
                   one(fmt::format(R"({{"dtype":"F32","shape":[{}],"data_offsets":[0,0]}})", shape)), 0)),
               ContainsSubstring("tensor \"w\": shape [") && ContainsSubstring("overflows"));
  }
}

TEST_CASE("safetensors: offsets that are no range of the shape's size are refused",
          "[evidence][safetensors]") {
  const Place place;
  const auto refusal = [&](const char* offsets) {
    return place.refusal(
        file_of(one(fmt::format(R"({{"dtype":"F32","shape":[2,3],"data_offsets":{}}})", offsets)), 24));
  };
  for (const char* offsets :
       {"24", "[]", "[0]", "[0,24,24]", "[0.0,24]", "[-1,23]", "[\"0\",24]", "{}", "[0,1e1]"}) {
    CHECK_THAT(refusal(offsets), ContainsSubstring("tensor \"w\": data_offsets is not a pair"));
  }
  for (const char* offsets :
       {"[24,0]", "[0,25]", "[25,49]", "[18446744073709551592,0]", "[0,18446744073709551615]"}) {
    CHECK_THAT(refusal(offsets), ContainsSubstring("are not a range within the file's 24 bytes of data"));
  }
  CHECK_THAT(refusal("[0,20]"), ContainsSubstring("span 20 bytes, but F32 of shape [2, 3] takes 24"));
}

TEST_CASE("safetensors: data with holes, overlaps or a remainder are refused", "[evidence][safetensors]") {
  const Place place;
  const auto refusal = [&](const char* first, const char* second, std::size_t data) {
    return place.refusal(file_of(fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},)"
                                             R"("b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
                                             first, second),
                                 data));
  };
  CHECK(refusal("[0,4]", "[4,8]", 8) == "accepted");
  CHECK(refusal("[4,8]", "[0,4]", 8) == "accepted");
  CHECK_THAT(refusal("[0,4]", "[5,9]", 9),
             ContainsSubstring("tensor \"b\" begins at byte 5") && ContainsSubstring("a hole"));
  CHECK_THAT(refusal("[0,4]", "[3,7]", 7),
             ContainsSubstring("tensor \"b\" begins at byte 3") && ContainsSubstring("an overlap"));
  CHECK_THAT(refusal("[0,4]", "[0,4]", 4), ContainsSubstring("an overlap"));
  CHECK_THAT(refusal("[1,5]", "[5,9]", 9),
             ContainsSubstring("tensor \"a\" begins at byte 1") && ContainsSubstring("a hole"));
  CHECK_THAT(refusal("[0,4]", "[4,8]", 9), ContainsSubstring("1 bytes are left over"));
  CHECK_THAT(refusal("[0,4]", "[4,8]", 7), ContainsSubstring("not a range within the file's 7 bytes"));
  CHECK_THAT(place.refusal(file_of("{}", 1)), ContainsSubstring("1 bytes are left over"));
}

TEST_CASE("safetensors: a truth value other than 0 and 1 is refused", "[evidence][safetensors]") {
  const Place place;
  const std::string header = one(R"({"dtype":"BOOL","shape":[3],"data_offsets":[0,3]})");
  CHECK(place.refusal(file_of(header, header.size(), std::string("\0\1\1", 3))) == "accepted");
  CHECK_THAT(place.refusal(file_of(header, header.size(), std::string("\0\1\2", 3))),
             ContainsSubstring("tensor \"w\": a BOOL is neither 0 nor 1"));
}

TEST_CASE("safetensors: what the format cannot hold is not written, and nothing appears",
          "[evidence][safetensors]") {
  const Place place;
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
  CHECK_THAT(refusal({{"a", one_value}, {"a", one_value}}), ContainsSubstring("tensor \"a\" is given twice"));
  CHECK_THAT(refusal({{"", one_value}}), ContainsSubstring("cannot be a tensor's name"));
  CHECK_THAT(refusal({{"__metadata__", one_value}}), ContainsSubstring("cannot be a tensor's name"));
  CHECK_THAT(refusal({{"a\xff", one_value}}), ContainsSubstring("cannot be a tensor's name"));
  CHECK_THAT(refusal({{"a", at::Tensor()}}), ContainsSubstring("tensor \"a\" cannot be written"));
  CHECK_THAT(refusal({{"a", one_value.to(at::kComplexFloat)}}),
             ContainsSubstring("tensor \"a\" cannot be written"));
  CHECK_THAT(refusal({{"a", one_value.to_sparse()}}), ContainsSubstring("only dense"));
}

TEST_CASE("safetensors: no change of a byte and no truncation crashes the reader",
          "[evidence][safetensors]") {
  const Place place;
  write_safetensors(place.path,
                    {{"a", at::arange(2)}, {"b", at::ones({3}, at::kHalf)}, {"c", at::ones({2}, at::kBool)}},
                    {{"format", "pt"}});
  const std::string bytes = read_text(place.path, 10'000);
  const std::filesystem::path path = place.directory.path() / "changed.safetensors";
  std::size_t accepted = 0, refused = 0;
  const auto attempt = [&](const std::string& changed) {
    // Not atomically: waiting for the disk thousands of times takes long.
    std::ofstream(path, std::ios::binary | std::ios::trunc).write(changed.data(), std::ssize(changed));
    try {
      for (const auto& [name, tensor] : read_safetensors(path).tensors) {
        accepted += static_cast<std::size_t>(tensor.to(at::kDouble).numel() >= 0);
      }
    } catch (const InputError&) {
      ++refused;
    }
  };
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    attempt(bytes.substr(0, i));
    for (const unsigned flip : {0x01u, 0x02u, 0x10u, 0x20u, 0x80u, 0xffu}) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(static_cast<unsigned char>(changed[i]) ^ flip);
      attempt(changed);
    }
  }
  CHECK(accepted > 100);  // flips within the data
  CHECK(refused > bytes.size());
}
