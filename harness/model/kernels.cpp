#include "harness/model/kernels.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

namespace plumbline::kernels {
namespace {

// GCC's and Clang's portable vectors, so that the order of sums is the same on every machine.
using Four = float __attribute__((vector_size(16)));
constexpr std::int64_t kLanes = 4;

Four load(const float* from) {
  Four four;
  std::memcpy(&four, from, sizeof four);
  return four;
}
void store(float* to, Four four) {
  std::memcpy(to, &four, sizeof four);
}

// A bfloat16 is the upper half of a float32.
Four load(const at::BFloat16* from) {
  using FourHalves = std::uint16_t __attribute__((vector_size(8)));
  using FourWords = std::uint32_t __attribute__((vector_size(16)));
  FourHalves halves;
  std::memcpy(&halves, from, sizeof halves);
  const auto words = __builtin_convertvector(halves, FourWords) << 16;
  Four four;
  std::memcpy(&four, &words, sizeof four);
  return four;
}
void store(at::BFloat16* to, Four four) {
  for (std::int64_t lane = 0; lane < kLanes; ++lane) to[lane] = at::BFloat16(four[lane]);
}

// Rounds to T.
template <typename T>
Four rounded(Four four) {
  T stored[kLanes];
  store(stored, four);
  return load(stored);
}

// The operands of one iteration. Members and not an array, since -O2 keeps only those in registers.
struct Sixteen {
  Four a, b, c, d;
};
constexpr std::int64_t kStep = 16;

template <typename T>
Sixteen load_sixteen(const T* from) {
  return {load(from), load(from + kLanes), load(from + 2 * kLanes), load(from + 3 * kLanes)};
}

// Independent sums hide the latency of addition.
void add_product(Sixteen& sums, const Sixteen& x, const Sixteen& y) {
  sums.a += x.a * y.a;
  sums.b += x.b * y.b;
  sums.c += x.c * y.c;
  sums.d += x.d * y.d;
}

float total(const Sixteen& sums) {
  const auto four = (sums.a + sums.b) + (sums.c + sums.d);
  return (four[0] + four[1]) + (four[2] + four[3]);
}

// Prefetches 4 KiB ahead: hardware prefetchers stop at page boundaries.
template <typename T>
void fetch_ahead(const T* weights) {
  __builtin_prefetch(reinterpret_cast<const char*>(weights) + 4096);
}

template <typename T>
float dot(const float* x, const T* weights, std::int64_t size) {
  Sixteen sums{};
  for (std::int64_t i = 0; i < size; i += kStep) {
    fetch_ahead(weights + i);
    add_product(sums, load_sixteen(x + i), load_sixteen(weights + i));
  }
  return total(sums);
}

// Two rows of x at once, so that each weight is loaded once for both.
template <typename T>
std::pair<float, float> two_dots(const float* x, const float* y, const T* weights, std::int64_t size) {
  Sixteen first{}, second{};
  for (std::int64_t i = 0; i < size; i += kStep) {
    fetch_ahead(weights + i);
    const auto sixteen = load_sixteen(weights + i);
    add_product(first, load_sixteen(x + i), sixteen);
    add_product(second, load_sixteen(y + i), sixteen);
  }
  return {total(first), total(second)};
}

template <typename T>
void product_into(const float* x, std::int64_t rows, const at::Tensor& weight, const T* bias, T* out) {
  const auto outputs = weight.size(0), inputs = weight.size(1);
  const auto* weights = weight.data_ptr<T>();
  const auto grain = std::max<std::int64_t>(1, (1 << 15) / inputs);
  at::parallel_for(0, outputs, grain, [&](std::int64_t begin, std::int64_t end) {
    for (auto output = begin; output < end; ++output) {
      const auto* weight_row = weights + output * inputs;
      const float bias_value = bias == nullptr ? 0.0f : static_cast<float>(bias[output]);
      for (std::int64_t row = 0; row < rows; row += 2) {
        const auto* x_row = x + row * inputs;
        if (row + 1 == rows) {
          out[row * outputs + output] = T(dot(x_row, weight_row, inputs) + bias_value);
          continue;
        }
        const auto [first, second] = two_dots(x_row, x_row + inputs, weight_row, inputs);
        out[row * outputs + output] = T(first + bias_value);
        out[(row + 1) * outputs + output] = T(second + bias_value);
      }
    }
  });
}

template <typename T>
void add_and_norm_row(T* x, const T* branch, const T* weight, float eps, std::int64_t size, T* out) {
  if (branch != nullptr)
    for (std::int64_t i = 0; i < size; i += kLanes) store(x + i, load(x + i) + load(branch + i));
  Sixteen squares{};
  for (std::int64_t i = 0; i < size; i += kStep) {
    const auto sixteen = load_sixteen(x + i);
    add_product(squares, sixteen, sixteen);
  }
  const auto scale = 1.0f / std::sqrt(total(squares) / static_cast<float>(size) + eps);
  for (std::int64_t i = 0; i < size; i += kLanes)
    store(out + i, rounded<T>(load(x + i) * scale) * load(weight + i));
}

// Calls run(T{}) for the tensor's type.
template <typename Run>
void for_type(const at::Tensor& tensor, Run run) {
  if (tensor.scalar_type() == at::kFloat)
    run(float{});
  else
    run(at::BFloat16{});
}

// Rotates one head in place. Pairs are (i, i + half) for halves and (2i, 2i + 1) for pairs.
template <typename T>
void rotate_head(T* head, const float* cos, const float* sin, std::int64_t half, Rotary rotary) {
  if (rotary == Rotary::halves) {
    for (std::int64_t i = 0; i < half; i += kLanes) {
      const auto first = load(head + i), second = load(head + half + i), c = load(cos + i), s = load(sin + i);
      store(head + i, first * c - second * s);
      store(head + half + i, second * c + first * s);
    }
    return;
  }
  for (std::int64_t i = 0; i < half; ++i) {
    const auto even = static_cast<float>(head[2 * i]), odd = static_cast<float>(head[2 * i + 1]);
    head[2 * i] = T(even * cos[i] - odd * sin[i]);
    head[2 * i + 1] = T(odd * cos[i] + even * sin[i]);
  }
}

constexpr std::int64_t kRowsPerTask = 8;  // fewer are not worth waking a thread

}  // namespace

bool supported(const Specification& s, at::ScalarType type, at::Device device) {
  return device.is_cpu() && (type == at::kFloat || type == at::kBFloat16) && s.hidden_size % kStep == 0 &&
         s.intermediate_size % kStep == 0 && s.head_size() % (2 * kLanes) == 0;
}

at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const auto wide = x.to(at::kFloat).contiguous();
  auto out = at::empty({x.size(0), weight.size(0)}, x.options());
  for_type(x, [&]<typename T>(T) {
    product_into<T>(wide.data_ptr<float>(), x.size(0), weight, bias.defined() ? bias.data_ptr<T>() : nullptr,
                    out.data_ptr<T>());
  });
  return out;
}

at::Tensor add_and_norm(const at::Tensor& x, const at::Tensor& branch, const at::Tensor& weight, double eps) {
  const auto size = x.size(1);
  auto out = at::empty_like(x);
  for_type(x, [&]<typename T>(T) {
    auto* sums = x.data_ptr<T>();
    const auto* branches = branch.defined() ? branch.data_ptr<T>() : nullptr;
    at::parallel_for(0, x.size(0), kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
      for (auto row = begin; row < end; ++row)
        add_and_norm_row(sums + row * size, branches == nullptr ? nullptr : branches + row * size,
                         weight.data_ptr<T>(), static_cast<float>(eps), size, out.data_ptr<T>() + row * size);
    });
  });
  return out;
}

void rotate(const at::Tensor& rows, std::int64_t heads, const at::Tensor& cos, const at::Tensor& sin,
            Rotary rotary) {
  const auto half = cos.size(-1), positions = cos.numel() / half, width = rows.size(1);
  for_type(rows, [&]<typename T>(T) {
    at::parallel_for(0, rows.size(0), kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
      for (auto row = begin; row < end; ++row)
        for (std::int64_t head = 0; head < heads; ++head)
          rotate_head(rows.data_ptr<T>() + row * width + head * 2 * half,
                      cos.data_ptr<float>() + row % positions * half,
                      sin.data_ptr<float>() + row % positions * half, half, rotary);
    });
  });
}

namespace {

constexpr std::int64_t kQueryBlock = 64;

// Attention of `count` queries, from `first` on, of one group of heads. q: (T, H, Dh), k and v: (S, K, Dh).
void attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t group,
            std::int64_t first, std::int64_t count, const at::Tensor& context) {
  const auto size = q.size(2), heads = q.size(1) / k.size(1);  // of the group
  const auto first_slot = k.size(0) - q.size(0) + first;       // of the first query, among the keys
  const auto visible = first_slot + count;                     // keys, to the last query
  const auto part = [&](const at::Tensor& x) {
    return x.narrow(0, first, count).narrow(1, group * heads, heads);
  };
  const auto rows = part(q).reshape({count * heads, size});
  const auto keys = k.narrow(0, 0, visible).select(1, group),
             values = v.narrow(0, 0, visible).select(1, group);  // (visible, Dh)
  auto scores = at::empty({count * heads, visible}, q.options());
  at::addmm_out(scores, scores, rows, keys.t(), 0, 1 / std::sqrt(static_cast<double>(size)));
  auto* row = scores.data_ptr<float>();
  for (std::int64_t i = 0; i < count * heads; ++i, row += visible)
    std::fill(row + first_slot + i / heads + 1, row + visible, -std::numeric_limits<float>::infinity());
  at::_softmax_out(scores, scores, -1, /*half_to_float=*/false);
  part(context).copy_(at::mm(scores, values).view({count, heads, size}));
}

}  // namespace

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto queries = q.size(1), groups = k.size(2), blocks = (queries + kQueryBlock - 1) / kQueryBlock;
  const auto context = at::empty(q.sizes(), q.options());
  at::parallel_for(0, q.size(0) * groups * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto item = begin; item < end; ++item) {
      const auto row = item / (groups * blocks), group = item / blocks % groups, i = item % blocks;
      // Late blocks have more keys than early ones: alternating between both ends balances the work.
      const auto first = (i % 2 == 0 ? i / 2 : blocks - 1 - i / 2) * kQueryBlock;
      attend(q.select(0, row), k.select(0, row), v.select(0, row), group, first,
             std::min(kQueryBlock, queries - first), context.select(0, row));
    }
  });
  return context;
}

at::Tensor empty_in_huge_pages(std::int64_t elements, at::ScalarType type) {
  constexpr std::size_t kHugePage = 2 << 20;
  const auto bytes =
      (static_cast<std::size_t>(elements) * at::elementSize(type) + kHugePage - 1) / kHugePage * kHugePage;
  auto* memory = std::aligned_alloc(kHugePage, bytes);
  if (memory == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  madvise(memory, bytes, MADV_HUGEPAGE);  // a hint: a failure does not matter
#endif
  return at::from_blob(
      memory, {elements}, [](void* held) { std::free(held); }, at::TensorOptions().dtype(type));
}

}  // namespace plumbline::kernels
