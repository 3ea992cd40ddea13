// What the tests of safetensors files share.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>

#include "harness/evidence/safetensors.hpp"
#include "harness/system/child.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline::safetensors_tests {

inline std::string file_of(const std::string& header, std::uint64_t length, const std::string& data) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

inline std::string file_of(const std::string& header, std::size_t data_bytes) {
  return file_of(header, header.size(), std::string(data_bytes, '\0'));
}

// A directory for one file.
struct OneFile {
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
      CHECK_THAT(message, Catch::Matchers::ContainsSubstring(path.string()));
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

}  // namespace plumbline::safetensors_tests
