// What an experiment trains on and is measured by: a source whose probabilities are known, or somebody's
// tokens.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/text/source.hpp"

namespace plumbline {

struct Batch {
  at::Tensor tokens;  // (B, T) int64
  std::optional<double>
      floor;  // nats a token: the mean of -ln P over what is predicted; empty: P is not known
};

class Corpus {
 public:
  virtual ~Corpus() = default;
  // The same for the same numbers, whatever is trained on it; other seeds have other text.
  virtual Batch training(std::uint32_t seed, std::int64_t step, std::int64_t batch,
                         std::int64_t length) const = 0;
  // Of text that no training sees.
  virtual Batch held_out(std::int64_t number, std::int64_t batch, std::int64_t length) const = 0;
  // A stretch of text that no training sees, and that no held_out() is.
  virtual std::vector<Token> text(std::int64_t number, std::size_t length) const = 0;
  // What whoever knows all probabilities would write after a beginning, always the likeliest; empty: nobody
  // knows.
  virtual std::vector<Token> likeliest(const std::vector<Token>& beginning, std::size_t length) const = 0;
  virtual std::string sentence() const = 0;
  virtual std::string sha256() const = 0;  // of a file; of a source, of its settings
  virtual std::optional<double> entropy_rate() const = 0;
  virtual Token vocabulary() const = 0;
};

std::unique_ptr<Corpus> source_corpus(const SourceSettings& settings);

// Token ids from a file (see read_samples); its last tenth is held out. Errors: InputError naming the file:
// what read_samples refuses, or an id of 2^18 or more, or fewer tokens than a hundred windows of
// `length`, the most that any text will have.
std::unique_ptr<Corpus> token_corpus(const std::filesystem::path& file, std::size_t length);

}  // namespace plumbline
