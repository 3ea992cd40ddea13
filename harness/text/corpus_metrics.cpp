// What is measured of all samples together: how far they can be compressed, and how often their tokens stand.
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <new>
#include <unordered_map>

#include "harness/text/repetition_metrics.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kZipfRanks = 5000, kLeastTypes = 10;
constexpr std::size_t kLeastBytes = 64;  // the wrapper of gzip alone has 18
constexpr const char* kShaib = "Shaib et al. 2024, Standardizing the Measurement of Text Diversity";

// The bytes of an integer that can hold every id.
int id_width(const std::vector<Sequence>& sequences) {
  Token largest = 0;
  for (const auto& tokens : sequences)
    for (const auto token : tokens) largest = std::max(largest, token);
  return largest < 0x10000 ? 2 : 4;
}

std::string bytes_of_ids(const std::vector<Sequence>& sequences, int width) {
  std::string bytes;
  for (const auto& tokens : sequences)
    for (const auto token : tokens)
      for (int i = 0; i < width; ++i) bytes += static_cast<char>(token >> (8 * i));
  return bytes;
}

std::string joined_texts(const std::vector<Sample>& samples) {
  std::string bytes;
  for (const auto& sample : samples) {
    if (!bytes.empty()) bytes += ' ';
    bytes += sample.text;
  }
  return bytes;
}

// The slope of the least-squares line through log frequency over log rank, times -1.
double zipf_coefficient(const std::vector<double>& frequencies) {
  double x = 0, y = 0, xx = 0, xy = 0;
  const auto n = static_cast<double>(frequencies.size());
  for (std::size_t rank = 0; rank < frequencies.size(); ++rank) {
    const double a = std::log(static_cast<double>(rank + 1)), b = std::log(frequencies[rank]);
    x += a, y += b, xx += a * a, xy += a * b;
  }
  return (x * y - n * xy) / (n * xx - x * x);
}

}  // namespace

std::vector<Metric> compression_metrics(const RepetitionInput& input) {
  const bool by_ids = input.samples.unit == "token ids";
  const int width = id_width(input.sequences);
  auto metric = new_metric(
      "compression-ratio", "bytes over gzipped bytes, all samples together", fmt::format("{}, CR", kShaib),
      fmt::format("one gzip, level 6 (its own default), of {}; repeats farther apart than 32 KiB do not show",
                  by_ids ? fmt::format("the ids as {}-byte little-endian integers", width)
                         : "the texts as UTF-8 with a space between samples"),
      MetricKind::corpus, 1);
  metric.measured = input.samples.all.size();
  const auto bytes = by_ids ? bytes_of_ids(input.sequences, width) : joined_texts(input.samples.all);
  if (bytes.size() < kLeastBytes)
    metric.reason = fmt::format("fewer than {} bytes", kLeastBytes);
  else
    metric.value = compression_ratio(bytes);
  return {std::move(metric)};
}

std::vector<Metric> zipf_metrics(const RepetitionInput& input) {
  auto metric = new_metric(
      "zipf", "Zipf coefficient of all samples together", fmt::format("{}, section 5", kHoltzman),
      fmt::format("minus the slope of log frequency over log rank, least squares, ranks 1 to {}", kZipfRanks),
      MetricKind::corpus, 0);
  metric.measured = input.samples.all.size();
  std::unordered_map<Token, std::size_t> counts;
  for (const auto& tokens : input.sequences)
    for (const auto token : tokens) ++counts[token];
  std::vector<double> frequencies;
  for (const auto& [token, count] : counts) frequencies.push_back(static_cast<double>(count));
  std::sort(frequencies.begin(), frequencies.end(), std::greater<>());
  if (frequencies.size() > kZipfRanks) frequencies.resize(kZipfRanks);
  if (frequencies.size() < kLeastTypes)
    metric.reason = fmt::format("fewer than {} distinct tokens", kLeastTypes);
  else
    metric.value = zipf_coefficient(frequencies);
  return {std::move(metric)};
}

double compression_ratio(std::string_view bytes) {
  z_stream stream{};
  if (deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) throw std::bad_alloc();
  std::vector<Bytef> out(1 << 16);
  std::size_t compressed = 0;
  int status = Z_OK;
  while (status == Z_OK) {
    const auto part = std::min<std::size_t>(bytes.size(), 1 << 20);
    if (stream.avail_in == 0) {
      stream.next_in =
          reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));  // zlib's interface is from C
      stream.avail_in = static_cast<uInt>(part);
      bytes.remove_prefix(part);
    }
    stream.next_out = out.data();
    stream.avail_out = static_cast<uInt>(out.size());
    status = deflate(&stream, bytes.empty() ? Z_FINISH : Z_NO_FLUSH);
    compressed += out.size() - stream.avail_out;
  }
  const auto original = stream.total_in;
  deflateEnd(&stream);
  return static_cast<double>(original) / static_cast<double>(compressed);
}

}  // namespace plumbline
