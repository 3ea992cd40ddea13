#include "harness/experiment/corpus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "harness/model/philox.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/text/samples.hpp"

namespace plumbline {
namespace {

constexpr Token kMostVocabulary = 1u << 18;
constexpr std::uint64_t kHeldOut = std::uint64_t{1} << 39, kText = kHeldOut + (std::uint64_t{1} << 38);

class SourceCorpus : public Corpus {
 public:
  explicit SourceCorpus(const SourceSettings& settings) : source_(settings) {}

  Batch training_batch(std::uint32_t seed, std::int64_t step, std::int64_t batch,
                       std::int64_t length) const override {
    return streams((std::uint64_t{seed} << 31) + static_cast<std::uint64_t>(step * batch), batch, length);
  }
  Batch held_out_batch(std::int64_t number, std::int64_t batch, std::int64_t length) const override {
    return streams(kHeldOut + static_cast<std::uint64_t>(number * batch), batch, length);
  }
  std::vector<Token> held_out_text(std::int64_t number, std::size_t length) const override {
    return source_.draw(kText + static_cast<std::uint64_t>(number), length).tokens;
  }
  std::vector<Token> likeliest_continuation(const std::vector<Token>& beginning,
                                            std::size_t length) const override {
    auto stream = beginning;
    for (std::size_t i = 0; i < length; ++i) {
      const auto next = source_.next(stream);
      stream.push_back(static_cast<Token>(std::max_element(next.begin(), next.end()) - next.begin()));
    }
    return {stream.begin() + static_cast<std::ptrdiff_t>(beginning.size()), stream.end()};
  }
  std::string sentence() const override { return source_.sentence(); }
  std::string sha256() const override { return plumbline::sha256(source_.sentence()); }
  std::optional<double> entropy_rate() const override { return source_.entropy_rate(); }
  Token vocabulary() const override { return source_.settings().vocabulary; }

 private:
  Batch streams(std::uint64_t first, std::int64_t batch, std::int64_t length) const {
    Batch all{at::empty({batch, length}, at::kLong), 0.0};
    auto* id = all.tokens.data_ptr<std::int64_t>();
    for (std::int64_t row = 0; row < batch; ++row) {
      const auto stream =
          source_.draw(first + static_cast<std::uint64_t>(row), static_cast<std::size_t>(length));
      id = std::copy(stream.tokens.begin(), stream.tokens.end(), id);
      for (std::size_t t = 1; t < stream.tokens.size(); ++t) *all.floor -= stream.log_probabilities[t];
    }
    *all.floor /= static_cast<double>(batch * (length - 1));
    return all;
  }

  Source source_;
};

class TokenCorpus : public Corpus {
 public:
  TokenCorpus(const std::filesystem::path& file, std::size_t length) : longest_(length) {
    auto samples = read_samples(file, {"ids", kMostVocabulary});
    for (const auto& sample : samples.all)
      tokens_.insert(tokens_.end(), sample.tokens.begin(), sample.tokens.end());
    sha256_ = samples.sha256;
    name_ = printable(file.string());
    if (tokens_.size() < 100 * length)
      throw InputError(fmt::format("{}: holds {} tokens, expected at least {}: a hundred windows of {}",
                                   name_, tokens_.size(), 100 * length, length));
    trained_ = tokens_.size() / 10 * 9;
    measured_ = trained_ + (tokens_.size() - trained_) / 2;
    vocabulary_ = std::max<Token>(*std::max_element(tokens_.begin(), tokens_.end()) + 1, 2);
  }

  Batch training_batch(std::uint32_t seed, std::int64_t step, std::int64_t batch,
                       std::int64_t length) const override {
    return windows(PhiloxStream("training", seed), step * batch, batch, length, 0, trained_);
  }
  Batch held_out_batch(std::int64_t number, std::int64_t batch, std::int64_t length) const override {
    return windows(PhiloxStream("held out", 1), number * batch, batch, length, trained_, measured_);
  }
  std::vector<Token> held_out_text(std::int64_t number, std::size_t length) const override {
    const auto begin = window_begin(PhiloxStream("text", 1), number, measured_, tokens_.size());
    if (length > longest_) throw std::logic_error("a longer text than was said");
    return {tokens_.begin() + begin, tokens_.begin() + begin + static_cast<std::ptrdiff_t>(length)};
  }
  std::vector<Token> likeliest_continuation(const std::vector<Token>&, std::size_t) const override {
    return {};
  }
  std::string sentence() const override {
    return fmt::format("{} tokens of {}, of which the last tenth is held out; their entropy is not known",
                       tokens_.size(), name_);
  }
  std::string sha256() const override { return sha256_; }
  std::optional<double> entropy_rate() const override { return std::nullopt; }
  Token vocabulary() const override { return vocabulary_; }

 private:
  // The beginning of a random window of longest_ tokens.
  std::ptrdiff_t window_begin(const PhiloxStream& random, std::int64_t number, std::size_t first,
                              std::size_t last) const {
    const auto words = random.block(static_cast<std::uint64_t>(number));
    const auto drawn = std::uint64_t{words[0]} << 32 | words[1];
    return static_cast<std::ptrdiff_t>(first + drawn % (last - first - longest_ + 1));
  }
  Batch windows(const PhiloxStream& random, std::int64_t number, std::int64_t batch, std::int64_t length,
                std::size_t first, std::size_t last) const {
    Batch all{at::empty({batch, length}, at::kLong), std::nullopt};
    auto* id = all.tokens.data_ptr<std::int64_t>();
    for (std::int64_t row = 0; row < batch; ++row) {
      const auto begin = tokens_.begin() + window_begin(random, number + row, first, last);
      id = std::copy(begin, begin + length, id);
    }
    return all;
  }

  std::vector<Token> tokens_;
  std::string name_, sha256_;
  std::size_t longest_, trained_ = 0, measured_ = 0;  // where held-out text begins, and where prompts begin
  Token vocabulary_ = 0;
};

}  // namespace

std::unique_ptr<Corpus> source_corpus(const SourceSettings& settings) {
  return std::make_unique<SourceCorpus>(settings);
}

std::unique_ptr<Corpus> token_corpus(const std::filesystem::path& file, std::size_t length) {
  return std::make_unique<TokenCorpus>(file, length);
}

}  // namespace plumbline
