// Training and held-out text of an experiment: from a source of known probabilities, or from a file of
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
  at::Tensor tokens;            // (B, T) int64
  std::optional<double> floor;  // mean -ln P over predicted tokens, nats a token; empty: P is not known
};

class Corpus {
 public:
  virtual ~Corpus() = default;
  // Deterministic in its arguments; other seeds give other text.
  virtual Batch training_batch(std::uint32_t seed, std::int64_t step, std::int64_t batch,
                               std::int64_t length) const = 0;
  // Text that is not used in training.
  virtual Batch held_out_batch(std::int64_t number, std::int64_t batch, std::int64_t length) const = 0;
  // Text that is neither in a training batch nor in a held-out batch.
  virtual std::vector<Token> held_out_text(std::int64_t number, std::size_t length) const = 0;
  // The greedy continuation by the source's own probabilities; empty: they are not known.
  virtual std::vector<Token> likeliest_continuation(const std::vector<Token>& beginning,
                                                    std::size_t length) const = 0;
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
