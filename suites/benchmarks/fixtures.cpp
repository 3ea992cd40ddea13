#include "suites/benchmarks/fixtures.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <numeric>

namespace plumbline::benchmarks {

const Specification& specification() {
  static const auto root = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
  static const auto found = find_specification("minimind2-small", root / "fixtures" / "specifications");
  return found;
}

const Weights& weights() {
  static const auto instance = discriminating_weights(specification().parameters(), 1);
  return instance;
}

const Model& model() {
  static const Model instance(specification(), weights());
  return instance;
}

const Engine& engine() {
  static const Engine instance(specification(), weights());
  return instance;
}

Tokens tokens(std::int64_t batch, std::int64_t length) {
  return {probe_tokens("benchmark", batch, length, specification().vocab_size, 1), {}, Padding::none};
}

double weight_operations(std::int64_t tokens) {
  std::int64_t elements = 0;
  for (const auto& parameter : specification().parameters())
    if (parameter.shape.size() == 2) elements += parameter.shape[0] * parameter.shape[1];
  return 2.0 * static_cast<double>(elements) * static_cast<double>(tokens);
}

double attention_operations(std::int64_t batch, std::int64_t length) {
  const auto pairs =
      static_cast<double>(batch) * static_cast<double>(length) * static_cast<double>(length + 1) / 2;
  return 4.0 * pairs * static_cast<double>(specification().hidden_size * specification().num_hidden_layers);
}

double weight_bytes() {
  return 4.0 * static_cast<double>(specification().parameter_count());
}

const std::filesystem::path& scratch() {
  struct Directory {
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / fmt::format("plumbline-benchmarks-{}", getpid());
    Directory() { std::filesystem::create_directories(path); }
    ~Directory() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  };
  static const Directory directory;
  return directory.path;
}

}  // namespace plumbline::benchmarks
