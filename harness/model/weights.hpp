// Weights by canonical name, and the deterministic ones that every machine makes alike.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "harness/model/specification.hpp"

namespace plumbline {

using Weights = std::map<std::string, at::Tensor>;  // canonical name -> (out, in) or (size)
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;  // in an order that matters

// Weights chosen to discriminate: attention neither uniform nor one-hot, norm weights away from 1, an eighth
// of the embedding rows with a mean square near eps. Philox words become float32 by exact integers and one
// rounded multiplication, so that numpy makes the same bits (golden/oracle/weights.py). float32, CPU.
Weights discriminating_weights(const std::vector<ParameterShape>& parameters, std::uint32_t seed);

// As a model initialises itself before training: projections uniform within 1/sqrt(fan-in) (LeCun's bound, as
// torch.nn.Linear draws it), norm weights 1, biases 0, and the embedding as the specification says. float32,
// CPU.
Weights initial_weights(const Specification& specification, std::uint32_t seed);

// Token ids of the probe NAME: (batch, length), int64, CPU, each below vocab_size.
at::Tensor probe_tokens(const std::string& name, std::int64_t batch, std::int64_t length,
                        std::int64_t vocab_size, std::uint32_t seed);

// The same weights in another type or on another device; what already fits is shared, not copied.
Weights convert(const Weights& weights, at::ScalarType type, at::Device device);

}  // namespace plumbline
