#include "harness/model/weights.hpp"

#include <ATen/Parallel.h>

#include <cmath>

#include "harness/model/philox.hpp"

namespace plumbline {
namespace {

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}
bool is_norm(const std::string& name) {
  return ends_with(name, "norm.weight");
}
bool is_bias(const std::string& name) {
  return ends_with(name, ".bias");
}
bool is_embedding(const std::string& name) {
  return ends_with(name, "embed_tokens.weight");
}

// The standard deviation of bell().
const double kBellDeviation = std::sqrt((65536.0 * 65536.0 - 1.0) / 3.0);

// The sum of four 16-bit words less its mean: an exact integer, nearly normal (Irwin-Hall, n = 4).
double bell(std::uint32_t first, std::uint32_t second) {
  const auto sum = (first & 0xffff) + (first >> 16) + (second & 0xffff) + (second >> 16);
  return static_cast<double>(static_cast<std::int64_t>(sum) - 131070);
}

// A word as a multiple of 2^-24 in [0, 1), exactly.
double unit(std::uint32_t word) {
  return static_cast<double>(word >> 8) * 0x1p-24;
}

// A float32 tensor whose element e is fill(e), computed in parallel.
template <typename Fill>
at::Tensor generate(at::IntArrayRef shape, Fill fill) {
  auto tensor = at::empty(shape, at::kFloat);
  auto* out = tensor.data_ptr<float>();
  at::parallel_for(0, tensor.numel(), 1 << 14, [&](std::int64_t begin, std::int64_t end) {
    for (auto element = begin; element < end; ++element) out[element] = fill(element);
  });
  return tensor;
}

at::Tensor bell_tensor(const ParameterShape& parameter, std::uint32_t seed) {
  const PhiloxStream stream(parameter.name, seed);
  const auto columns = static_cast<double>(parameter.shape.back());
  double deviation = 1.0 / std::sqrt(columns);
  if (is_bias(parameter.name)) deviation = 0.3;
  if (is_embedding(parameter.name)) deviation = 0.02;
  if (parameter.name.find("q_proj.weight") != std::string::npos ||
      parameter.name.find("k_proj.weight") != std::string::npos)
    deviation = 1.6 / std::sqrt(columns);
  // Rows with a mean square near RMSNorm's eps, on which a wrong or misplaced eps shows.
  const double scale = deviation / kBellDeviation;
  const double faint = deviation * 0.15 / kBellDeviation;
  const auto width = parameter.shape.back();
  const bool has_faint_rows = is_embedding(parameter.name);
  return generate(parameter.shape, [=](std::int64_t element) {
    const auto words = stream.block(static_cast<std::uint64_t>(element / 2));
    const auto value = element % 2 == 0 ? bell(words[0], words[1]) : bell(words[2], words[3]);
    return static_cast<float>(value * (has_faint_rows && element / width % 8 == 5 ? faint : scale));
  });
}

// offset + width * u, u uniform in [0, 1).
at::Tensor uniform_tensor(const ParameterShape& parameter, std::uint32_t seed, double offset, double width) {
  const PhiloxStream stream(parameter.name, seed);
  return generate(parameter.shape, [=](std::int64_t element) {
    const auto words = stream.block(static_cast<std::uint64_t>(element / 4));
    return static_cast<float>(offset + width * unit(words[static_cast<std::size_t>(element % 4)]));
  });
}

// Box & Muller 1958. The bits of log and cos differ between machines: only for initial weights.
at::Tensor normal_tensor(const ParameterShape& parameter, std::uint32_t seed, double deviation) {
  const PhiloxStream stream(parameter.name, seed);
  return generate(parameter.shape, [=](std::int64_t element) {
    const auto words = stream.block(static_cast<std::uint64_t>(element));
    const double radius = deviation * std::sqrt(-2.0 * std::log(1.0 - unit(words[0])));
    return static_cast<float>(radius * std::cos(6.283185307179586 * unit(words[1])));
  });
}

}  // namespace

Weights discriminating_weights(const std::vector<ParameterShape>& parameters, std::uint32_t seed) {
  Weights weights;
  for (const auto& parameter : parameters)
    weights[parameter.name] =
        is_norm(parameter.name) ? uniform_tensor(parameter, seed, 0.5, 1.0) : bell_tensor(parameter, seed);
  return weights;
}

Weights initial_weights(const Specification& specification, std::uint32_t seed) {
  Weights weights;
  for (const auto& parameter : specification.parameters()) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(parameter.shape.back()));
    const auto& distribution = specification.initialization.of(parameter.name);
    if (is_norm(parameter.name))
      weights[parameter.name] = at::ones(parameter.shape);
    else if (is_bias(parameter.name))
      weights[parameter.name] = at::zeros(parameter.shape);
    else if (!distribution.uniform())
      weights[parameter.name] = normal_tensor(parameter, seed, distribution.normal);
    else
      weights[parameter.name] = uniform_tensor(parameter, seed, -bound, 2 * bound);
  }
  return weights;
}

at::Tensor probe_tokens(const std::string& name, std::int64_t batch, std::int64_t length,
                        std::int64_t vocab_size, std::uint32_t seed) {
  const PhiloxStream stream("probe/" + name, seed);
  auto tokens = at::empty({batch, length}, at::kLong);
  auto* out = tokens.data_ptr<std::int64_t>();
  for (std::int64_t element = 0; element < batch * length; ++element)
    out[element] =
        stream.block(static_cast<std::uint64_t>(element / 4))[static_cast<std::size_t>(element % 4)] %
        static_cast<std::uint64_t>(vocab_size);
  return tokens;
}

Weights convert(const Weights& weights, at::ScalarType type, at::Device device) {
  Weights converted;
  for (const auto& [name, tensor] : weights) converted[name] = tensor.to(device, type);
  return converted;
}

}  // namespace plumbline
