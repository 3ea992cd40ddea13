#include "harness/model/engine.hpp"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "harness/model/kernels.hpp"

namespace plumbline {

// What all layers of one pass share.
struct Engine::Pass {
  std::int64_t batch = 0, queries = 0;  // B, T
  std::int64_t slots_written = 0;       // slots written before this pass
  bool uses_causal_kernel = false;      // no padding, float32 on a CPU
  at::Tensor cos, sin;                  // (1 or B, T, Dh/2)
  at::Tensor mask;                      // (1 or B, 1, T, S), 0 or -inf; undefined: causal
  at::Tensor real;                      // (B, T) bool; undefined: all are real
};

namespace {

// Positions whose rotations are computed once; those of later ones are computed in each pass.
constexpr std::int64_t kLongestRotationTable = 32768;

// LibTorch computes x W^T slower than W x^T for few rows of x. Measured at 32 rows in float32 with AVX-512:
// 135 to 208 against 278 to 293 GFLOP/s; from 64 rows on the first is faster.
constexpr std::int64_t kMostTransposedRows = 48;

// One allocation for all packed matrices.
class Arena {
 public:
  Arena(std::int64_t elements, const at::TensorOptions& options)
      : memory_(options.device().is_cpu()
                    ? kernels::empty_in_huge_pages(elements, c10::typeMetaToScalarType(options.dtype()))
                    : at::empty({elements}, options)) {}

  // Stacks the named parameters along axis 0; those that are missing are left out; undefined: all are.
  at::Tensor pack(const Weights& weights, const std::vector<std::string>& names) {
    const auto begin = used_;
    std::vector<std::int64_t> shape;
    for (const auto& name : names)
      if (const auto found = weights.find(name); found != weights.end()) {
        const auto& part = found->second;
        memory_.narrow(0, used_, part.numel()).view(part.sizes()).copy_(part);
        used_ += part.numel();
        const auto rows = shape.empty() ? 0 : shape[0];
        shape = part.sizes().vec();
        shape[0] += rows;
      }
    return shape.empty() ? at::Tensor() : memory_.narrow(0, begin, used_ - begin).view(shape);
  }

 private:
  at::Tensor memory_;
  std::int64_t used_ = 0;
};

bool has_padding(const Tokens& tokens) {
  const auto length = tokens.ids.size(1);
  return tokens.padding != Padding::none &&
         std::any_of(tokens.lengths.begin(), tokens.lengths.end(), [&](auto real) { return real != length; });
}

}  // namespace

Engine::Engine(const Specification& specification, const Weights& weights) : specification_(specification) {
  const Model checked(specification, weights);  // its constructor checks names and shapes
  uses_kernels_ = kernels::supported(specification, checked.type(), checked.device());
  const at::NoGradGuard no_gradients;
  const auto options = at::TensorOptions().dtype(checked.type()).device(checked.device());
  Arena arena(specification.parameter_count(), options);
  const auto matrix = [&](const std::string& prefix, const std::vector<std::string>& names) {
    std::vector<std::string> weight_names, bias_names;
    for (const auto& name : names)
      weight_names.push_back(prefix + name + ".weight"), bias_names.push_back(prefix + name + ".bias");
    return Matrix{arena.pack(weights, weight_names), arena.pack(weights, bias_names)};
  };
  embedding_ = arena.pack(weights, {kEmbedding});
  for (std::int64_t layer = 0; layer < specification.num_hidden_layers; ++layer) {
    const auto prefix = fmt::format("model.layers.{}.", layer);
    Layer packed;
    packed.attention_norm = arena.pack(weights, {prefix + "input_layernorm.weight"});
    packed.qkv = matrix(prefix + "self_attn.", {"q_proj", "k_proj", "v_proj"});
    packed.out = matrix(prefix + "self_attn.", {"o_proj"});
    packed.feed_forward_norm = arena.pack(weights, {prefix + "post_attention_layernorm.weight"});
    packed.gate_up = matrix(prefix + "mlp.", {"gate_proj", "up_proj"});
    packed.down = matrix(prefix + "mlp.", {"down_proj"});
    layers_.push_back(std::move(packed));
  }
  norm_ = arena.pack(weights, {"model.norm.weight"});
  head_.weight = specification.tie_word_embeddings ? embedding_ : arena.pack(weights, {kHead});

  frequencies_ = rotary_frequencies(specification, checked.type(), checked.device());
  const auto positions = at::arange(std::min(specification.max_position_embeddings, kLongestRotationTable),
                                    frequencies_.options());
  const auto angles = positions.unsqueeze(1) * frequencies_;  // (positions, Dh/2)
  cos_ = angles.cos();
  sin_ = angles.sin();
}

at::Tensor Engine::forward(const Tokens& tokens, std::int64_t first_position) const {
  return run(tokens, nullptr, first_position, false);
}

at::Tensor Engine::extend(EngineCache& cache, const Tokens& tokens, std::int64_t first_position,
                          bool last_only) const {
  if (cache.length + tokens.ids.size(1) > cache.capacity)
    throw CacheOverrun(fmt::format("{} tokens do not fit a KV cache of {} slots with {} written",
                                   tokens.ids.size(1), cache.capacity, cache.length));
  return run(tokens, &cache, first_position, last_only);
}

EngineCache Engine::make_cache(std::int64_t batch, std::int64_t capacity) const {
  const auto& s = specification_;
  const auto zeros = [&] {
    return at::zeros({batch, s.num_key_value_heads, capacity, s.head_size()}, embedding_.options())
        .transpose(1, 2);
  };
  EngineCache cache;
  cache.capacity = capacity;
  for (std::int64_t layer = 0; layer < s.num_hidden_layers; ++layer)
    cache.layers.push_back({zeros(), zeros()});
  cache.real = at::zeros({batch, capacity}, embedding_.options().dtype(at::kBool));
  cache.seen = at::zeros({batch}, embedding_.options().dtype(at::kLong));
  return cache;
}

Engine::Pass Engine::plan_pass(const Tokens& tokens, EngineCache* cache, std::int64_t first_position) const {
  Pass pass;
  pass.batch = tokens.ids.size(0);
  pass.queries = tokens.ids.size(1);
  const auto integers = embedding_.options().dtype(at::kLong);
  const auto slots = [&](std::int64_t from, std::int64_t to) { return at::arange(from, to, integers); };
  bool padded = has_padding(tokens);
  if (cache != nullptr) {
    pass.slots_written = cache->length;
    padded = cache->padded = cache->padded || padded;
  }
  const auto first = first_position + pass.slots_written, end = pass.slots_written + pass.queries;
  if (!padded && first >= 0 && first + pass.queries <= cos_.size(0)) {
    pass.cos = cos_.narrow(0, first, pass.queries).unsqueeze(0);
    pass.sin = sin_.narrow(0, first, pass.queries).unsqueeze(0);
  } else {
    pass.real = real_tokens(tokens).to(device());
    auto seen = at::full({pass.batch, 1}, first_position, integers);
    if (cache != nullptr) seen += cache->seen.unsqueeze(1);
    const auto positions = (seen + pass.real.cumsum(1) - 1).clamp_min(0);  // (B, T)
    const auto angles = rotary_angles(positions, frequencies_).squeeze(2);
    pass.cos = angles.cos();
    pass.sin = angles.sin();
  }
  pass.uses_causal_kernel = uses_kernels_ && !padded && type() == at::kFloat;
  if (padded || (pass.slots_written > 0 && pass.queries > 1 && !pass.uses_causal_kernel)) {
    auto real_queries = at::ones({1, 1}, integers.dtype(at::kBool)), real_keys = real_queries;
    if (padded) {
      real_queries = pass.real;
      real_keys = cache == nullptr ? pass.real
                                   : at::cat({cache->real.narrow(1, 0, pass.slots_written), pass.real}, 1);
    }
    const auto allowed =
        causal_mask({slots(pass.slots_written, end), slots(0, end), real_queries, real_keys});
    pass.mask = at::zeros(allowed.sizes(), embedding_.options())
                    .masked_fill_(~allowed, -std::numeric_limits<double>::infinity());
  }
  return pass;
}

at::Tensor Engine::run(const Tokens& tokens, EngineCache* cache, std::int64_t first_position,
                       bool last_only) const {
  const at::NoGradGuard no_gradients;
  const auto pass = plan_pass(tokens, cache, first_position);
  auto x =
      at::embedding(embedding_, tokens.ids.to(device())).view({-1, specification_.hidden_size});  // (B*T, D)
  at::Tensor branch;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    const auto& packed = layers_[layer];
    const auto attended = add_and_norm(x, branch, packed.attention_norm);
    branch = attention(packed, attended, pass, cache == nullptr ? nullptr : &cache->layers[layer]);
    branch = feed_forward(packed, add_and_norm(x, branch, packed.feed_forward_norm));
  }
  const auto rows = last_only ? 1 : pass.queries;
  if (rows != pass.queries)
    for (auto* tensor : {&x, &branch})
      *tensor = tensor->view({pass.batch, pass.queries, -1}).select(1, pass.queries - 1).contiguous();
  const auto logits = product(head_, add_and_norm(x, branch, norm_));  // (B*T or B, V)
  if (cache != nullptr) {
    auto new_slots = cache->real.narrow(1, pass.slots_written, pass.queries);
    if (pass.real.defined()) {
      new_slots.copy_(pass.real);
      cache->seen += pass.real.sum(1);
    } else {
      new_slots.fill_(true);
      cache->seen += pass.queries;
    }
    cache->length += pass.queries;
  }
  return logits.view({pass.batch, rows, specification_.vocab_size});
}

at::Tensor Engine::attention(const Layer& layer, const at::Tensor& x, const Pass& pass,
                             KVCache::Layer* layer_cache) const {
  const auto& s = specification_;
  const auto size = s.head_size(), heads = s.num_attention_heads, groups = s.num_key_value_heads;
  const auto rows = product(layer.qkv, x);  // (B*T, (H + 2K) * Dh)
  const auto part = [&](std::int64_t first, std::int64_t count) {
    return rows.narrow(1, first * size, count * size).view({pass.batch, pass.queries, count, size});
  };
  auto q = part(0, heads), k = part(heads, groups), v = part(heads + groups, groups);  // (B, T, H or K, Dh)
  if (uses_kernels_) {
    kernels::rotate(rows, heads + groups, pass.cos, pass.sin, s.rotary);
  } else {
    const auto rotated_heads = part(0, heads + groups);
    const auto cos = pass.cos.unsqueeze(2), sin = pass.sin.unsqueeze(2);  // (1 or B, T, 1, Dh/2)
    const bool halves = s.rotary == Rotary::halves;
    const auto wide = rotated_heads.to(pass.cos.scalar_type());
    const auto first = halves ? wide.narrow(-1, 0, size / 2) : wide.slice(-1, 0, at::nullopt, 2);
    const auto second = halves ? wide.narrow(-1, size / 2, size / 2) : wide.slice(-1, 1, at::nullopt, 2);
    const std::vector<at::Tensor> both{first * cos - second * sin, second * cos + first * sin};
    rotated_heads.copy_(halves ? at::cat(both, -1) : at::stack(both, -1).flatten(-2));
  }
  if (layer_cache != nullptr) {
    layer_cache->keys.narrow(1, pass.slots_written, pass.queries).copy_(k);
    layer_cache->values.narrow(1, pass.slots_written, pass.queries).copy_(v);
    k = layer_cache->keys.narrow(1, 0, pass.slots_written + pass.queries);
    v = layer_cache->values.narrow(1, 0, pass.slots_written + pass.queries);
  }
  const auto project_context = [&](const at::Tensor& context) {
    return product(layer.out, context.reshape({-1, heads * size}));
  };
  const auto attend = [&](const at::Tensor& queries, bool causal) {  // (B, heads, rows, Dh)
    const auto mask = pass.mask.defined() ? std::optional<at::Tensor>(pass.mask) : std::nullopt;
    return at::scaled_dot_product_attention(queries, k.transpose(1, 2), v.transpose(1, 2), mask, 0.0, causal,
                                            std::nullopt, queries.size(1) != groups);
  };
  // All queries of a group attend to the same keys, so that they can be rows of one product.
  if (pass.queries == 1)
    return project_context(attend(q.view({pass.batch, groups, s.repeat_factor(), size}), false));
  if (pass.uses_causal_kernel) return project_context(kernels::causal_attention(q, k, v));
  return project_context(attend(q.transpose(1, 2), !pass.mask.defined()).transpose(1, 2));
}

at::Tensor Engine::feed_forward(const Layer& layer, const at::Tensor& x) const {
  const auto both = product(layer.gate_up, x);  // (B*T, 2F)
  const auto size = specification_.intermediate_size;
  return product(
      layer.down,
      activate(both.narrow(1, 0, size), specification_.hidden_act).mul_(both.narrow(1, size, size)));
}

at::Tensor Engine::product(const Matrix& matrix, const at::Tensor& x) const {
  if (uses_kernels_ && x.size(0) <= kernels::kMostKernelRows)
    return kernels::product(x, matrix.weight, matrix.bias);
  if (x.is_cpu() && x.scalar_type() == at::kFloat && x.size(0) > 1 && x.size(0) <= kMostTransposedRows) {
    const auto rows = at::mm(matrix.weight, x.t()).t().contiguous();
    return matrix.bias.defined() ? rows + matrix.bias : rows;
  }
  return linear(x, matrix.weight, matrix.bias);
}

at::Tensor Engine::add_and_norm(at::Tensor& x, const at::Tensor& branch, const at::Tensor& weight) const {
  const auto& s = specification_;
  // In float32 the two precisions are the same.
  if (uses_kernels_ && (s.norm_precision == NormPrecision::float32 || x.scalar_type() == at::kFloat))
    return kernels::add_and_norm(x, branch, weight, s.rms_norm_eps);
  if (branch.defined()) x.add_(branch);
  return rms_norm(x, weight, s.rms_norm_eps, s.norm_precision);
}

}  // namespace plumbline
