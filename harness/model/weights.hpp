// Weights by canonical name, and generators whose bits are the same on every machine.
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
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;  // in a significant order

// Weights on which mistakes show: attention neither uniform nor one-hot, norm weights away from 1, an eighth
// of the embedding rows with a mean square near eps. Philox words become float32 by exact integer arithmetic
// and one rounded multiplication, so that numpy computes the same bits (golden/oracle/weights.py). float32,
// CPU.
Weights discriminating_weights(const std::vector<ParameterShape>& parameters, std::uint32_t seed);

// The initial weights before training, by specification.initialization: matrices uniform within
// 1/sqrt(fan-in) (LeCun et al. 1998, as in torch.nn.Linear) or normal, norm weights 1, biases 0. float32,
// CPU.
Weights initial_weights(const Specification& specification, std::uint32_t seed);

// Token ids of the probe NAME: (batch, length), int64, CPU, each below vocab_size.
at::Tensor probe_tokens(const std::string& name, std::int64_t batch, std::int64_t length,
                        std::int64_t vocab_size, std::uint32_t seed);

// The same weights in another type or on another device. Tensors that need no conversion are shared.
Weights convert(const Weights& weights, at::ScalarType type, at::Device device);

}  // namespace plumbline
