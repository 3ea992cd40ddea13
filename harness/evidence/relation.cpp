#include "harness/evidence/relation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

namespace plumbline {
namespace {

// Every row's bytes, in order; they point into the tensor, which is contiguous.
std::vector<std::string_view> sorted_rows(const at::Tensor& matrix) {
  const auto count = static_cast<std::size_t>(matrix.size(0));
  const auto length = matrix.nbytes() / count;
  const auto* begin = static_cast<const char*>(matrix.const_data_ptr());
  std::vector<std::string_view> rows;
  for (std::size_t row = 0; row < count; ++row) rows.emplace_back(begin + row * length, length);
  std::sort(rows.begin(), rows.end());
  return rows;
}

bool same_rows(const at::Tensor& one, const at::Tensor& other) {
  return one.numel() > 0 && sorted_rows(one) == sorted_rows(other);
}

// Of two tensors of one type.
std::string other_order(const at::Tensor& now, const at::Tensor& before) {
  if (now.dim() == 2 && now.sizes() == before.t().sizes() && same_bits(now, before.t()))
    return "the transpose";
  if (now.sizes() != before.sizes() || now.dim() == 0) return "";
  if (same_rows(now, before))
    return now.dim() == 1 ? "the same elements in another order" : "the same rows in another order";
  if (now.dim() == 2 && same_rows(now.t().contiguous(), before.t().contiguous()))
    return "the same columns in another order";
  return "";
}

}  // namespace

bool same_bits(const at::Tensor& one, const at::Tensor& other) {
  if (one.scalar_type() != other.scalar_type() || one.sizes() != other.sizes()) return false;
  const auto a = one.detach().to(at::kCPU).contiguous(), b = other.detach().to(at::kCPU).contiguous();
  return a.numel() == 0 || std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

std::string relation(const at::Tensor& now_as_is, const at::Tensor& before_as_is) {
  const auto now = now_as_is.detach().to(at::kCPU).contiguous();
  const auto before = before_as_is.detach().to(at::kCPU).contiguous();
  if (now.scalar_type() == before.scalar_type())
    return same_bits(now, before) ? "" : other_order(now, before);
  if (!at::isFloatingType(now.scalar_type()) || !at::isFloatingType(before.scalar_type())) return "";
  const auto related = [](const at::Tensor& one, const at::Tensor& other) {
    return same_bits(one, other) ? "the same" : other_order(one, other);
  };
  for (const bool forwards : {true, false}) {
    const auto type = (forwards ? now : before).scalar_type();
    const auto how = forwards ? related(now, before.to(type)) : related(now.to(type), before);
    if (how.empty()) continue;
    const auto cast = forwards ? fmt::format("a cast to {} of what was before", at::toString(type))
                               : fmt::format("what was before is its cast to {}", at::toString(type));
    return how == "the same" ? cast : fmt::format("{}, {}", cast, how);
  }
  return "";
}

at::Tensor rows_for_pairs(const at::Tensor& halves, std::int64_t heads) {
  const auto size = halves.size(0) / heads;
  return halves.reshape({heads, 2, size / 2, -1}).transpose(1, 2).reshape(halves.sizes());
}

}  // namespace plumbline
