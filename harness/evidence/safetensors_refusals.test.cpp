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

std::string one(const std::string& description) {
  return "{\"w\":" + description + "}";
}

const std::string valid = R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";

}  // namespace

TEST_CASE("safetensors: a header of a wrong length is refused", "[evidence][safetensors]") {
  const OneFile place;
  CHECK_THAT(place.refusal(), ContainsSubstring("cannot be read: No such file"));
  CHECK_THAT(place.refusal(""), ContainsSubstring("has 0 bytes; a safetensors file has at least 8"));
  CHECK_THAT(place.refusal("1234567"), ContainsSubstring("has 7 bytes"));
  CHECK_THAT(place.refusal(std::string(8, '\0')), ContainsSubstring("does not begin with '{'"));
  for (const std::uint64_t length :
       {valid.size() + 25, std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    CHECK_THAT(place.refusal(file_of(valid, length, std::string(24, '\0'))),
               ContainsSubstring(fmt::format("header's length {} exceeds the {} bytes after it", length,
                                             valid.size() + 24)));
  }
  CHECK_THAT(place.refusal(file_of(valid, valid.size() - 1, std::string(24, '\0'))),
             ContainsSubstring("header: not valid JSON"));
  CHECK_THAT(place.refusal(file_of(valid, valid.size() + 1, std::string(24, '\0'))),
             ContainsSubstring("zero byte"));
  write_atomically(place.path, file_of("{", 200'000'000, ""));
  std::filesystem::resize_file(place.path, 300'000'000);
  CHECK_THAT(place.refusal(), ContainsSubstring("exceeds the format's 100000000"));
}

TEST_CASE("safetensors: a file of more than may be read is refused before it is read",
          "[evidence][safetensors]") {
  const OneFile place;
  write_atomically(place.path, file_of(valid, 24));
  std::filesystem::resize_file(place.path, std::uintmax_t{1} << 42);
  CHECK_THAT(place.refusal(), ContainsSubstring("has 4398046511104 bytes, more than the"));
  write_atomically(place.path, file_of(valid, 24));
  CHECK_THROWS_AS(read_safetensors(place.path, {.limit_bytes = 80}), InputError);
}

TEST_CASE("safetensors: a header that is not the format's is refused", "[evidence][safetensors]") {
  const OneFile place;
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
  const OneFile place;
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
  const OneFile place;
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
  const OneFile place;
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
  const OneFile place;
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
  const OneFile place;
  const std::string header = one(R"({"dtype":"BOOL","shape":[3],"data_offsets":[0,3]})");
  CHECK(place.refusal(file_of(header, header.size(), std::string("\0\1\1", 3))) == "accepted");
  CHECK_THAT(place.refusal(file_of(header, header.size(), std::string("\0\1\2", 3))),
             ContainsSubstring("tensor \"w\": a BOOL is not 0 or 1"));
}

TEST_CASE("safetensors: no change of a byte and no truncation crashes the reader",
          "[evidence][safetensors]") {
  const OneFile place;
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
